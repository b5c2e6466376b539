"""MMIM from its definitions: NumPy, float64, clip by clip and pair by pair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reference.recurrent import Arrays, linear, sentence_vector

Clip = dict[str, np.ndarray]  # real steps (T, F) of the modalities that a clip has


@dataclass
class Vectors:
    """Of one clip: x_m of the modalities it has, x̂_m of all of the model, Z, and the prediction."""

    x: Clip
    predicted: Clip
    fused: np.ndarray
    prediction: np.ndarray


def forward(clip: Clip, names: list[str], width: int, text_width: int, weights: Arrays) -> Vectors:
    """Of one clip; `names` are those of the model, in its order."""
    x = {
        m: steps[0] if m == "text" else sentence_vector(steps, weights, f"sequence.{m}", both=True)
        for m, steps in clip.items()
    }
    joint = np.concatenate([x.get(m, np.zeros(text_width if m == "text" else width)) for m in names])
    fused = np.tanh(linear(np.tanh(linear(joint, weights, "fusion.1")), weights, "fusion.3"))
    predicted = {m: linear(fused, weights, f"decoder.{m}") for m in names}
    return Vectors(x, predicted, fused, linear(fused, weights, "score"))


def log_likelihood(y: np.ndarray, mean: np.ndarray, logvar: np.ndarray) -> float:
    """ln N(y; mean, e^logvar) without the constant."""
    parts = zip(y, mean, np.clip(logvar, -5, 5), strict=True)
    return sum(-((v - m) ** 2) / (2 * math.exp(lv)) - lv / 2 for v, m, lv in parts)


def contrast(x: list[np.ndarray], predicted: list[np.ndarray]) -> float:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt((a @ a) * (b @ b)))

    total = 0.0
    for i, own in enumerate(x):
        scores = [math.exp(cosine(own, other)) for other in predicted]
        total -= math.log(scores[i] / sum(scores))
    return total / len(x)


def entropy(groups: list[np.ndarray]) -> float:
    """Mean over the groups of at least five points (N, e) of ½ ln det of their covariance, plus 1e-4."""
    halves = []
    for points in groups:
        if len(points) >= 5:
            away = points - points.mean(axis=0)
            covariance = sum(np.outer(row, row) for row in away) / len(points)
            halves.append(0.5 * math.log(np.linalg.det(covariance + 1e-4 * np.eye(points.shape[1]))))
    return sum(halves) / len(halves) if halves else 0.0


def information(
    clips: list[Vectors], label: np.ndarray, before: list[Vectors], label_before: np.ndarray, weights: Arrays
) -> float:
    """The lower bound, without constants, of both pairs with text."""

    def net(x: np.ndarray, name: str) -> np.ndarray:
        return linear(np.maximum(linear(x, weights, f"{name}.0"), 0), weights, f"{name}.2")

    total = 0.0
    for m in ("audio", "visual"):
        among = [clip.x for clip in clips if {"text", m} <= set(clip.x)]
        q = f"estimators.{m}"
        total += sum(
            log_likelihood(x[m], net(x["text"], f"{q}.mean"), net(x["text"], f"{q}.logvar")) for x in among
        ) / len(among)
        everyone = [*zip(clips, label, strict=True), *zip(before, label_before, strict=True)]
        points = [
            (np.tanh(linear(clip.x[m], weights, f"entropy.{m}.0")), y) for clip, y in everyone if m in clip.x
        ]
        groups = [[point for point, y in points if y * sign > 0] for sign in (-1, 1)]
        total += entropy([np.array(group) for group in groups if group])
    return total
