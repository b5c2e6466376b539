"""Visual only."""
