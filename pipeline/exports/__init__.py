"""Training sets in the formats of other projects; a format is a module with `KIND_OF_FILES` and `write`."""
