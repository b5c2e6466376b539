"""Sound: one file per encoder."""
