"""Runs scored: metrics, statistics of differences, comparisons, views of methods, the papers' tables."""
