"""WSA-BERT."""
