"""Runs: the loop, run folders, the search of settings."""
