"""MISA."""
