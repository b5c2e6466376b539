"""The shared blocks from their definitions: NumPy, float64, row by row; nothing shared with the code."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Layer = Callable[[np.ndarray], np.ndarray]


def sparsemax(scores: list[float]) -> np.ndarray:
    """The projection onto the simplex, by trying every size of the support."""
    z = np.asarray(scores, dtype=np.float64)
    found = []
    for size in range(1, len(z) + 1):
        threshold = (np.sort(z)[::-1][:size].sum() - 1) / size
        p = np.maximum(z - threshold, 0)
        if abs(p.sum() - 1) < 1e-9:
            found.append((((p - z) ** 2).sum(), p))
    return min(found, key=lambda pair: pair[0])[1]


def mean_over_time(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(B, T, D), (B, T) -> (B, D)."""
    rows = [
        clip[real].mean(axis=0) if real.any() else 0 * clip[0]
        for clip, real in zip(values, mask, strict=True)
    ]
    return np.stack(rows)


def logsumexp(values: np.ndarray, mask: np.ndarray) -> list[float]:
    """Over the selected entries of each row."""
    rows = [row[real] for row, real in zip(values, mask, strict=True)]
    return [math.log(sum(math.exp(v) for v in row)) if len(row) else -math.inf for row in rows]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B, D), (N, D) -> (B, N), 0 with a row of length 0."""
    out = np.zeros((len(a), len(b)))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            lengths = math.sqrt(x @ x) * math.sqrt(y @ y)
            out[i, j] = x @ y / lengths if lengths else 0
    return out


def gaussian(y: np.ndarray, mean: np.ndarray, logvar: np.ndarray) -> float:
    """ln N(y; mean, e^logvar) of one vector."""
    parts = zip(y, mean, logvar, strict=True)
    return sum(
        -0.5 * math.log(2 * math.pi) - 0.5 * lv - (v - m) ** 2 / (2 * math.exp(lv)) for v, m, lv in parts
    )


def estimator(
    x: np.ndarray, weights: dict[str, np.ndarray], pair: int, prefix: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """μ and lv of a pair's rows x: for each a hidden layer with ReLU, and a linear one; tanh on lv."""
    weight, bias = (np.split(weights[f"{prefix}inner.{pair}.{part}"], 2) for part in ("weight", "bias"))
    second = zip(weights[f"{prefix}weight"][pair], weights[f"{prefix}bias"][pair], strict=True)
    mean, raw = (
        np.maximum(x @ w.T + b, 0) @ v + c for w, b, (v, c) in zip(weight, bias, second, strict=True)
    )
    return mean, np.tanh(raw)


def club(mean: np.ndarray, logvar: np.ndarray, y: np.ndarray) -> float:
    """MIRD (12), the double sum as it is printed: (N, D) each."""
    rows = range(len(y))
    paired = sum(gaussian(y[i], mean[i], logvar[i]) for i in rows) / len(y)
    crossed = sum(gaussian(y[j], mean[i], logvar[i]) for i in rows for j in rows) / len(y) ** 2
    return paired - crossed


def negative_log_likelihood(mean: np.ndarray, logvar: np.ndarray, y: np.ndarray) -> float:
    """MIRD (13), (15) without ½ and the constant."""
    rows = range(len(y))
    half = -sum(gaussian(y[i], mean[i], logvar[i]) for i in rows) / len(y)
    return 2 * half - y.shape[1] * math.log(2 * math.pi)


def top_gates(scores: np.ndarray, k: int) -> np.ndarray:
    """KHaR (4) of one row: softmax over the k largest, 0 elsewhere."""
    kept = sorted(range(len(scores)), key=lambda e: -scores[e])[:k]
    total = sum(math.exp(scores[e]) for e in kept)
    return np.array([math.exp(scores[e]) / total if e in kept else 0.0 for e in range(len(scores))])


def adapted(
    word: np.ndarray, shifts: dict[str, np.ndarray], gates: dict[str, Layer], projects: dict[str, Layer]
) -> np.ndarray:
    """MIRD (3) to (6) with sigmoid and ε = 1, one word and what each present modality says beside it."""
    h = np.zeros_like(word)
    for name, x in shifts.items():
        gate = 1 / (1 + np.exp(-gates[name](np.concatenate([x, word]))))
        h = h + gate * projects[name](x)
    scale = min(np.linalg.norm(word) / (np.linalg.norm(h) + 1e-6), 1)
    return word + scale * h


def _norm(x: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(x: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _attention(
    x: np.ndarray, y: np.ndarray, weights: dict[str, np.ndarray], name: str, heads: int
) -> np.ndarray:
    query = _linear(x, weights, f"{name}.query")
    key, value = np.split(_linear(y, weights, f"{name}.key_value"), 2, axis=-1)
    out = []
    for q, k, v in zip(*(np.split(part, heads, axis=-1) for part in (query, key, value)), strict=True):
        scores = np.exp(q @ k.T / math.sqrt(q.shape[-1]))
        out.append(scores / scores.sum(-1, keepdims=True) @ v)
    attended = _linear(np.concatenate(out, axis=-1), weights, f"{name}.out")
    return _norm(x + attended, weights, f"{name}.norm")


def _feedforward(x: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    hidden = np.maximum(_linear(x, weights, f"{name}.inner.0"), 0)
    return _norm(x + _linear(hidden, weights, f"{name}.inner.2"), weights, f"{name}.norm")


def cross_modal(
    first: np.ndarray, second: np.ndarray, weights: dict[str, np.ndarray], layers: int, heads: int
) -> tuple[np.ndarray, np.ndarray]:
    """SLaD (3) to (6) of one clip: real steps (T1, D) and (T2, D) -> the states of the two learnt tokens."""
    x = np.concatenate([weights["token1"][None], first])
    y = np.concatenate([weights["token2"][None], second])
    for layer in (f"layers.{number}" for number in range(layers)):
        x, y = (
            _attention(x, y, weights, f"{layer}.cross1", heads),
            _attention(y, x, weights, f"{layer}.cross2", heads),
        )
        x = _feedforward(_attention(x, x, weights, f"{layer}.self1", heads), weights, f"{layer}.inner1")
        y = _feedforward(_attention(y, y, weights, f"{layer}.self2", heads), weights, f"{layer}.inner2")
    return x[0], y[0]
