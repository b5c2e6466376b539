"""Text only from its definition: NumPy, float64, clip by clip, on the real tokens alone."""

from __future__ import annotations

import numpy as np


def predict(weights: dict[str, np.ndarray], clips: list[np.ndarray | None]) -> np.ndarray:
    """(T, D) of each clip, None where it has no text -> (B, outputs)."""
    width = weights["score.weight"].shape[1]
    means = [np.zeros(width) if clip is None else sum(clip) / len(clip) for clip in clips]
    return np.stack([weights["score.weight"] @ mean + weights["score.bias"] for mean in means])


def loss(prediction: np.ndarray, label: np.ndarray, labeled: np.ndarray) -> float:
    """Mean |ŷ - y| of the labeled clips."""
    errors = [abs(p - y) for p, y, known in zip(prediction, label, labeled, strict=True) if known]
    return float(np.mean(errors))


def cross_entropy(scores: np.ndarray, label: np.ndarray) -> float:
    """Of (B, C) logits, in nats."""
    shares = [np.exp(row) / np.exp(row).sum() for row in scores]
    return float(np.mean([-np.log(share[int(y)]) for share, y in zip(shares, label, strict=True)]))
