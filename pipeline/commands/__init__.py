"""Commands of `msa-cli` that are more than a few lines: one a file, each parses, calls and prints."""
