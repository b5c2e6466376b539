"""Encoders of what is seen: one file an encoder, and the face geometry that they share."""
