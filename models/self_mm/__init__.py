"""Self-MM."""
