"""Raw corpora -> clip table: one file a corpus."""
