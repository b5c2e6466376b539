"""TFN from its definition: NumPy, float64, clip by clip, product by product."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from reference.subnets import Arrays, Clips, linear, sigmoid, vectors


def tensor(parts: list[np.ndarray]) -> np.ndarray:
    """Every product of one entry of each vector, those of the last vector first."""
    return np.array([prod(entries) for entries in product(*parts)])


def scores(clips: Clips, weights: Arrays) -> np.ndarray:
    """(B, outputs) before they are squashed."""
    found = []
    for parts in vectors(clips, weights):
        hidden = np.maximum(linear(tensor(parts), weights, "inner.1"), 0)
        hidden = np.maximum(linear(hidden, weights, "inner.3"), 0)
        found.append(linear(hidden, weights, "score"))
    return np.stack(found)


def squashed(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    return low + (high - low) * sigmoid(scores)
