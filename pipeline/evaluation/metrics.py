"""The field's metric sets, exactly defined, as scores of sums over clips.

`mmsa`: as the MMSA toolkit scores CMU-MOSI and CMU-MOSEI. `sims`: as it scores CH-SIMS and CH-SIMS v2.
`magbert`: as MAG-BERT and its descendants (MIRD, ITHP) score CMU-MOSI and CMU-MOSEI. Papers round, bin and
weight in several ways, so each choice is written beside its line. `cls`, of classifications, stands apart,
because it needs the classes' names.

Every metric is a function of sums over clips: the MAE of the sum of errors, a correlation of five sums, an F1
of the cells of its confusion table. So one definition serves a score and thousands of resamples at once: a
resample weighs the clips, its sums are one matrix product, and all metrics follow without a loop.

Symbols: p predictions (runs, clips), t labels ("truth") (clips,).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.params.explain import unknown

CLASSIFICATION = "cls"  # its name as a metric set
CONSTANT = 1e-12  # variance relative to the mean square, below which values count as equal


class MetricWarning(UserWarning):
    """A metric is undefined on this data and was reported as 0; the results should carry the message."""


# ------------------------------------------------------------------------------------------------ the sets
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
    if not t.any():
        warnings.warn("acc2_non0 and f1_non0 are 0: every label is 0", MetricWarning, stacklevel=2)
    _warn_of_constants(p, t)
    return _score("mmsa", p, t)


def _mmsa(p: np.ndarray, t: np.ndarray) -> list[Piece]:
    every, non0 = np.ones(len(t)), (t != 0).astype(np.float64)
    return [
        _mean("mae", np.abs(p - t), every),
        _correlation(p, t, every),
        *(_same_class(p, t, limit, every) for limit in (3, 2, 1)),
        _binary("acc2_has0", "f1_has0", p >= 0, t >= 0, every),
        _binary("acc2_non0", "f1_non0", p > 0, t > 0, non0),
    ]


def sims(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Metrics of a sentiment regression on [-1, 1]; both sides are clipped to it first. Errors: see `mmsa`.

    Returns
    -------
    mae, corr : of the clipped values
    acc5, acc3, acc2 : share of clips in the label's bin. The bins are closed on the right, so that 0 is
        negative in acc2
    f1 : of the bins of acc2
    """
    p, t = _checked(prediction, label)
    _warn_of_constants(p.clip(-1, 1), t.clip(-1, 1))
    return _score("sims", p, t)


def _sims(p: np.ndarray, t: np.ndarray) -> list[Piece]:
    p, t = p.clip(-1, 1), t.clip(-1, 1)
    every = np.ones(len(t))
    return [
        _mean("mae", np.abs(p - t), every),
        _correlation(p, t, every),
        _mean("acc5", sims_bins(p) == sims_bins(t), every),
        _mean("acc3", _bins(p, [-0.1, 0.1]) == _bins(t, [-0.1, 0.1]), every),
        _binary("acc2", "f1", _bins(p, [0]) > 0, _bins(t, [0]) > 0, every),
    ]


