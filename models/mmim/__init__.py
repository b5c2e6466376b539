"""MMIM."""
