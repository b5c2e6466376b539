"""The metrics of metrics.py as functions of sums over clips, for thousands of resamples at once.

Every metric of the field is a function of sums: MAE of the sum of errors, a correlation of five sums, an F1
of the cells of its confusion table. A resample weighs the clips, its sums are one matrix product, and all
metrics of all resamples follow without a loop. metrics.py stays the definition; tests compare the two.

A metric that is undefined on a resample (constant values, no clip that counts) is 0, as it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS

CONSTANT = 1e-12  # variance relative to the mean square, below which values count as equal


@dataclass(frozen=True)
class Piece:
    """One or more metrics that share their sums.

    Attributes
    ----------
    names : of the metrics
    columns : (clips, terms), what is summed over the clips
    finish : sums (..., terms) -> metrics (..., names)
    """

    names: tuple[str, ...]
    columns: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray]


class MetricSums:
    """The metrics of one set for one run's predictions.

    Parameters
    ----------
    metric_set : a name of metrics.METRIC_SETS, or `cls`
    prediction, label : (clips,), finite; of a classification indices of `class_names`

    Attributes
    ----------
    names : of the metrics, in the order of `scores`
    terms : (clips, terms) float64. Terms that only count clips depend on the labels alone, so that runs on
        the same clips may be mixed clip by clip

    Raises
    ------
    MsaError : the metric set is not known
    """

    def __init__(
        self, metric_set: str, prediction: np.ndarray, label: np.ndarray, class_names: Sequence[str] = ()
    ):
        p, t = np.asarray(prediction, np.float64), np.asarray(label, np.float64)
        if metric_set == CLASSIFICATION:
            self._pieces = [_classes(p, t, class_names)]
        elif metric_set in BUILDERS:
            self._pieces = BUILDERS[metric_set](p, t)
        else:
            known = ", ".join((*METRIC_SETS, CLASSIFICATION))
            raise MsaError(f"metric set {metric_set!r} is not known (there are: {known})")
        self.names = [name for piece in self._pieces for name in piece.names]
        self.terms = np.hstack([piece.columns for piece in self._pieces])

    def scores(self, sums: np.ndarray) -> np.ndarray:
        """Metrics of weighted clips.

        Parameters
        ----------
        sums : (..., terms), `weights @ terms`

        Returns
        -------
        (..., metrics)
        """
        ends = np.cumsum([piece.columns.shape[1] for piece in self._pieces])[:-1]
        parts = np.split(sums, ends, axis=-1)
        finished = [piece.finish(part) for piece, part in zip(self._pieces, parts, strict=True)]
        return np.concatenate(finished, axis=-1)


def _mmsa(p: np.ndarray, t: np.ndarray) -> list[Piece]:
    every, non0 = np.ones(len(t)), (t != 0).astype(np.float64)
    return [
        _mean("mae", np.abs(p - t), every),
        _correlation(p, t, every),
        *(_mean(f"acc{2 * limit + 1}", _same_class(p, t, limit), every) for limit in (3, 2, 1)),
        _binary("acc2_has0", "f1_has0", p >= 0, t >= 0, every),
        _binary("acc2_non0", "f1_non0", p > 0, t > 0, non0),
    ]


def _sims(p: np.ndarray, t: np.ndarray) -> list[Piece]:
    p, t = p.clip(-1, 1), t.clip(-1, 1)
    every = np.ones(len(t))
    return [
        _mean("mae", np.abs(p - t), every),
        _correlation(p, t, every),
        _mean("acc5", _same_bin(p, t, [-0.7, -0.1, 0.1, 0.7]), every),
        _mean("acc3", _same_bin(p, t, [-0.1, 0.1]), every),
        _binary("acc2", "f1", p.round(6) > 0, t.round(6) > 0, every),
    ]


def _magbert(p: np.ndarray, t: np.ndarray) -> list[Piece]:
    non0 = (t != 0).astype(np.float64)
    return [
        _mean("mae", np.abs(p - t), non0),
        _correlation(p, t, non0),
        _mean("acc7", _same_class(p, t, 3), non0),
        _binary("acc2", "f1", p >= 0, t >= 0, non0),
    ]


BUILDERS: dict[str, Callable[[np.ndarray, np.ndarray], list[Piece]]] = {
    "mmsa": _mmsa,
    "sims": _sims,
    "magbert": _magbert,
}


# --------------------------------------------------------------------------------------------------- pieces
def _mean(name: str, values: np.ndarray, counted: np.ndarray) -> Piece:
    """Mean of `values` over the clips where `counted` is 1."""
    return Piece(
        (name,), np.stack([values * counted, counted], axis=1), lambda s: _ratio(s[..., :1], s[..., 1:])
    )


def _correlation(p: np.ndarray, t: np.ndarray, counted: np.ndarray) -> Piece:
    """Pearson's; both sides are centred by the labels' mean first, which loses fewer digits."""
    centre = t.mean()
    p, t = (p - centre) * counted, (t - centre) * counted
    return Piece(("corr",), np.stack([p, t, p * p, t * t, p * t, counted], axis=1), _finish_correlation)


def _finish_correlation(sums: np.ndarray) -> np.ndarray:
    p, t, pp, tt, pt = (_ratio(sums[..., i], sums[..., 5]) for i in range(5))
    variance_p, variance_t = pp - p * p, tt - t * t
    varies = (variance_p > CONSTANT * pp) & (variance_t > CONSTANT * tt)
    scale = np.sqrt(np.where(varies, variance_p * variance_t, 1.0))
    return np.where(varies, (pt - p * t) / scale, 0.0)[..., None]


def _binary(accuracy: str, f1: str, p: np.ndarray, t: np.ndarray, counted: np.ndarray) -> Piece:
    """Accuracy, and F1 weighted by the true classes' sizes."""
    cells = [p & t, p & ~t, ~p & t, ~p & ~t]
    columns = np.stack([cell * counted for cell in cells], axis=1)
    return Piece((accuracy, f1), columns, _finish_binary)


