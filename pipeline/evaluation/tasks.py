"""The tasks that one regression answers at once: polarity, intensity, and classes of intensity.

polarity     negative, neutral or positive: on [-3, 3] the score rounded and clipped to ±1 (acc3 of `mmsa`),
             on [-1, 1] with edges at ±0.1 (acc3 of `sims`)
intensity    the score: MAE and Pearson's correlation over all clips
classes_7    on [-3, 3] the rounded score (acc7 of `mmsa`); on [-1, 1] `classes_5` (acc5 of `sims`)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics import MetricWarning, cls, mmsa, score_classes, sims, sims_bins

POLARITIES = ("negative", "neutral", "positive")
SIMS = "sims"
SIMS_NEUTRAL = (-0.1, 0.1)  # edges of acc3
SEVEN = tuple(str(score) for score in range(-3, 4))
FIVE = ("≤ -0.7", "≤ -0.1", "≤ 0.1", "≤ 0.7", "> 0.7")  # acc5 of `sims`


def polarity(scores: np.ndarray, metric_set: str) -> np.ndarray:
    """(clips,) index of POLARITIES of each score, on the scale of the metric set."""
    if metric_set == SIMS:
        return sims_bins(scores, SIMS_NEUTRAL)
    return score_classes(scores, 1).astype(int) + 1


def intensity_classes(scores: np.ndarray, metric_set: str) -> tuple[np.ndarray, Sequence[str]]:
    """(clips,) int classes of five or seven, and their names."""
    if metric_set == SIMS:
        return sims_bins(scores), FIVE
    return score_classes(scores, 3).astype(int) + 3, SEVEN


def side_by_side(prediction: np.ndarray, label: np.ndarray, metric_set: str) -> dict[str, dict[str, float]]:
    """Task -> metric -> value, of (clips,) scores of a regression that is scored by this metric set."""
    p, t = np.asarray(prediction, np.float64), np.asarray(label, np.float64)
    (guessed, names), (true, _) = (intensity_classes(values, metric_set) for values in (p, t))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)  # said of the metric set itself
        whole = (sims if metric_set == SIMS else mmsa)(p, t)
        return {
            "polarity": _scored(polarity(p, metric_set), polarity(t, metric_set), POLARITIES),
            "intensity": {name: whole[name] for name in ("mae", "corr")},
            f"classes_{len(names)}": _scored(guessed, true, names),
        }


def _scored(guessed: np.ndarray, true: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    found = cls(guessed, true, names)
    return {name: found[name] for name in ("accuracy", "f1_weighted")}
