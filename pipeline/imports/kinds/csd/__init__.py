"""Kind `csd`: the CMU SDK's computational sequences."""

from pipeline.imports.kinds.csd.csd import KIND_OF_FILES, Settings, matches, read

__all__ = ["KIND_OF_FILES", "Settings", "matches", "read"]
