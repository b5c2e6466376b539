"""LMF as the weights on TFN's tensor, which is made here: NumPy, float64, clip by clip."""

from __future__ import annotations

import numpy as np

from reference.subnets import Arrays, Clips, vectors
from reference.tfn import tensor


def full_weights(factors: list[np.ndarray], ranks: np.ndarray, output: int) -> np.ndarray:
    """Of one output: the sum over r of w_r times the outer product of the factors, (r, n, o) each."""
    return sum(
        weight * tensor([factor[rank, :, output] for factor in factors]) for rank, weight in enumerate(ranks)
    )


def predict(clips: Clips, weights: Arrays) -> np.ndarray:
    """(B, outputs)."""
    factors = [weights[f"factors.{name}"] for name in clips]
    ranks, bias = weights["score.weight"][0], weights["score.bias"]
    tables = [full_weights(factors, ranks, output) for output in range(len(bias))]
    return np.stack([[table @ tensor(parts) for table in tables] for parts in vectors(clips, weights)]) + bias
