"""Random numbers of a corruption: a function of the clip, never of its batch, order, worker or method.

The key is text, `kind|dataset|split|clip_id|modality|seed`; the first 16 bytes of its SHA-256 (big-endian)
are the key of NumPy's Philox generator. So two methods, or two batch sizes, meet the same corruption.
"""

from __future__ import annotations

import hashlib

import numpy as np

SEEDS = (0, 1, 2, 3, 4)


def stream(
    kind: str, dataset: str, split: str, clip_id: str, modality: str, seed: int
) -> np.random.Generator:
    """One generator for each kind of draw of a clip's modality; draws are float64, in time order."""
    name = "|".join((kind, dataset, split, clip_id, modality, str(seed)))
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key))
