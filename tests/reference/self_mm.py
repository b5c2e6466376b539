"""Self-MM from its definitions: NumPy, float64, clip by clip."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from reference.recurrent import Arrays, linear, sentence_vector

Clip = dict[str, np.ndarray]  # real steps (T, F) of the modalities that a clip has


@dataclass
class Vectors:
    """Of one clip: F and the prediction, "fused" and by modality it has."""

    features: Clip
    predictions: dict[str, float]


def forward(clip: Clip, names: list[str], widths: dict[str, int], weights: Arrays) -> Vectors:
    """Of one clip; `names` are those of the model, `widths` those of the vectors that F_fused reads."""
    x = {
        m: steps[0] if m == "text" else sentence_vector(steps, weights, f"sequence.{m}", both=False)
        for m, steps in clip.items()
    }
    joint = np.concatenate([x.get(m, np.zeros(widths[m])) for m in names])
    features, predictions = {}, {}
    for name, vector in {"fused": joint, **x}.items():
        features[name] = np.maximum(linear(vector, weights, f"representation.{name}.1"), 0)
        hidden = np.maximum(linear(features[name], weights, f"head.{name}.0"), 0)
        predictions[name] = float(linear(hidden, weights, f"head.{name}.2")[0])
    return Vectors(features, predictions)


def unimodal_loss(clips: list[Vectors], label: list[float], targets: dict[str, list[float]]) -> float:
    """Σ_s of the mean tanh |y_s − y| · |ŷ_s − y_s| over the clips that have s."""
    total = 0.0
    for m, own in targets.items():
        parts = [
            math.tanh(abs(target - y)) * abs(clip.predictions[m] - target)
            for clip, y, target in zip(clips, label, own, strict=True)
            if m in clip.predictions
        ]
        total += sum(parts) / len(parts)
    return total


@dataclass
class Memory:
    """Of each training clip its label, the labels of its modalities, its last F, and its epoch."""

    label: dict[str, float]
    scale: float
    own: dict[str, dict[str, float]] = field(default_factory=dict)  # by modality, by clip
    features: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # by name, by clip
    epoch: dict[str, int] = field(default_factory=dict)

    def target(self, clip: str, modality: str) -> float:
        return self.own.get(modality, {}).get(clip, self.label[clip])

    def relative(self, name: str, value: np.ndarray) -> float | None:
        """R; None where a centre has no clip."""
        distances = []
        for sign in (1, -1):
            side = [f for clip, f in self.features.get(name, {}).items() if self.label[clip] * sign > 0]
            if not side:
                return None
            away = value - sum(side) / len(side)
            distances.append(math.sqrt(away @ away))
        return (distances[1] - distances[0]) / (distances[0] + 1e-8)

    def step(self, batch: dict[str, Vectors]) -> None:
        """A batch's clips: new labels by the centres before it, then its features."""
        found = []
        for clip, vectors in batch.items():
            n, y = self.epoch.get(clip, 0) + 1, self.label[clip]
            fused = self.relative("fused", vectors.features["fused"])
            for m in set(vectors.features) - {"fused"}:
                own = self.relative(m, vectors.features[m])
                if n == 1 or fused is None or own is None:
                    continue
                raw = 0.5 * own / (fused + 1e-8) * y + 0.5 * (y + own - fused)
                raw = min(max(raw, -self.scale), self.scale)
                found.append((m, clip, (n - 1) / (n + 1) * self.target(clip, m) + 2 / (n + 1) * raw))
        for m, clip, label in found:
            self.own.setdefault(m, {})[clip] = label
        for clip, vectors in batch.items():
            self.epoch[clip] = self.epoch.get(clip, 0) + 1
            for name, values in vectors.features.items():
                self.features.setdefault(name, {})[clip] = values
