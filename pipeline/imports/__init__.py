"""Ready-made features -> clip table, transcripts and feature stores: one file a format."""
