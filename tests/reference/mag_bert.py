"""MAG-BERT on frozen text from its definition: NumPy, float64, clip by clip and word by word.

A clip is {modality: (steps, D), its real steps; None where it has none}.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Clip = dict[str, np.ndarray | None]
Beside = Callable[[Clip, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""A clip and the weights -> by modality that it has, what is beside each word (T, D)."""


def frames_of(word: int, words: int, frames: int) -> range:
    """The frames that belong to a word; one at least."""
    first, end = math.floor(word * frames / words), math.floor((word + 1) * frames / words)
    return range(first, end) if end > first else range(first, first + 1)


def means(words: int, frames: np.ndarray) -> np.ndarray:
    """(L, D) -> (T, D)."""
    return np.stack([frames[list(frames_of(i, words, len(frames)))].mean(axis=0) for i in range(words)])


def beside(clip: Clip, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    text = clip["text"]
    assert text is not None
    return {m: means(len(text), x) for m, x in clip.items() if m != "text" and x is not None}


def linear(x: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def shift(
    word: np.ndarray, said: dict[str, np.ndarray], weights: dict[str, np.ndarray], beta: float
) -> np.ndarray:
    """λh of one word."""
    h = np.zeros_like(word)
    for m, x in said.items():
        gate = np.maximum(linear(np.concatenate([x, word]), weights, f"gate.gate.{m}"), 0)
        h = h + gate * linear(x, weights, f"gate.project.{m}")
    longest, length = beta * math.sqrt(word @ word), math.sqrt(h @ h)
    return h * min(longest / (length + 1e-6), 1)


def adapted(
    words: np.ndarray, said: dict[str, np.ndarray], weights: dict[str, np.ndarray], beta: float = 1.0
) -> np.ndarray:
    """LayerNorm of each word and its shift: (T, W), (T, D) by modality -> (T, W)."""
    out = []
    for i, word in enumerate(words):
        moved = word + shift(word, {m: x[i] for m, x in said.items()}, weights, beta)
        normal = (moved - moved.mean()) / math.sqrt(moved.var() + 1e-5)
        out.append(normal * weights["gate.norm.weight"] + weights["gate.norm.bias"])
    return np.stack(out)


def predict(
    weights: dict[str, np.ndarray], clips: list[Clip], beside: Beside = beside, beta: float = 1.0
) -> np.ndarray:
    """(B, outputs); without text the bias alone."""
    scores = []
    for clip in clips:
        text, mean = clip["text"], np.zeros(weights["score.weight"].shape[1])
        if text is not None:
            mean = adapted(text, beside(clip, weights), weights, beta).mean(axis=0)
        scores.append(linear(mean, weights, "score"))
    return np.stack(scores)
