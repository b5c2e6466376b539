"""KuDA clip by clip on the real steps alone: NumPy, float64; the harvest is that of reference/khar.py."""

from __future__ import annotations

import math

import numpy as np

from reference.khar import encoder_states, harvest, layer_norm, linear

Arrays = dict[str, np.ndarray]
Clip = dict[str, np.ndarray]  # the real steps of the modalities that it has


def predict(
    weights: Arrays, clip: Clip, reads: list[int], heads: int, sharpness: float
) -> tuple[np.ndarray, np.ndarray, Arrays, Arrays]:
    """ŷ (outputs,), the fused vector, ρ and the mean of H_m by modality."""
    aligned, alone = {}, {}
    for name, values in clip.items():
        states = encoder_states(weights, name, values, heads)
        x = harvest(weights, name, states, reads, heads, norm_last=True)
        alone[name] = float(mlp(x.mean(axis=0), weights, f"classifier.{name}")[0])
        narrow, time = linear(x, weights, f"alignment.{name}.project"), f"alignment.{name}.time"
        aligned[name] = weights[f"{time}.weight"][:, : len(x)] @ narrow + weights[f"{time}.bias"][:, None]
    middle = sum(alone.values()) / len(alone)
    scores = {name: math.exp(-sharpness * (value - middle) ** 2) for name, value in alone.items()}
    ratio = {name: score / sum(scores.values()) for name, score in scores.items()}
    fused = sum(aligned.values())
    for number in range(len({key.split(".")[1] for key in weights if key.startswith("layers.")})):
        fused = layer(fused, aligned, ratio, weights, f"layers.{number}", heads)
    pooled = fused.mean(axis=0)
    means = {name: x.mean(axis=0) for name, x in aligned.items()}
    return mlp(pooled, weights, "predictor"), pooled, ratio, means


def layer(
    fused: np.ndarray, aligned: Arrays, ratio: dict[str, float], weights: Arrays, name: str, heads: int
) -> np.ndarray:
    """One layer of the fusion."""
    read = np.zeros_like(fused)
    for modality, x in aligned.items():
        own = f"{name}.reading.{modality}"
        c = norm(fused + attend(fused, x, weights, f"{own}.attention", heads), weights, f"{own}.norm1")
        c = norm(c + inner(c, weights, f"{own}.feedforward"), weights, f"{own}.norm2")
        read = read + (1 + ratio[modality]) * norm(c, weights, f"{own}.norm3")
    x = norm(fused + norm(read, weights, f"{name}.read_norm"), weights, f"{name}.norm1", 1e-6)
    x = norm(x + attend(x, x, weights, f"{name}.attention", heads), weights, f"{name}.norm2", 1e-6)
    return norm(x + inner(x, weights, f"{name}.feedforward"), weights, f"{name}.norm3", 1e-6)


def attend(x: np.ndarray, y: np.ndarray, weights: Arrays, name: str, heads: int) -> np.ndarray:
    parts = []
    query, key, value = (
        np.split(z @ weights[f"{name}.{kind}.weight"].T, heads, axis=-1)
        for kind, z in (("query", x), ("key", y), ("value", y))
    )
    for q, k, v in zip(query, key, value, strict=True):
        scores = np.exp(q @ k.T / math.sqrt(q.shape[-1]))
        parts.append(scores / scores.sum(axis=-1, keepdims=True) @ v)
    return linear(np.concatenate(parts, axis=-1), weights, f"{name}.out")


def inner(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    x = gelu(linear(layer_norm(x, weights, f"{name}.0"), weights, f"{name}.1"))
    return linear(x, weights, f"{name}.4")


def mlp(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    """Linear layers with GELU between them."""
    depth = len(name.split("."))
    numbers = sorted({int(key.split(".")[depth]) for key in weights if key.startswith(f"{name}.")})
    for number in numbers[:-1]:
        x = gelu(linear(x, weights, f"{name}.{number}"))
    return linear(x, weights, f"{name}.{numbers[-1]}")


def contrast(aligned: np.ndarray, fused: np.ndarray) -> float:
    """Of one modality, (B, d) both: the mean over clips of the InfoNCE of cosines."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (aligned, fused)]
    cosines = unit[0] @ unit[1].T
    return float(np.mean([math.log(np.exp(row).sum()) - row[clip] for clip, row in enumerate(cosines)]))


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def norm(x: np.ndarray, weights: Arrays, name: str, eps: float = 1e-5) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
