"""MISA from the paper's equations: NumPy, float64, clip by clip and pair by pair."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from reference.recurrent import Arrays, linear, recurrent, sigmoid

Clip = dict[str, np.ndarray]  # real steps (T, F) of the modalities that a clip has


@dataclass
class Vectors:
    """Of one clip, by modality it has: (h,) each; and its prediction."""

    projected: Clip
    private: Clip
    shared: Clip
    reconstruction: Clip
    prediction: np.ndarray


def norm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def utterance(steps: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    states, first = recurrent(steps, weights, f"{name}.first", both=True)
    _, second = recurrent(norm(states, weights, f"{name}.norm"), weights, f"{name}.second", both=True)
    return np.concatenate([first, second])


def transformer_layer(x: np.ndarray, weights: Arrays, name: str, heads: int) -> np.ndarray:
    """(N, h) -> (N, h): attention and feed-forward, each added and then normalised."""
    stacked = x @ weights[f"{name}.self_attn.in_proj_weight"].T + weights[f"{name}.self_attn.in_proj_bias"]
    found = []
    for q, k, v in zip(
        *(np.split(part, heads, axis=1) for part in np.split(stacked, 3, axis=1)), strict=True
    ):
        scores = np.exp(q @ k.T / math.sqrt(q.shape[1]))
        found.append(scores / scores.sum(axis=1, keepdims=True) @ v)
    attended = linear(np.concatenate(found, axis=1), weights, f"{name}.self_attn.out_proj")
    x = norm(x + attended, weights, f"{name}.norm1")
    inner = np.maximum(linear(x, weights, f"{name}.linear1"), 0)
    return norm(x + linear(inner, weights, f"{name}.linear2"), weights, f"{name}.norm2")


def forward(clip: Clip, names: list[str], weights: Arrays, heads: int) -> Vectors:
    """Of one clip; `names` are those of the model, in its order."""
    projected, private, shared, rebuilt = {}, {}, {}, {}
    for m, steps in clip.items():
        vector = steps.mean(axis=0) if m == "text" else utterance(steps, weights, f"utterance.{m}")
        hidden = np.maximum(linear(vector, weights, f"project.{m}.0"), 0)
        projected[m] = norm(hidden, weights, f"project.{m}.2")
        private[m] = sigmoid(linear(projected[m], weights, f"private.{m}.0"))
        shared[m] = sigmoid(linear(projected[m], weights, "shared.0"))
        rebuilt[m] = linear(private[m] + shared[m], weights, f"decoder.{m}")
    order = [(kind, m) for kind in ("private", "shared") for m in names if m in clip]
    six = np.stack([{"private": private, "shared": shared}[kind][m] for kind, m in order])
    mixed = dict(zip(order, transformer_layer(six, weights, "fusion", heads), strict=True))
    nothing = np.zeros(six.shape[1])
    joint = np.concatenate([mixed.get((kind, m), nothing) for kind in ("private", "shared") for m in names])
    hidden = np.maximum(linear(joint, weights, "head.0"), 0)
    return Vectors(projected, private, shared, rebuilt, linear(hidden, weights, "head.3"))


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """The public loss: (N, h) twice; a mean over the h x h entries."""
    sides = []
    for rows in (first, second):
        centred = rows - rows.mean(axis=0)
        sides.append(centred / (np.sqrt((centred**2).sum(axis=1, keepdims=True)) + 1e-6))
    return float(np.mean((sides[0].T @ sides[1]) ** 2))


def moment_discrepancy(first: np.ndarray, second: np.ndarray) -> float:
    def moments(rows: np.ndarray) -> list[np.ndarray]:
        mean = sum(rows) / len(rows)
        return [mean, *(sum((rows - mean) ** k) / len(rows) for k in range(2, 6))]

    pairs = zip(moments(first), moments(second), strict=True)
    return sum(math.sqrt(sum((a - b) ** 2)) for a, b in pairs)


def losses(clips: list[Vectors], names: list[str], label: np.ndarray) -> dict[str, float]:
    """The four terms; the public difference brought to 64 clips."""

    def of(kind: str, m: str, among: list[Vectors]) -> np.ndarray:
        return np.stack([getattr(clip, kind)[m] for clip in among])

    def having(*wanted: str) -> list[Vectors]:
        return [clip for clip in clips if set(wanted) <= set(clip.private)]

    apart, alike, rebuilt = 0.0, 0.0, 0.0
    for m in names:
        among = having(m)
        own, common = of("private", m, among), of("shared", m, among)
        apart += difference(own, common) * own.shape[1] ** 2 / len(among) ** 2 * (64 / 128) ** 2
        rebuilt += np.mean((of("projected", m, among) - of("reconstruction", m, among)) ** 2)
    for one, other in combinations(names, 2):
        among = having(one, other)
        first, second = of("private", one, among), of("private", other, among)
        apart += difference(first, second) * first.shape[1] ** 2 / len(among) ** 2 * (64 / 128) ** 2
        alike += moment_discrepancy(of("shared", one, among), of("shared", other, among))
    errors = [(clip.prediction[0] - y) ** 2 for clip, y in zip(clips, label, strict=True)]
    return {
        "prediction": float(np.mean(errors)),
        "difference": apart,
        "similarity": alike / len(list(combinations(names, 2))),
        "reconstruction": float(rebuilt) / len(names),
    }
