"""Corruptions of recordings: sound and pictures are spoilt after decoding, and features are made again."""
