"""Pickles of plain data and NumPy arrays, read without executing anything."""
