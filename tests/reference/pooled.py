"""Pooled vectors and what is made of them, by definition: NumPy, float64, clip by clip, real steps alone."""

from __future__ import annotations

import numpy as np
from made.tiny_batch import DIMS

from models.core.batch import Batch


def pooled(batch: Batch, modality: str) -> np.ndarray:
    """(B, P): the mean over time, of audio and visual with the population standard deviation behind it."""
    source = getattr(batch, modality)
    rows = []
    for values, mask, present in zip(source.values.numpy(), source.mask.numpy(), source.present, strict=True):
        steps = values[mask].astype(np.float64) if present else np.zeros((1, DIMS[modality]))
        rows.append(steps.mean(0) if modality == "text" else np.concatenate([steps.mean(0), steps.std(0)]))
    return np.stack(rows)


def layers(weights: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the last Linear, `score`, reads and gives: of x itself, or of max(0, W x + b) of `hidden.0`."""
    if "hidden.0.weight" in weights:
        x = np.maximum(0.0, x @ weights["hidden.0.weight"].T + weights["hidden.0.bias"])
    return x, x @ weights["score.weight"].T + weights["score.bias"]
