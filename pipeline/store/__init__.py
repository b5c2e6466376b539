"""Parquet with provenance: one shard, and the store of shards of an encoder."""
