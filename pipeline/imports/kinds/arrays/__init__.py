"""Kind `arrays`: arrays of any layout, described by settings."""

from pipeline.imports.kinds.arrays.arrays import KIND_OF_FILES, SETTINGS, matches, read

__all__ = ["KIND_OF_FILES", "SETTINGS", "matches", "read"]
