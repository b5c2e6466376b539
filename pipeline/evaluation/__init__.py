"""Metrics, scoring, views of methods, robustness, significance, comparison, the papers' tables."""
