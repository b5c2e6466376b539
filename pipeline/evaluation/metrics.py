"""The field's metric sets, exactly defined. A set maps predictions and labels of clips to named numbers.

`mmsa`: as the MMSA toolkit scores CMU-MOSI and CMU-MOSEI. `sims`: as it scores CH-SIMS and CH-SIMS v2.
`magbert`: as MAG-BERT and its descendants (MIRD, ITHP) score CMU-MOSI and CMU-MOSEI. Papers round, bin and
weight in several ways, so each choice is written beside its line. `cls`, of classifications, stands apart,
because it needs the classes' names. Symbols: p predictions, t labels ("truth"), both (clips,).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

from pipeline.core.errors import MsaError


class MetricWarning(UserWarning):
    """A metric is undefined on this data and was reported as 0; the results should carry the message."""


def mmsa(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Metrics of a sentiment regression on [-3, 3].

    Parameters
    ----------
    prediction, label : (clips,), finite, unclipped

    Returns
    -------
    mae : mean absolute error, in the label's unit
    corr : Pearson correlation, [-1, 1]; 0 with a MetricWarning where one side is constant
    acc7, acc5, acc3 : share of clips whose clipped and rounded prediction is the label's
    acc2_has0, f1_has0 : negative against non-negative, all clips
    acc2_non0, f1_non0 : negative against positive, without the clips labelled 0; 0 with a MetricWarning
        where every label is 0

    Raises
    ------
    MsaError : no clips, other shapes, or numbers that are not finite
    """
    p, t = _checked(prediction, label)
    non0 = t != 0
    acc2_has0, f1_has0 = _binary(p >= 0, t >= 0)
    if non0.any():
        acc2_non0, f1_non0 = _binary(p[non0] > 0, t[non0] > 0)
    else:
        warnings.warn("acc2_non0 and f1_non0 are 0: every label is 0", MetricWarning, stacklevel=2)
        acc2_non0, f1_non0 = 0.0, 0.0
    return {
        "mae": float(np.abs(p - t).mean()),
        "corr": _correlation(p, t),
        "acc7": _rounded_accuracy(p, t, 3),
        "acc5": _rounded_accuracy(p, t, 2),
        "acc3": _rounded_accuracy(p, t, 1),
        "acc2_has0": acc2_has0,
        "acc2_non0": acc2_non0,
        "f1_has0": f1_has0,
        "f1_non0": f1_non0,
    }