def magbert(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Metrics of a sentiment regression on [-3, 3]; all but `acc7` without the clips labelled 0.

    Returns
    -------
    mae, corr : of the clips that are left; see `mmsa`
    acc7 : of all clips, as in `mmsa`: the code of this line that has it, MIB's, takes it before the zeros go
    acc2, f1 : of the clips that are left, negative against non-negative

    Raises
    ------
    MsaError : see `mmsa`, or every label is 0
    """
    p, t = _checked(prediction, label)
    if not t.any():
        raise MsaError("metric set magbert: every label is 0 and no clip is left; use the set mmsa")
    _warn_of_constants(p[t != 0], t[t != 0])
    return _score("magbert", p, t)


def _magbert(p: np.ndarray, t: np.ndarray) -> list[Piece]:
    every, non0 = np.ones(len(t)), (t != 0).astype(np.float64)
    return [
        _mean("mae", np.abs(p - t), non0),
        _correlation(p, t, non0),
        _same_class(p, t, 3, every),
        _binary("acc2", "f1", p >= 0, t >= 0, non0),
    ]


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
                f"metrics: {strange.size} of {values.size} {name} are not a class (first: {strange[0]:g}); "
                f"expected indices of {', '.join(class_names)}"
            )
    absent = [name for name, index in zip(class_names, classes, strict=True) if index not in t]
    if absent:
        warnings.warn(
            f"no clip is labelled {', '.join(absent)}: the F1 of a class without clips is 0, in f1_macro too",
            MetricWarning,
            stacklevel=2,
        )
    return _score(CLASSIFICATION, p, t, class_names)


def _classes(p: np.ndarray, t: np.ndarray, class_names: Sequence[str]) -> Piece:
    indices = np.arange(len(class_names))
    guessed = (p[..., None] == indices).astype(np.float64)
    true = np.broadcast_to((t[:, None] == indices).astype(np.float64), guessed.shape)
    names = ("accuracy", "f1_weighted", "f1_macro", *(f"f1_{name}" for name in class_names))
    return Piece(names, np.concatenate([guessed * true, guessed, true], axis=-1), _finish_classes)


MetricSet = Callable[[np.ndarray, np.ndarray], dict[str, float]]
METRIC_SETS: dict[str, MetricSet] = {"mmsa": mmsa, "sims": sims, "magbert": magbert}


# ---------------------------------------------------------------------------------------------------- sums
@dataclass(frozen=True)
class Piece:
    """One or more metrics that share their sums.

    Attributes
    ----------
    names : of the metrics
    columns : (runs, clips, terms), what is summed over the clips
    finish : sums (..., terms) -> metrics (..., names)
    """

    names: tuple[str, ...]
    columns: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray]


class MetricSums:
    """The metrics of one set for the predictions of runs on the same clips.

    Parameters
    ----------
    metric_set : a name of METRIC_SETS, or `cls`
    prediction : (runs, clips), finite; of a classification indices of `class_names`
    label : (clips,), likewise

    Attributes
    ----------
    names : of the metrics, in the order of `scores`
    terms : (clips, runs, terms) float64. Terms that only count clips depend on the labels alone, and all runs
        are centred alike, so that runs may be mixed clip by clip

    Raises
    ------
    MsaError : the metric set is not known
    """

    def __init__(
        self, metric_set: str, prediction: np.ndarray, label: np.ndarray, class_names: Sequence[str] = ()
    ):
        p, t = np.asarray(prediction, np.float64), np.asarray(label, np.float64)
        pieces = {"mmsa": _mmsa, "sims": _sims, "magbert": _magbert}
        if metric_set == CLASSIFICATION:
            self._pieces = [_classes(p, t, class_names)]
        elif metric_set in pieces:
            self._pieces = pieces[metric_set](p, t)
        else:
            raise MsaError(unknown("metric set", metric_set, (*METRIC_SETS, CLASSIFICATION)))
        self.names = [name for piece in self._pieces for name in piece.names]
        self.terms = np.concatenate([piece.columns for piece in self._pieces], axis=-1).swapaxes(0, 1)

    def scores(self, sums: np.ndarray) -> np.ndarray:
        """Metrics of weighted clips; one that is undefined on them is 0.

        Parameters
        ----------
        sums : (..., terms), of `terms` times the clips' weights

        Returns
        -------
        (..., metrics)
        """
        ends = np.cumsum([piece.columns.shape[-1] for piece in self._pieces])[:-1]
        parts = np.split(sums, ends, axis=-1)
        finished = [piece.finish(part) for piece, part in zip(self._pieces, parts, strict=True)]
        return np.concatenate(finished, axis=-1)


def _score(
    metric_set: str, p: np.ndarray, t: np.ndarray, class_names: Sequence[str] = ()
) -> dict[str, float]:
    """The metrics of one run, each clip once; p, t (clips,)."""
    metric = MetricSums(metric_set, p[None], t, class_names)
    return dict(zip(metric.names, metric.scores(metric.terms.sum(axis=0))[0].tolist(), strict=True))


def _mean(name: str, values: np.ndarray, counted: np.ndarray) -> Piece:
    """Mean of `values` over the clips where `counted` is 1."""
    columns = _stacked(values * counted, counted)
    return Piece((name,), columns, lambda s: _ratio(s[..., :1], s[..., 1:]))


def _same_class(p: np.ndarray, t: np.ndarray, limit: int, counted: np.ndarray) -> Piece:
    return _mean(f"acc{2 * limit + 1}", score_classes(p, limit) == score_classes(t, limit), counted)


def _correlation(p: np.ndarray, t: np.ndarray, counted: np.ndarray) -> Piece:
    """Pearson's; both sides are centred first, which loses fewer digits."""
    n = max(counted.sum(), 1.0)
    p = (p - (p * counted).mean(axis=0).sum() / n) * counted
    t = (t - (t * counted).sum() / n) * counted
    return Piece(("corr",), _stacked(p, t, p * p, t * t, p * t, counted), _finish_correlation)


def _finish_correlation(sums: np.ndarray) -> np.ndarray:
    p, t, pp, tt, pt = (_ratio(sums[..., i], sums[..., 5]) for i in range(5))
    variance_p, variance_t = pp - p * p, tt - t * t
    varies = (variance_p > CONSTANT * pp) & (variance_t > CONSTANT * tt)
    scale = np.sqrt(np.where(varies, variance_p * variance_t, 1.0))
    return np.where(varies, (pt - p * t) / scale, 0.0)[..., None]


def _binary(accuracy: str, f1: str, p: np.ndarray, t: np.ndarray, counted: np.ndarray) -> Piece:
    """Accuracy, and F1 weighted by the true classes' sizes (some papers swap the arguments)."""
    columns = _stacked(*(cell * counted for cell in (p & t, p & ~t, ~p & t, ~p & ~t)))
    return Piece((accuracy, f1), columns, _finish_binary)


def _finish_binary(sums: np.ndarray) -> np.ndarray:
    hit, false_alarm, miss, rejected = np.moveaxis(sums, -1, 0)
    n = hit + false_alarm + miss + rejected
    wrong = false_alarm + miss
    positive, negative = _ratio(2 * hit, 2 * hit + wrong), _ratio(2 * rejected, 2 * rejected + wrong)
    weighted = (hit + miss) * positive + (rejected + false_alarm) * negative
    return np.stack([_ratio(hit + rejected, n), _ratio(weighted, n)], axis=-1)


def _finish_classes(sums: np.ndarray) -> np.ndarray:
    hit, guessed, true = np.split(sums, 3, axis=-1)
    each, n = _ratio(2 * hit, guessed + true), true.sum(axis=-1)
    means = [_ratio(hit.sum(axis=-1), n), _ratio((each * true).sum(axis=-1), n), each.mean(axis=-1)]
    return np.concatenate([np.stack(means, axis=-1), each], axis=-1)


def _stacked(*columns: np.ndarray) -> np.ndarray:
    """Columns of shape (runs, clips) or (clips,) as (runs, clips, columns)."""
    return np.stack(np.broadcast_arrays(*columns), axis=-1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


# -------------------------------------------------------------------------------------------------- classes
def score_classes(values: np.ndarray, limit: int) -> np.ndarray:
    """Scores as classes -limit..limit; halves round to the even neighbour (0.5 to 0, 1.5 to 2)."""
    return np.rint(values.clip(-limit, limit))


SIMS_EDGES = (-0.7, -0.1, 0.1, 0.7)  # of acc5


def sims_bins(values: np.ndarray, edges: Sequence[float] = SIMS_EDGES) -> np.ndarray:
    """The class of each score of the set `sims`, int from 0: by default that of acc5."""
    return _bins(values.clip(-1, 1), edges)


def _bins(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Index of each value's bin, int; an edge belongs to the bin below it.

    Rounded, because a label of 0.1 that was float32 is 0.1000000015.
    """
    return np.searchsorted(edges, values.round(6), side="left")


# --------------------------------------------------------------------------------------------------- checks
def _checked(prediction: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64."""
    p, t = np.asarray(prediction, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if p.ndim != 1 or p.shape != t.shape or p.size == 0:
        raise MsaError(
            f"metrics: predictions of shape {p.shape} and labels of shape {t.shape}; expected one number per "
            "clip on both sides, and at least one clip"
        )
    ways_out = "training has diverged, lower the learning rate", "leave out clips without a label"
    for name, values, way_out in zip(("predictions", "labels"), (p, t), ways_out, strict=True):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise MsaError(
                f"metrics: {bad.size} of {values.size} {name} are not finite (first: {values[bad[0]]} at row "
                f"{bad[0]}); {way_out}"
            )
    return p, t


def _warn_of_constants(p: np.ndarray, t: np.ndarray) -> None:
    """One warning, of the side that is named first."""
    for name, values in (("predictions", p), ("labels", t)):
        if np.ptp(values) == 0:
            warnings.warn(f"corr is 0: all {name} are {values[0]:g}", MetricWarning, stacklevel=3)
            return
