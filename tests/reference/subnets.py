"""The encoders of TFN and LMF from their definitions: NumPy, float64, clip by clip, on real steps alone."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]
Clips = dict[str, list[np.ndarray | None]]  # by modality: (T, D) of each clip, None where it has none


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    """The state after the last of the steps (T, D)."""
    hidden = cell = np.zeros(weights[f"{name}.weight_hh_l0"].shape[1])
    for step in x:
        gates = weights[f"{name}.weight_ih_l0"] @ step + weights[f"{name}.bias_ih_l0"]
        gates = gates + weights[f"{name}.weight_hh_l0"] @ hidden + weights[f"{name}.bias_hh_l0"]
        come, forget, new, out = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(come) * np.tanh(new)
        hidden = sigmoid(out) * np.tanh(cell)
    return hidden


def normalised(means: list[np.ndarray | None], weights: Arrays, name: str) -> list[np.ndarray | None]:
    """BatchNorm in training, over the clips that there are; by 0 and 1 where these are not two."""
    there = [mean for mean in means if mean is not None]
    centre = sum(there) / len(there) if len(there) > 1 else 0.0
    spread = sum((mean - centre) ** 2 for mean in there) / len(there) if len(there) > 1 else 1.0
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return [
        None if mean is None else (mean - centre) / np.sqrt(spread + 1e-5) * scale + shift for mean in means
    ]


def linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def vectors(clips: Clips, weights: Arrays) -> list[list[np.ndarray]]:
    """[1; z^m] of each clip, modality by modality in their order."""
    found: dict[str, list[np.ndarray | None]] = {}
    for name, sequences in clips.items():
        prefix = f"subnets.{name}"
        if name == "text":
            found[name] = [
                None
                if x is None
                else linear(lstm(x, weights, f"{prefix}.lstm"), weights, f"{prefix}.project")
                for x in sequences
            ]
            continue
        rows = normalised([None if x is None else x.mean(0) for x in sequences], weights, f"{prefix}.norm")
        for layer in (1, 3, 5):
            rows = [
                None if x is None else np.maximum(linear(x, weights, f"{prefix}.layers.{layer}"), 0)
                for x in rows
            ]
        found[name] = rows
    widths = {name: next(len(x) for x in rows if x is not None) for name, rows in found.items()}
    return [
        [
            np.append(1.0, np.zeros(widths[name]) if x is None else x)
            for name, x in zip(found, row, strict=True)
        ]
        for row in zip(*found.values(), strict=True)
    ]
