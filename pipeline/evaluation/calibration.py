"""Whether predictions are as sure as they say: reliability of classes, coverage of intervals of scores.

**Classes.** Confidence is the probability of the predicted class. Clips are put into BINS equally wide bins
of confidence, closed on the right; ECE = Σ_b n_b / n · |share right in b − mean confidence in b| [1].

**Scores.** Split conformal prediction [2]: with the n absolute errors of the validation clips sorted, the
half width at a level is the ⌈(n + 1) · level⌉-th, and prediction ± half width is the interval. Of clips that
are exchangeable with the validation clips it holds the label with a probability of level to level + 1 / (n +
1). Here they are so only in part, which is why coverage is measured: the validation clips chose the epoch, so
that a run errs less on them; and clips of one video or speaker hang together, and the test split has others.

[1] Guo et al., ICML 2017. [2] Lei et al., J. Am. Stat. Assoc. 113, 2018.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15
LEVELS = (0.5, 0.8, 0.9, 0.95)
DECIMALS = 6


@dataclass(frozen=True)
class Reliability:
    """Bins of confidence; NaN in a bin without clips.

    Attributes
    ----------
    counts : (bins,) clips
    confidence, accuracy : (bins,) mean confidence, and share of clips whose class is right
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


def reliability(probability: np.ndarray, label: np.ndarray, bins: int = BINS) -> Reliability:
    """From (clips, classes) probabilities, and (clips,) indices of the classes."""
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == label
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = (np.bincount(place, values, bins) / counts for values in (confidence, right))
        return Reliability(counts, *means)


def half_width(errors: np.ndarray, level: float) -> float:
    """Of the interval around a score, from the (clips,) absolute errors of validation clips; infinite where
    there are too few of them for the level.
    """
    place = math.ceil(round((len(errors) + 1) * level, 9))  # 0.9 · 10 is not 9 in floating point
    return float(np.sort(errors)[place - 1]) if place <= len(errors) else math.inf


def of_scores(valid: np.ndarray, tested: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """For metrics.json: `clips` that the half widths are of, and of each level `half_width` and `coverage` of
    each test split; both null or empty where there are too few clips.

    Parameters
    ----------
    valid, tested : (clips,) absolute errors of the validation split, and of each test split
    """
    intervals = {}
    for level in LEVELS:
        width = half_width(valid, level)
        known = math.isfinite(width)
        intervals[f"{level:g}"] = {
            "half_width": round(width, DECIMALS) if known else None,
            "coverage": {
                name: round(float((errors <= width).mean()), DECIMALS) for name, errors in tested.items()
            }
            if known
            else {},
        }
    return {"clips": len(valid), "intervals": intervals}


def of_classes(splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """For metrics.json: `ece` of each split, from its probabilities and labels."""
    found = {name: round(reliability(*both).ece, DECIMALS) for name, both in splits.items()}
    return {"ece": found}
