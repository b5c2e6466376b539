"""Arrays of any layout, described by a mapping file."""
