"""Features that a test has in memory, as stores of a few shards, and training sets of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from pipeline.datasets.assembly import assemble as assembly
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import Features, write_rows
from pipeline.store.store import FeatureStore, bucket_of, shard_name

SHARDS = 3


def stored(features: Features, folder: Path, shards: int = SHARDS) -> FeatureStore:
    """The features as the shards of a folder."""
    for bucket in range(shards):
        rows = [row for row in features.rows.values() if bucket_of(row.clip_id, shards) == bucket]
        write_rows(folder / shard_name(bucket), rows, features.meta)
    return FeatureStore(folder)


def assemble(
    clips: pa.Table,
    transcripts: pa.Table,
    features: Mapping[str, Features],
    params: AssembleParams,
    out: Path,
    dataset: str,
    waveform: FeatureStore | None = None,
    shards: int = SHARDS,
) -> assembly.AssembleReport:
    """As that of the pipeline, of features in memory."""
    with TemporaryDirectory() as folder:
        stores = {
            name: stored(Features({"modality": name, **found.meta}, found.rows), Path(folder) / name, shards)
            for name, found in features.items()
        }
        return assembly.assemble(clips, transcripts, stores, params, out, dataset, waveform)
