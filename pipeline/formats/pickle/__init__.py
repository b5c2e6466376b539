"""Pickles of others, of which plain data are read and nothing is run: `load`, and `load_part` of a file."""

from pipeline.formats.pickle.pickles import load, load_part

__all__ = ["load", "load_part"]
