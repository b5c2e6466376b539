"""Text only."""
