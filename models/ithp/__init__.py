"""ITHP."""
