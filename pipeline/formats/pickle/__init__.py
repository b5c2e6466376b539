"""Pickles of others, of which plain data are read and nothing is run: `load`."""

from pipeline.formats.pickle.pickles import load

__all__ = ["load"]