def sims(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Metrics of a sentiment regression on [-1, 1]; both sides are clipped to it first, for all of them.

    Parameters
    ----------
    prediction, label : (clips,), finite

    Returns
    -------
    mae, corr : of the clipped values; see `mmsa`
    acc5, acc3, acc2 : share of clips in the label's bin. The bins are closed on the right, so that 0 is
        negative in acc2
    f1 : of the bins of acc2

    Raises
    ------
    MsaError : see `mmsa`
    """
    p, t = (values.clip(-1, 1) for values in _checked(prediction, label))
    acc2, f1 = _binary(_bins(p, [0]), _bins(t, [0]))
    return {
        "mae": float(np.abs(p - t).mean()),
        "corr": _correlation(p, t),
        "acc5": float(np.mean(_bins(p, [-0.7, -0.1, 0.1, 0.7]) == _bins(t, [-0.7, -0.1, 0.1, 0.7]))),
        "acc3": float(np.mean(_bins(p, [-0.1, 0.1]) == _bins(t, [-0.1, 0.1]))),
        "acc2": acc2,
        "f1": f1,
    }


def magbert(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Metrics of a sentiment regression on [-3, 3], all without the clips labelled 0, `mae` and `corr` too.

    Parameters
    ----------
    prediction, label : (clips,), finite, unclipped

    Returns
    -------
    mae, corr : of the clips that are left; see `mmsa`
    acc7 : as in `mmsa`, of the clips that are left
    acc2, f1 : negative against non-negative

    Raises
    ------
    MsaError : see `mmsa`, or every label is 0
    """
    p, t = _checked(prediction, label)
    p, t = p[t != 0], t[t != 0]
    if not len(t):
        raise MsaError("metric set magbert: every label is 0 and no clip is left; use the set mmsa")
    acc2, f1 = _binary(p >= 0, t >= 0)
    return {
        "mae": float(np.abs(p - t).mean()),
        "corr": _correlation(p, t),
        "acc7": _rounded_accuracy(p, t, 3),
        "acc2": acc2,
        "f1": f1,
    }


def cls(prediction: np.ndarray, label: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Metrics of a classification.

    Parameters
    ----------
    prediction, label : (clips,) indices into `class_names`

    Returns
    -------
    accuracy : share of clips whose predicted class is the label
    f1_weighted : mean of the classes' F1, weighted by their clips
    f1_macro : plain mean of the F1 of all classes; one without a clip counts as 0, with a MetricWarning
    f1_<class> : that class against all others

    Raises
    ------
    MsaError : see `mmsa`, or a number that is no class
    """
    p, t = _checked(prediction, label)
    classes = np.arange(len(class_names))
    for name, values in (("predictions", p), ("labels", t)):
        strange = values[~np.isin(values, classes)]
        if strange.size:
            raise MsaError(
                f"metrics: {strange.size} of {values.size} {name} are no class (first: {strange[0]:g}); "
                f"expected indices of {', '.join(class_names)}"
            )
    absent = [name for name, index in zip(class_names, classes, strict=True) if index not in t]
    if absent:
        warnings.warn(
            f"no clip is labelled {', '.join(absent)}: the F1 of a class without clips is 0, in f1_macro too",
            MetricWarning,
            stacklevel=2,
        )
    each = f1_score(t, p, labels=classes, average=None, zero_division=0)
    support = (t[:, None] == classes).sum(axis=0)
    return {
        "accuracy": float(accuracy_score(t, p)),
        "f1_weighted": float(np.average(each, weights=support)),
        "f1_macro": float(each.mean()),
        **{f"f1_{name}": float(value) for name, value in zip(class_names, each, strict=True)},
    }


CLASSIFICATION = "cls"  # its name as a metric set
METRIC_SETS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    "mmsa": mmsa,
    "sims": sims,
    "magbert": magbert,
}


def _checked(prediction: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64."""
    p, t = np.asarray(prediction, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if p.ndim != 1 or p.shape != t.shape or p.size == 0:
        raise MsaError(
            f"metrics: predictions of shape {p.shape} and labels of shape {t.shape}; expected one number a "
            "clip on both sides, and at least one clip"
        )
    for name, values in (("predictions", p), ("labels", t)):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise MsaError(
                f"metrics: {bad.size} of {values.size} {name} are not finite (first: {values[bad[0]]} at row "
                f"{bad[0]}); "
                + (
                    "the training has diverged, lower the learning rate"
                    if name == "predictions"
                    else "leave clips without a label out"
                )
            )
    return p, t


def _rounded_accuracy(p: np.ndarray, t: np.ndarray, limit: int) -> float:
    """Share of equal classes -limit..limit; halves round to the even neighbour (0.5 to 0, 1.5 to 2)."""
    return float(np.mean(np.rint(p.clip(-limit, limit)) == np.rint(t.clip(-limit, limit))))


def _bins(values: np.ndarray, edges: list[float]) -> np.ndarray:
    """Index of each value's bin, (clips,) int; an edge belongs to the bin below it.

    Rounded, because a label of 0.1 that was float32 is 0.1000000015.
    """
    return np.searchsorted(edges, values.round(6), side="left")


def _binary(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """Accuracy, and F1 weighted by the true classes' sizes (some papers swap the arguments)."""
    return float(accuracy_score(t, p)), float(f1_score(t, p, average="weighted", zero_division=0))


def _correlation(p: np.ndarray, t: np.ndarray) -> float:
    for name, values in (("predictions", p), ("labels", t)):
        if np.ptp(values) == 0:
            warnings.warn(f"corr is 0: all {name} are {values[0]:g}", MetricWarning, stacklevel=3)
            return 0.0
    return float(pearsonr(p, t).statistic)
