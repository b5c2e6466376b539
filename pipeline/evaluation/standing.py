"""Where the methods of one set stand: each one's chief test metric, and how far it is from the best.

Intervals are those of significance.py, over clusters of test clips, for these runs on other clips; they are
not corrected for the number of methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import TEST
from pipeline.evaluation.clusters import ClusterCount, clusters_of
from pipeline.evaluation.comparison import compare_runs
from pipeline.evaluation.saved import SavedRun
from pipeline.evaluation.significance import SEED, Sides, lower_is_better, score_intervals

Interval = tuple[float, float, float]  # what was found, low, high


@dataclass(frozen=True)
class Standing:
    """One method.

    Attributes
    ----------
    score : its metric, mean over the runs
    from_best : its metric less the best method's, on the same clips; None of the best, and where the two
        cannot be compared
    seeds : the metric of each run
    """

    method: str
    score: Interval
    from_best: Interval | None
    seeds: list[float]


def chief_metric(runs: Sequence[SavedRun]) -> str:
    """`accuracy` of a classification, else `mae`."""
    return "accuracy" if runs[0].result.class_names else "mae"


def standings(
    methods: Mapping[str, Sequence[SavedRun]], metric: str
) -> tuple[list[Standing], ClusterCount | None]:
    """The methods, best first, and the clusters of their test clips.

    Methods without test predictions, or whose clips are all of one cluster, are left out; None where no
    method is left.
    """
    scores: dict[str, Interval] = {}
    counted = None
    for method, runs in methods.items():
        if any(TEST not in run.predictions for run in runs):
            continue
        first = runs[0].predictions[TEST]
        clusters = clusters_of(first.speakers, first.videos)
        if clusters.counted.count < 2:
            continue
        counted = counted or clusters.counted
        predictions = np.stack([run.predictions[TEST].prediction for run in runs])
        result = runs[0].result
        sides = Sides(first.label, predictions, predictions, clusters, result.metric_set, result.class_names)
        scores[method] = score_intervals(sides)[metric]
    sign = 1 if lower_is_better(metric) else -1
    order = sorted(scores, key=lambda method: sign * scores[method][0])
    return [
        Standing(
            method,
            scores[method],
            None if method == order[0] else _difference(methods[order[0]], methods[method], metric),
            [run.result.test[metric] for run in methods[method]],
        )
        for method in order
    ], counted


def _difference(best: Sequence[SavedRun], other: Sequence[SavedRun], metric: str) -> Interval | None:
    try:
        entry = compare_runs("", best, other, 0, SEED)  # without resamples: intervals alone
    except MsaError:
        return None
    tests = (row.test for row in entry.rows if row.metric == metric)
    return next(((test.difference, test.low, test.high) for test in tests if test is not None), None)
