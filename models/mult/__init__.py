"""MulT."""
