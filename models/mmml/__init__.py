"""MMML."""
