"""MMML from its definition: NumPy, float64, clip by clip on the real steps; nothing is shared with it."""

from __future__ import annotations

import numpy as np

from reference.blocks import cross_modal

Arrays = dict[str, np.ndarray]
Clip = dict[str, np.ndarray | None]


def predict(
    weights: Arrays, clip: Clip, before: Clip | None, layers: int, heads: int
) -> dict[str, np.ndarray]:
    """ŷ as `fused`, and y^m, (outputs,) each, of a clip's steps by modality and of those before it."""
    fusion = {
        key.removeprefix("fusion."): value for key, value in weights.items() if key.startswith("fusion.")
    }
    seen: list[Arrays] = []
    for part in [clip] if before is None else [clip, before]:
        seen.append({})
        for name, values in part.items():
            missing = weights[f"null_token.{name}"][None]
            seen[-1][name] = missing if values is None else linear(values, weights, f"project.{name}")
    pooled = {
        "text": [np.tanh(linear(part["text"][0], weights, "pooler.0")) for part in seen],
        "audio": [part["audio"].mean(axis=0) for part in seen],
    }
    found = {name: linear(np.concatenate(x), weights, f"head.{name}.1") for name, x in pooled.items()}
    x = np.concatenate(
        [token for part in seen for token in cross_modal(part["text"], part["audio"], fusion, layers, heads)]
    )
    numbers = sorted({int(key.split(".")[1]) for key in weights if key.startswith("predictor.")})
    for number in numbers[:-1]:
        x = np.maximum(linear(x, weights, f"predictor.{number}"), 0)
    return found | {"fused": linear(x, weights, f"predictor.{numbers[-1]}")}


def linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