def _finish_binary(sums: np.ndarray) -> np.ndarray:
    hit, false_alarm, miss, rejected = np.moveaxis(sums, -1, 0)
    n = hit + false_alarm + miss + rejected
    wrong = false_alarm + miss
    positive, negative = _ratio(2 * hit, 2 * hit + wrong), _ratio(2 * rejected, 2 * rejected + wrong)
    weighted = (hit + miss) * positive + (rejected + false_alarm) * negative
    return np.stack([_ratio(hit + rejected, n), _ratio(weighted, n)], axis=-1)


def _classes(p: np.ndarray, t: np.ndarray, class_names: Sequence[str]) -> Piece:
    indices = np.arange(len(class_names))
    predicted, true = (values[:, None] == indices for values in (p, t))
    names = ("accuracy", "f1_weighted", "f1_macro", *(f"f1_{name}" for name in class_names))
    columns = np.hstack([predicted & true, predicted, true]).astype(np.float64)
    return Piece(names, columns, _finish_classes)


def _finish_classes(sums: np.ndarray) -> np.ndarray:
    hit, predicted, true = np.split(sums, 3, axis=-1)
    each, n = _ratio(2 * hit, predicted + true), true.sum(axis=-1)
    means = [_ratio(hit.sum(axis=-1), n), _ratio((each * true).sum(axis=-1), n), each.mean(axis=-1)]
    return np.concatenate([np.stack(means, axis=-1), each], axis=-1)


def _same_class(p: np.ndarray, t: np.ndarray, limit: int) -> np.ndarray:
    return np.rint(p.clip(-limit, limit)) == np.rint(t.clip(-limit, limit))


def _same_bin(p: np.ndarray, t: np.ndarray, edges: list[float]) -> np.ndarray:
    return np.searchsorted(edges, p.round(6)) == np.searchsorted(edges, t.round(6))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
