"""Statistics of differences: the definitions by hand, scipy, and simulations of independent clips."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.core.errors import MsaError
from pipeline.evaluation.clusters import Clusters
from pipeline.evaluation.metrics import METRIC_SETS, MetricSums, cls
from pipeline.evaluation.significance import Difference, Sides, corrected, differences, holm

CLASSES = ("joy", "anger", "none")


def make_sides(
    seed: int,
    clips: int = 80,
    runs: int = 2,
    noise: tuple[float, float] = (1.0, 1.0),
    run_effect: float = 0.0,
    clusters: Clusters | None = None,
) -> Sides:
    """Errors that all share in a clip, that a side shares, and of the run; runs may be off as a whole.

    By default each clip is alone.
    """
    random = np.random.default_rng(seed)
    label = random.normal(size=clips)
    shared = random.normal(size=clips)
    sides = []
    for spread in noise:
        size = spread * (1 + run_effect * random.normal(size=(runs, 1)))
        own = 0.6 * random.normal(size=clips) + 0.8 * random.normal(size=(runs, clips))
        sides.append(label + 0.5 * shared + size * own)
    return Sides(label, sides[0], sides[1], clusters or Clusters.alone(clips), "mmsa")


def in_videos(sizes: Sequence[int]) -> Clusters:
    """Videos of these many clips, which lie mixed."""
    return Clusters("videos", np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes)))


def metric(rows: list[Difference], name: str) -> Difference:
    return next(row for row in rows if row.metric == name)


def mae(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.abs(side - sides.label) for side in (sides.a, sides.b))  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------- metrics as sums
@pytest.mark.parametrize("name", sorted(METRIC_SETS))
@pytest.mark.parametrize("clips", [4, 50])
def test_sums_give_the_metrics_of_every_resample(name: str, clips: int) -> None:
    random = np.random.default_rng(clips)
    label = np.round(random.uniform(-3, 3, clips) * 5) / 5
    label[::4] = 0.0
    prediction = np.round(label + random.normal(size=clips), 1).astype(np.float32)
    sums = MetricSums(name, prediction[None], label)
    compared = 0
    for _ in range(60):
        drawn = random.integers(0, clips, clips)
        if name == "magbert" and not label[drawn].any():
            continue  # there the definition raises
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = METRIC_SETS[name](prediction[drawn], label[drawn])
        found = sums.scores(np.bincount(drawn, minlength=clips) @ sums.terms[:, 0])
        assert dict(zip(sums.names, found, strict=True)) == pytest.approx(expected, abs=1e-9)
        compared += 1
    assert compared > 40


@pytest.mark.parametrize("clips", [3, 40])
def test_sums_give_the_metrics_of_classes(clips: int) -> None:
    random = np.random.default_rng(clips)
    label, prediction = random.integers(0, 3, (2, clips))
    sums = MetricSums("cls", prediction[None], label, CLASSES)
    for _ in range(40):
        drawn = random.integers(0, clips, clips)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = cls(prediction[drawn], label[drawn], CLASSES)
        found = sums.scores(np.bincount(drawn, minlength=clips) @ sums.terms[:, 0])
        assert dict(zip(sums.names, found, strict=True)) == pytest.approx(expected, abs=1e-12)


def test_constant_predictions_have_no_correlation() -> None:
    sums = MetricSums("mmsa", np.full((1, 30), 0.3), np.linspace(-2, 2, 30))
    assert sums.scores(sums.terms.sum(axis=0))[0, 1] == 0.0


# ------------------------------------------------------------------------------------------ scipy, by hand
def test_the_swap_test_is_scipys_on_errors() -> None:
    sides = make_sides(2, clips=10, runs=1, noise=(1.0, 1.6))
    a, b = mae(sides)
    exact = stats.permutation_test(
        (b[0], a[0]), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=np.inf
    )
    found = metric(differences(sides, 40_000), "mae")
    assert 0.05 < exact.pvalue < 0.95
    assert found.p == pytest.approx(exact.pvalue, abs=0.01)
    assert found.difference == pytest.approx(exact.statistic)


@pytest.mark.parametrize("paired", [True, False])
def test_the_swap_test_is_every_swap_by_hand(paired: bool) -> None:
    clusters = in_videos([1, 2, 2, 4, 1, 3])
    sides = make_sides(5, clips=13, runs=2, noise=(0.5, 1.5), clusters=clusters)
    a = sides.a if paired else sides.a[:1]
    pairs = [(0, 0), (1, 1)] if paired else [(0, 0), (0, 1)]

    def difference(swapped: np.ndarray) -> dict[str, float]:
        swap = swapped[clusters.of_clip]  # whole videos
        found = []
        for i, j in pairs:
            x, y = np.where(swap, sides.b[j], a[i]), np.where(swap, a[i], sides.b[j])
            mine, other = (METRIC_SETS["mmsa"](side, sides.label) for side in (y, x))
            found.append([mine[name] - other[name] for name in names])
        return dict(zip(names, np.mean(found, axis=0), strict=True))

    names = ("corr", "acc7", "f1_non0")
    every = [difference(np.array(swap, bool)) for swap in itertools.product((0, 1), repeat=6)]
    rows = differences(replace(sides, a=a, paired=paired), 20_000)
    for name in names:
        exact = np.mean([abs(swapped[name]) >= abs(every[0][name]) - 1e-9 for swapped in every])
        assert metric(rows, name).p == pytest.approx(exact, abs=0.015)
        assert metric(rows, name).difference == pytest.approx(every[0][name], abs=1e-12)


def test_the_interval_of_equal_videos_is_scipys_t_of_their_means() -> None:
    clusters = in_videos([5] * 12)
    sides = make_sides(4, clips=60, runs=3, noise=(1.0, 1.2), clusters=clusters)
    a, b = (errors.mean(axis=0) for errors in mae(sides))
    means = np.bincount(clusters.of_clip, b - a) / 5
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    found = metric(differences(sides, 100), "mae")
    assert (found.low, found.high) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("name", ["mae", "corr", "f1_non0"])
def test_the_interval_is_the_jackknife_of_videos_by_hand(name: str) -> None:
    clusters = in_videos([3, 9, 4, 20, 7, 7, 12])
    sides = make_sides(4, clips=62, runs=2, noise=(1.0, 1.4), clusters=clusters)

    def difference(kept: np.ndarray) -> float:
        each = [
            [METRIC_SETS["mmsa"](run[kept], sides.label[kept])[name] for run in side]
            for side in (sides.a, sides.b)
        ]
        return float(np.mean(each[1]) - np.mean(each[0]))

    without = np.array([difference(clusters.of_clip != one) for one in range(7)])
    error = np.sqrt(6 / 7 * np.sum((without - without.mean()) ** 2))
    expected = stats.t(6, difference(np.full(62, True)), error).interval(0.95)
    found = metric(differences(sides, 100), name)
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize("run_effect", [0.0, 0.3])
def test_runs_and_videos_are_the_crossed_analysis_of_variance(run_effect: float) -> None:
    """Of equal videos, Obuchowski-Rockette is the two-way analysis of variance of their means."""
    clusters = in_videos([5] * 12)
    sides = make_sides(6, 60, runs=4, noise=(1.0, 1.3), run_effect=run_effect, clusters=clusters)
    a, b = mae(sides)
    d = np.stack([np.bincount(clusters.of_clip, run) / 5 for run in b - a])
    runs, videos = d.shape
    by_run, by_video, all_ = d.mean(axis=1), d.mean(axis=0), d.mean()
    ms_run = videos * np.sum((by_run - all_) ** 2) / (runs - 1)
    ms_video = runs * np.sum((by_video - all_) ** 2) / (videos - 1)
    rest = d - by_run[:, None] - by_video + all_
    ms_rest = np.sum(rest**2) / ((runs - 1) * (videos - 1))
    variance = max(ms_run + max(ms_video - ms_rest, 0), ms_video)
    freedom = variance**2 / (ms_run**2 / (runs - 1) + ms_video**2 / (videos - 1))
    expected = stats.t(freedom, all_, np.sqrt(variance / d.size))
    found = metric(differences(sides, 100), "mae")
    assert (found.runs_low, found.runs_high) == pytest.approx(expected.interval(0.95))
    assert found.p_runs == pytest.approx(2 * min(expected.cdf(0), expected.sf(0)))


@pytest.mark.parametrize("paired", [True, False])
def test_where_clips_do_not_vary_it_is_the_t_test_of_runs(paired: bool) -> None:
    errors = np.random.default_rng(2).uniform(0.5, 1.5, (2, 5))
    label = np.tile([-1.0, 1.0], 20)
    a, b = (label + run[:, None] for run in errors)
    sides = Sides(label, a, b, in_videos([10] * 4), "mmsa", paired=paired)
    found = metric(differences(sides, 100), "mae")
    test = (
        stats.ttest_rel(errors[1], errors[0]) if paired else stats.ttest_ind(*errors[::-1], equal_var=False)
    )
    assert found.p_runs == pytest.approx(test.pvalue)
    assert (found.runs_low, found.runs_high) == pytest.approx(tuple(test.confidence_interval()))


@pytest.mark.parametrize("runs", [1, 2])
def test_few_runs_say_nothing_of_other_runs(runs: int) -> None:
    row = differences(make_sides(1, runs=runs), 100)[0]
    assert row.p_runs is None and row.runs_low is None
    assert corrected([row])[0].p_runs_holm is None


# ---------------------------------------------------------------------------------------------- simulations
def simulate(count: int, **how: object) -> list[list[Difference]]:
    return [differences(make_sides(seed, **how), 299, seed) for seed in range(count)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nothing() -> list[list[Difference]]:
    """A thousand comparisons of equal sides."""
    return simulate(1000)


@pytest.mark.parametrize("name", ["mae", "corr", "f1_non0"])
def test_equal_sides_differ_at_the_nominal_rate(nothing: list[list[Difference]], name: str) -> None:
    rate = np.mean([metric(rows, name).p < 0.05 for rows in nothing])
    assert 0.03 <= rate <= 0.07


def test_intervals_of_equal_sides_hold_zero(nothing: list[list[Difference]]) -> None:
    held = np.mean([(row := metric(rows, "mae")).low <= 0 <= row.high for rows in nothing])
    assert 0.93 <= held <= 0.97


def test_intervals_hold_the_true_difference() -> None:
    """The MAE of a normal error of spread s is s sqrt(2 / pi)."""
    spreads = [np.hypot(0.5, own) for own in (1.0, 1.4)]
    true = (spreads[1] - spreads[0]) * np.sqrt(2 / np.pi)
    rows = [metric(rows, "mae") for rows in simulate(600, noise=(1.0, 1.4), clips=100)]
    assert 0.92 <= np.mean([row.low <= true <= row.high for row in rows]) <= 0.98
    assert np.mean([row.difference for row in rows]) == pytest.approx(true, abs=0.01)


def test_a_real_difference_is_found() -> None:
    rows = [metric(rows, "mae") for rows in simulate(200, noise=(1.0, 1.6), clips=100, runs=3)]
    assert np.mean([row.p < 0.05 for row in rows]) > 0.9
    assert np.mean([row.p_runs is not None and row.p_runs < 0.05 for row in rows]) > 0.5


def test_runs_that_vary_fool_the_clips_alone_but_not_runs_and_clips() -> None:
    rows = [metric(rows, "mae") for rows in simulate(400, run_effect=0.4, clips=150, runs=4)]
    assert np.mean([row.p < 0.05 for row in rows]) > 0.2
    assert np.mean([row.p_runs is not None and row.p_runs < 0.05 for row in rows]) <= 0.07


# ------------------------------------------------------------------------------------------------ properties
def test_sides_exchanged_are_the_same_difference_the_other_way() -> None:
    sides = make_sides(7, noise=(1.0, 1.3), runs=3)
    for paired in (True, False):
        there = differences(replace(sides, paired=paired), 500)
        back = differences(replace(sides, a=sides.b, b=sides.a, paired=paired), 500)
        for one, other in zip(there, back, strict=True):
            assert one.p == other.p
            assert (one.difference, one.low, one.high) == pytest.approx(
                (-other.difference, -other.high, -other.low)
            )
            assert one.p_runs == pytest.approx(other.p_runs)


def test_the_same_numbers_twice_and_other_numbers_with_another_seed() -> None:
    sides = make_sides(8)
    assert differences(sides, 300, 5) == differences(sides, 300, 5)
    assert differences(sides, 300, 5) != differences(sides, 300, 6)


def test_identical_predictions_are_no_difference() -> None:
    sides = make_sides(9, runs=3)
    for row in differences(replace(sides, b=sides.a), 200):
        assert (row.difference, row.low, row.high, row.p, row.p_runs) == (0, 0, 0, 1, 1)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.01, 0.02, 0.022, 0.09], [0.04, 0.06, 0.06, 0.09]),
        ([0.5, 0.6, 0.9], [1.0, 1.0, 1.0]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_holm_known_answers(p: list[float], expected: list[float]) -> None:
    assert holm(p) == pytest.approx(expected)


def test_what_is_shown() -> None:
    def shown(difference: float, p: float, p_runs: float | None, name: str = "mae") -> tuple[str, bool]:
        row = corrected([Difference(name, 1, 1 + difference, difference, 0, 0, p, None, None, p_runs)])[0]
        return row.shown, row.shown_for_other_runs

    assert shown(-0.1, 0.01, 0.02) == ("better", True)
    assert shown(-0.1, 0.01, 0.2) == ("better", False)
    assert shown(0.1, 0.01, None) == ("worse", False)
    assert shown(0.1, 0.01, 0.02, "corr") == ("better", True)
    assert shown(0.1, 0.06, 0.02) == ("open", False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric_set": "wer"}, "'wer' is not known"),
        ({"a": np.zeros((1, 79))}, "expected \\(runs, clips\\)"),
        ({"a": np.zeros((1, 80))}, "cannot be paired"),
        ({"clusters": Clusters("videos", np.zeros(80, int))}, "1 cluster\\(s\\) of 80 clip"),
        ({"clusters": Clusters.alone(79)}, "79 clip\\(s\\) for 80 label"),
    ],
)
def test_what_cannot_be_compared(changes: dict[str, object], words: str) -> None:
    with pytest.raises(MsaError, match=words):
        differences(replace(make_sides(1), **changes), 100)  # type: ignore[arg-type]
