"""The metric sets clip by clip, from their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mmsa(prediction: Sequence[float], label: Sequence[float]) -> dict[str, float]:
    pairs = list(zip(prediction, label, strict=True))
    non0 = [(p, t) for p, t in pairs if t != 0]
    has0_classes = [(p >= 0, t >= 0) for p, t in pairs]
    non0_classes = [(p > 0, t > 0) for p, t in non0]
    return {
        "mae": sum(abs(p - t) for p, t in pairs) / len(pairs),
        "corr": _pearson(pairs),
        "acc7": _accuracy([(_level(p, 3), _level(t, 3)) for p, t in pairs]),
        "acc5": _accuracy([(_level(p, 2), _level(t, 2)) for p, t in pairs]),
        "acc3": _accuracy([(_level(p, 1), _level(t, 1)) for p, t in pairs]),
        "acc2_has0": _accuracy(has0_classes),
        "acc2_non0": _accuracy(non0_classes),
        "f1_has0": _weighted_f1(has0_classes),
        "f1_non0": _weighted_f1(non0_classes),
    }


def sims(prediction: Sequence[float], label: Sequence[float]) -> dict[str, float]:
    pairs = [(min(max(p, -1), 1), min(max(t, -1), 1)) for p, t in zip(prediction, label, strict=True)]
    two = [(p > 0, t > 0) for p, t in pairs]
    return {
        "mae": sum(abs(p - t) for p, t in pairs) / len(pairs),
        "corr": _pearson(pairs),
        "acc5": _accuracy([(_five(p), _five(t)) for p, t in pairs]),
        "acc3": _accuracy([(_three(p), _three(t)) for p, t in pairs]),
        "acc2": _accuracy(two),
        "f1": _weighted_f1(two),
    }


def magbert(prediction: Sequence[float], label: Sequence[float]) -> dict[str, float]:
    every = list(zip(prediction, label, strict=True))
    pairs = [(p, t) for p, t in every if t != 0]
    two = [(p >= 0, t >= 0) for p, t in pairs]
    return {
        "mae": sum(abs(p - t) for p, t in pairs) / len(pairs),
        "corr": _pearson(pairs),
        "acc7": _accuracy([(_level(p, 3), _level(t, 3)) for p, t in every]),
        "acc2": _accuracy(two),
        "f1": _weighted_f1(two),
    }


def cls(prediction: Sequence[int], label: Sequence[int], class_names: Sequence[str]) -> dict[str, float]:
    """From a confusion matrix, rows labels, columns predictions, by NumPy."""
    matrix = np.zeros((len(class_names), len(class_names)))
    for p, t in zip(prediction, label, strict=True):
        matrix[t, p] += 1
    hits, there, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    each = np.divide(2 * hits, there + found, out=np.zeros(len(hits)), where=there + found > 0)
    return {
        "accuracy": hits.sum() / matrix.sum(),
        "f1_weighted": (each * there).sum() / there.sum(),
        "f1_macro": each.mean(),
        **{f"f1_{name}": value for name, value in zip(class_names, each, strict=True)},
    }


def _three(value: float) -> str:
    return "negative" if value <= -0.1 else "neutral" if value <= 0.1 else "positive"


def _five(value: float) -> str:
    if value <= -0.7:
        return "negative"
    if value <= -0.1:
        return "weakly negative"
    if value <= 0.1:
        return "neutral"
    return "weakly positive" if value <= 0.7 else "positive"


def _level(value: float, limit: int) -> int:
    return round(min(max(value, -limit), limit))  # Python rounds halves to even


def _accuracy(classes: list[tuple]) -> float:
    return sum(p == t for p, t in classes) / len(classes) if classes else 0.0


def _weighted_f1(classes: list[tuple]) -> float:
    total = 0.0
    for kind in (False, True):
        hits = sum(p == kind and t == kind for p, t in classes)
        found = sum(p == kind for p, _ in classes)
        there = sum(t == kind for _, t in classes)
        if hits:
            precision, recall = hits / found, hits / there
            total += there * 2 * precision * recall / (precision + recall)
    return total / len(classes) if classes else 0.0


def _pearson(pairs: list[tuple[float, float]]) -> float:
    mean_p = math.fsum(p for p, _ in pairs) / len(pairs)
    mean_t = math.fsum(t for _, t in pairs) / len(pairs)
    both = math.fsum((p - mean_p) * (t - mean_t) for p, t in pairs)
    spread_p = math.fsum((p - mean_p) ** 2 for p, _ in pairs)
    spread_t = math.fsum((t - mean_t) ** 2 for _, t in pairs)
    return both / math.sqrt(spread_p * spread_t) if spread_p > 0 and spread_t > 0 else 0.0
