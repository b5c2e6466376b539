"""Encoders of transcripts."""
