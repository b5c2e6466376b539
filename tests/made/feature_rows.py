"""Rows of a feature store whose numbers follow from their names."""

from __future__ import annotations

import numpy as np

from pipeline.core.vocabulary import OK
from pipeline.store.shard import FeatureRow

DIM = 5


META = {
    "modality": "audio",
    "encoder": "toy",
    "fingerprint": "f1",
    "dim": DIM,
    "dtype": "float32",
    "column_names": [f"c{i}" for i in range(DIM)],
    "frame_rate": 10.0,
}


def make_row(clip_id: str, source: str = "s", status: str = OK, error: str = "") -> FeatureRow:
    """A row whose numbers follow from its id alone, as an encoder's follow from the clip."""
    if status != OK:
        return FeatureRow(clip_id, source, status, error)
    random = np.random.default_rng(sum(map(ord, clip_id + source)))
    n = int(random.integers(1, 30))
    return FeatureRow(
        clip_id, source, OK, error, random.normal(size=(n, DIM)).astype(np.float32), np.arange(n) / 10
    )
