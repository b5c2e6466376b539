"""ALMT."""
