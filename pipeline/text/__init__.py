"""Text encoders, one file a kind; pipeline/encoders.py has their names."""
