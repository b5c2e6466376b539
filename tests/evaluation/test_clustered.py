"""Simulations of clips that hang together: what statistics of clusters say, and what those of clips would.

Intra-class correlations are those of the clips' differences of absolute errors, B's less A's. Of `TIMES`
repetitions a rate of 5 % has a standard error of .7 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.clusters import Clusters
from pipeline.evaluation.metrics import MetricSums
from pipeline.evaluation.significance import Difference, Sides, differences

TIMES = 1000
SWAPS = 399
EQUAL = (20,) * 30
# clips of the videos of CMU-MOSI's test split
MOSI = (
    10,
    12,
    14,
    14,
    15,
    15,
    *(16,) * 4,
    18,
    18,
    19,
    19,
    20,
    21,
    22,
    22,
    23,
    *(24,) * 3,
    27,
    29,
    *(30,) * 3,
)
MOSI += (31, 33, 35, 43)
SPREAD = {0.1: 0.8, 0.3: 1.3}  # of a video's own shift, that gives this correlation in `shifted`
METRICS = ("mae", "corr", "acc7", "f1_non0")


def videos(sizes: Sequence[int]) -> Clusters:
    return Clusters("videos", np.repeat(np.arange(len(sizes)), sizes))


def correlated(seed: int, sizes: Sequence[int], correlation: float, difference: float = 0.0) -> Sides:
    """Differences of absolute errors, normal with a deviation of 0.3, as those of two methods on MOSI.

    Both sides are far above the labels, so that `difference` is exactly that of the true MAE.
    """
    random, clusters = np.random.default_rng(seed), videos(sizes)
    label, own = random.normal(size=(2, sum(sizes)))
    shared = random.normal(size=len(sizes))[clusters.of_clip]
    apart = difference + 0.3 * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
    return Sides(label, (label + 5)[None], (label + 5 + apart)[None], clusters, "mmsa")


def shifted(
    seed: int,
    sizes: Sequence[int],
    correlation: float,
    worse: float = 0.0,
    runs: int = 1,
    run_effect: float = 0.0,
) -> Sides:
    """Predictions whose errors share a shift in a video, of its own on each side; all metrics make sense.

    Parameters
    ----------
    worse : how much larger B's errors are
    run_effect : deviation of the size of a run's errors
    """
    random, clusters = np.random.default_rng(seed), videos(sizes)
    clips = sum(sizes)
    label, hard = 1.5 * random.normal(size=clips), 0.5 * random.normal(size=clips)
    sides = []
    for larger in (1.0, 1.0 + worse):
        shift = SPREAD[correlation] * random.normal(size=len(sizes))[clusters.of_clip]
        alike, apart = (0.0, 1.0) if runs == 1 else (0.6, 0.8)  # of the runs
        own = alike * random.normal(size=clips) + apart * random.normal(size=(runs, clips))
        size = larger * (1 + run_effect * random.normal(size=(runs, 1)))
        sides.append(label + hard + size * (own + shift))
    return Sides(label, sides[0], sides[1], clusters, "mmsa")


def of(rows: list[list[Difference]], name: str) -> list[Difference]:
    return [row for found in rows for row in found if row.metric == name]


def rejected(rows: list[Difference]) -> float:
    return float(np.mean([row.p < 0.05 for row in rows]))


def held(rows: list[Difference], true: float) -> float:
    return float(np.mean([row.low <= true <= row.high for row in rows]))


# ------------------------------------------------------------------------------------------------ the makers
@pytest.mark.parametrize("correlation", [0.1, 0.3])
@pytest.mark.parametrize("make", [correlated, shifted])
def test_the_correlation_is_as_said(make: type[Sides], correlation: float) -> None:
    """By the one-way analysis of variance."""
    sides = make(0, (20,) * 20_000, correlation)
    apart = np.abs(sides.b[0] - sides.label) - np.abs(sides.a[0] - sides.label)
    clips = apart.reshape(-1, 20)
    between, within = 20 * clips.mean(axis=1).var(ddof=1), clips.var(axis=1, ddof=1).mean()
    assert (between - within) / (between + 19 * within) == pytest.approx(correlation, abs=0.01)


# -------------------------------------------------------------------------------------------- no difference
@pytest.mark.parametrize(
    ("sizes", "correlation", "of_clips"), [(EQUAL, 0.1, 0.2), (EQUAL, 0.3, 0.4), (MOSI, 0.1, 0.2)]
)
def test_equal_sides_differ_at_the_nominal_rate_by_videos_and_far_above_by_clips(
    sizes: Sequence[int], correlation: float, of_clips: float
) -> None:
    sides = [correlated(seed, sizes, correlation) for seed in range(TIMES)]
    rows = of([differences(one, SWAPS, seed) for seed, one in enumerate(sides)], "mae")
    assert 0.03 <= rejected(rows) <= 0.07
    assert 0.93 <= held(rows, 0.0) <= 0.97
    alone = Clusters.alone(sum(sizes))
    fooled = of(
        [differences(replace(one, clusters=alone), 199, i) for i, one in enumerate(sides[:200])], "mae"
    )
    assert rejected(fooled) > of_clips and held(fooled, 0.0) < 1 - of_clips


@pytest.mark.parametrize("correlation", [0.1, 0.3])
def test_every_metric_of_equal_sides_differs_at_the_nominal_rate(correlation: float) -> None:
    rows = [differences(shifted(seed, EQUAL, correlation), SWAPS, seed) for seed in range(TIMES)]
    for name in METRICS:
        assert 0.03 <= rejected(of(rows, name)) <= 0.07, name
        assert 0.93 <= held(of(rows, name), 0.0) <= 0.97, name


# -------------------------------------------------------------------------------------------- a difference
@pytest.mark.parametrize(("difference", "seen"), [(0.03, 0.28), (0.05, 0.62)])
def test_a_real_difference_is_seen_as_often_as_the_docs_say(difference: float, seen: float) -> None:
    rows = [differences(correlated(i, MOSI, 0.1, difference), SWAPS, i) for i in range(TIMES // 2)]
    assert rejected(of(rows, "mae")) == pytest.approx(seen, abs=0.06)
    assert 0.93 <= held(of(rows, "mae"), difference) <= 0.97


def test_intervals_hold_the_true_difference_of_every_metric() -> None:
    """The truth is that of 12,000 videos."""
    large = shifted(TIMES, EQUAL * 400, 0.1, worse=0.4)
    sums = MetricSums("mmsa", np.concatenate([large.a, large.b]), large.label)
    worse, better = sums.scores(sums.terms.sum(axis=0))[::-1]
    true = dict(zip(sums.names, worse - better, strict=True))
    rows = [differences(shifted(seed, EQUAL, 0.1, worse=0.4), SWAPS, seed) for seed in range(TIMES)]
    for name in METRICS:
        assert 0.93 <= held(of(rows, name), true[name]) <= 0.97, name


# --------------------------------------------------------------------------------------------- other runs
@pytest.mark.parametrize(("runs", "run_effect", "most"), [(3, 0.0, 0.07), (3, 0.4, 0.1), (5, 0.4, 0.07)])
def test_other_runs_and_videos_differ_rarely(runs: int, run_effect: float, most: float) -> None:
    """Where both methods are the same, but seeds and videos vary; three runs that vary much are too few."""
    sides = [shifted(seed, EQUAL, 0.1, runs=runs, run_effect=run_effect) for seed in range(TIMES // 2)]
    rows = of([differences(one, 1, seed) for seed, one in enumerate(sides)], "mae")
    assert 0.02 <= differ(rows) <= most
    if not run_effect:  # else it is the runs that vary
        alone = Clusters.alone(sum(EQUAL))
        fooled = [differences(replace(one, clusters=alone), 1, seed) for seed, one in enumerate(sides[:200])]
        assert differ(of(fooled, "mae")) > 0.1


def differ(rows: list[Difference]) -> float:
    return float(np.mean([row.p_runs is not None and row.p_runs < 0.05 for row in rows]))
