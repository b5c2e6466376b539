"""Encoders, their registry, and the extraction of a corpus or of single clips."""
