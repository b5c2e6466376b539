"""MAG-BERT."""
