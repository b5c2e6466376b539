"""Numbers of a robustness curve: a metric s over levels r, s(0) being that of clean clips.

    mean         of s over the levels; with 0 where the kind's authors include it
    auilc        area under s over [0, r_n] by trapezoids, divided by r_n; `area` is not divided
    retention    mean / s(0); of an error it is not given, but `rise`, mean - s(0)
    above_floor  (mean - f) / (s(0) - f): what is left above a constant predictor's f

`change` is the mean |ŷ_r - ŷ_0| over the clips, of classes the share that changes; `flips` the share of clips
whose predicted score changes sign (0 counts as positive). Neither needs labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.significance import lower_is_better

FLAT = 1e-9  # difference of a clean score and a floor, below which there is nothing above it


@dataclass(frozen=True)
class CurveNumbers:
    """See above; None where it is not defined."""

    clean: float
    mean: float
    area: float | None
    auilc: float | None
    retention: float | None
    rise: float | None
    above_floor: float | None


def curve_numbers(
    metric: str, levels: Sequence[float], scores: Sequence[float], floor: float | None, *, with_clean: bool
) -> CurveNumbers:
    """Of a curve.

    Parameters
    ----------
    levels, scores : 0 and the clean score first, levels ascending
    floor : what a constant predictor reaches; None = not known
    with_clean : whether the mean includes level 0
    """
    r, s = np.asarray(levels, np.float64), np.asarray(scores, np.float64)
    clean, error = float(s[0]), lower_is_better(metric)
    mean = float(s.mean() if with_clean or len(s) == 1 else s[1:].mean())
    area = float(np.trapezoid(s, r)) if len(r) > 2 else None  # one level is no curve
    above = None
    if floor is not None and abs(clean - floor) > FLAT:
        above = (mean - floor) / (clean - floor)
    return CurveNumbers(
        clean,
        mean,
        area,
        None if area is None else area / float(r[-1]),
        None if error or abs(clean) <= FLAT else mean / clean,
        mean - clean if error else None,
        above,
    )


def change(prediction: np.ndarray, clean: np.ndarray, classes: bool) -> float:
    """Mean |ŷ_r - ŷ_0| of scores, or the share of clips whose class is another; (clips,) each."""
    return float((prediction != clean).mean() if classes else np.abs(prediction - clean).mean())


def sign_flips(prediction: np.ndarray, clean: np.ndarray) -> float:
    """Share of clips whose score is negative on one side alone; (clips,) each."""
    return float(((prediction < 0) != (clean < 0)).mean())
