"""ITHP on states of text from its definition: NumPy, float64, token by token, with b = μ + σ ε."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from reference.mag_bert import Clip, linear, means

Weights = dict[str, np.ndarray]


@dataclass
class Losses:
    """Every value that a term is the mean of, by modality."""

    compression: dict[str, list[float]] = field(default_factory=dict)
    relevance: dict[str, list[float]] = field(default_factory=dict)


def divergence(mean: float, logvar: float) -> float:
    """KL(N(μ, σ²) ‖ N(0, 1))."""
    return 0.5 * (mean**2 + math.exp(logvar) - 1 - logvar)


def minmax(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    rows = zip(x, low, high, strict=True)
    return np.array([min(max((v - a) / (b - a), 0), 1) if b > a else 0.0 for v, a, b in rows])


def layers(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return linear(np.maximum(linear(x, weights, f"{name}.0"), 0), weights, f"{name}.3")


def predict(
    weights: Weights, clips: list[Clip], noise: float = 0.0, beta_shift: float = 1.0, pool: str = "mean"
) -> tuple[np.ndarray, Losses]:
    """(B, outputs), and the terms; `noise` is every ε."""
    names = [m for m in ("audio", "visual") if f"levels.{m}.low" in weights]
    losses, scores = Losses({m: [] for m in names}, {m: [] for m in names}), []
    for clip in clips:
        text, states = clip["text"], []
        frames = {m: clip[m] for m in names}
        for i, x in enumerate([] if text is None else text):
            b = x
            for m in names:
                mean, logvar = np.split(layers(b, weights, f"levels.{m}.encoder"), 2)
                losses.compression[m] += [divergence(u, v) for u, v in zip(mean, logvar, strict=True)]
                b = mean + np.exp(logvar / 2) * noise
                given = frames[m]
                if given is not None and text is not None:
                    low, high = (weights[f"levels.{m}.{side}"] for side in ("low", "high"))
                    target = minmax(means(len(text), given)[i], low, high)
                    estimate = 1 / (1 + np.exp(-layers(b, weights, f"levels.{m}.head")))
                    losses.relevance[m] += list((estimate - target) ** 2)
            moved = x + beta_shift * linear(b, weights, "expand")
            normal = (moved - moved.mean()) / math.sqrt(moved.var() + 1e-5)
            states.append(normal * weights["norm.weight"] + weights["norm.bias"])
        pooled = np.zeros(weights["score.weight"].shape[1])
        if states:
            pooled = np.mean(states, axis=0) if pool == "mean" else states[0]
        scores.append(linear(np.tanh(linear(pooled, weights, "pooler.0")), weights, "score"))
    return np.stack(scores), losses
