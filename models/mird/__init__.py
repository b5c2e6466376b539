"""MIRD."""
