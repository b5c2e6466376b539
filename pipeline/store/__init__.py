"""Parquet with provenance: one shard, the store of shards of an encoder, and the hash of its code."""
