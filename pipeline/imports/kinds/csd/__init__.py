"""Kind `csd`: the CMU SDK's computational sequences."""

from pipeline.imports.kinds.csd.csd import KIND_OF_FILES, SETTINGS, matches, read

__all__ = ["KIND_OF_FILES", "SETTINGS", "matches", "read"]
