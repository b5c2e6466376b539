"""Trained runs on new clips."""
