"""MISR."""
