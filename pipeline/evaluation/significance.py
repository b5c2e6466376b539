"""Is one set of runs better than another? Paired statistics on their test predictions.

Two sides, A (before, the baseline) and B (after), have one or more runs (seeds) each, all on the same clips.
The difference of a metric is that of its means over the runs, B - A. Two questions are answered apart:

**These runs, other clips.** Clips are the sampling unit, runs are fixed: repeated measures of the same clips.
The interval is the percentile bootstrap over clips: a resampled clip brings the predictions of all runs of
both sides. The p value is that of a randomisation test: under the null hypothesis both sides' predictions of
a clip are exchangeable, so each clip is swapped with probability 1/2, in all pairs of runs together, and the
metrics are computed anew. p = (1 + as extreme) / (1 + resamples), two-sided, never 0. [1-3]

**Other runs, other clips.** What is said of a method must hold for other seeds too. Runs and clips are then
both samples, fully crossed, like the readers and cases of a diagnostic trial, and the analysis is the one of
that field, Obuchowski and Rockette's with Hillis' degrees of freedom: the variance of the difference is that
of the runs' differences / runs, plus the covariance that runs have because they share the clips (jackknife
over clips), and at least what the clips alone give; an interval and p value of Student's t follow [4, 5]. It
needs three runs a side. In simulations it then rejects a true null at 5 % in 0.2 to 8 % of cases (0.5 to 6 %
with five runs), where the clips alone reject in up to 60 % because runs vary; with two runs it would reach
12 %. Three runs show only large differences: that is what three seeds are worth.

Runs are pairs where both sides have the same seeds; else each run of A meets each of B and the sides' runs
are independent samples. p values of all metrics of a table are corrected by Holm, each question's apart.

Assumptions: clips are independent (utterances of one speaker are not quite: intervals are then too short);
the test split was not used to choose the runs.

[1] Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13. [2] Noreen, Computer-Intensive
Methods for Testing Hypotheses, 1989; Yeh, COLING 2000. [3] Phipson and Smyth, Stat. Appl. Genet. Mol. Biol.
9, 2010. [4] Obuchowski and Rockette, Commun. Stat. Simul. Comput. 24, 1995. [5] Hillis, Stat. Med. 26, 2007.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.evaluation.metrics import MetricSums

RESAMPLES, SEED, LEVEL = 10_000, 0, 0.95
FEWEST_RUNS = 3  # of a side, to say something of other runs
ALPHA = 0.05
BLOCK = 2_000_000  # numbers of a block of resamples: 16 MB
TIE = 1e-9  # metrics closer than this are equal: sums are rounded


def lower_is_better(metric: str) -> bool:
    """Of a metric as tables name it: `mae`, `valid_mae`, `ood_mae`, `test_ood_mae` ..."""
    return re.fullmatch("(test_)?(ood_)?(valid_)?mae", metric) is not None


@dataclass(frozen=True)
class Sides:
    """Predictions of two sets of runs for the same clips.

    Attributes
    ----------
    label : (clips,)
    a, b : (runs, clips), in label units or indices of classes
    paired : run i of `a` and run i of `b` have the same seed
    """

    label: np.ndarray
    a: np.ndarray
    b: np.ndarray
    metric_set: str
    class_names: tuple[str, ...] = ()
    paired: bool = True


@dataclass(frozen=True)
class Difference:
    """One metric of B less that of A, means over the runs.

    Attributes
    ----------
    a, b, difference : of the predictions given
    low, high : bootstrap interval of the difference over clips
    p : of the swap test; `p_holm` corrected, once the whole table is known
    runs_low, runs_high, p_runs, p_runs_holm : over runs and clips; None below FEWEST_RUNS on a side
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    runs_low: float | None
    runs_high: float | None
    p_runs: float | None
    p_holm: float | None = None
    p_runs_holm: float | None = None

    @property
    def shown(self) -> str:
        """`better` or `worse`: B against A, for these runs on other clips, at `ALPHA`; else `open`."""
        if self.p_holm is None or self.p_holm >= ALPHA:
            return "open"
        return "better" if (self.difference < 0) == lower_is_better(self.metric) else "worse"

    @property
    def shown_for_other_runs(self) -> bool:
        """What is shown holds for other seeds too."""
        return self.shown != "open" and self.p_runs_holm is not None and self.p_runs_holm < ALPHA


def differences(sides: Sides, resamples: int = RESAMPLES, seed: int = SEED) -> list[Difference]:
    """Every metric of the set, uncorrected; the same numbers for the same input.

    Raises
    ------
    MsaError : fewer than two clips, no runs, or sides of other shapes
    """
    metric, clips = _summed(sides), len(sides.label)
    runs = range(len(sides.a)), range(len(sides.b))
    pairs = [*(zip(*runs, strict=True) if sides.paired else product(*runs))]
    terms = np.split(metric.terms, [len(sides.a)], axis=1)  # of each side
    scores = [metric.scores(side.sum(axis=0)) for side in terms]
    mean_a, mean_b = (side.mean(axis=0) for side in scores)
    found = mean_b - mean_a

    streams = np.random.default_rng(seed).spawn(2)
    resampled, swapped = [], []
    block = max(1, BLOCK // clips)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = streams[0].integers(0, clips, (size, clips)) + np.arange(size)[:, None] * clips
        times = np.bincount(drawn.ravel(), minlength=size * clips)  # that each clip was drawn
        weights = times.reshape(size, clips).astype(np.float64)
        means = [metric.scores(np.tensordot(weights, side, axes=1)).mean(axis=1) for side in terms]
        resampled.append(means[1] - means[0])
        swaps = streams[1].integers(0, 2, (size, clips)).astype(np.float64)
        swapped.append(_swapped(metric, terms, swaps, pairs))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(resampled), [tail, 1 - tail], axis=0)
    extreme = np.abs(np.concatenate(swapped)) >= np.abs(found) - TIE
    p = (1 + extreme.sum(axis=0)) / (1 + resamples)

    over_runs = _over_runs(metric, terms, scores, sides.paired)
    return [
        Difference(
            name,
            *(float(value[i]) for value in (mean_a, mean_b, found, low, high, p)),
            *(over_runs[i] if over_runs else (None, None, None)),
        )
        for i, name in enumerate(metric.names)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that hold for the family as a whole, in the order given.

    Reference: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    values = np.array(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    values[order] = stepped
    return values.tolist()


def corrected(table: list[Difference]) -> list[Difference]:
    """The same differences with Holm's correction over all of them, each question's p values apart."""
    clips = holm([row.p for row in table])
    tested = [i for i, row in enumerate(table) if row.p_runs is not None]
    runs = dict(zip(tested, holm([p for row in table if (p := row.p_runs) is not None]), strict=True))
    return [replace(row, p_holm=clips[i], p_runs_holm=runs.get(i)) for i, row in enumerate(table)]


# ---------------------------------------------------------------------------------------------------- clips
def _summed(sides: Sides) -> MetricSums:
    """The runs of A, then those of B."""
    clips = len(sides.label)
    for runs in (sides.a, sides.b):
        if runs.ndim != 2 or len(runs) == 0 or runs.shape[1] != clips or clips < 2:
            raise MsaError(
                f"significance: predictions of shape {runs.shape} for {clips} label(s); expected (runs, "
                "clips) with at least one run and two clips"
            )
    if sides.paired and len(sides.a) != len(sides.b):
        raise MsaError(
            f"significance: {len(sides.a)} runs and {len(sides.b)} cannot be paired; say paired=False"
        )
    return MetricSums(sides.metric_set, np.concatenate([sides.a, sides.b]), sides.label, sides.class_names)


def _swapped(
    metric: MetricSums, terms: list[np.ndarray], swaps: np.ndarray, pairs: list[tuple[int, int]]
) -> np.ndarray:
    """B - A after clips changed sides, (size, metrics): mean over the pairs of runs."""
    all_a, all_b = (side.sum(axis=0) for side in terms)
    moved_a, moved_b = (np.tensordot(swaps, side, axes=1) for side in terms)  # (size, runs, terms)
    total = np.zeros((len(swaps), len(metric.names)))
    for i, j in pairs:
        gain = moved_b[:, j] - moved_a[:, i]
        total += metric.scores(all_b[j] - gain) - metric.scores(all_a[i] + gain)
    return total / len(pairs)


# ----------------------------------------------------------------------------------------------------- runs
def _over_runs(
    metric: MetricSums, terms: list[np.ndarray], scores: list[np.ndarray], paired: bool
) -> list[tuple[float, float, float]]:
    """Interval and p value of each metric over runs and clips; empty below FEWEST_RUNS on a side."""
    if min(map(len, scores)) < FEWEST_RUNS:
        return []
    clips = len(terms[0])
    without_one = [metric.scores(side.sum(axis=0) - side) for side in terms]
    found = []
    for i in range(len(metric.names)):
        runs = np.hstack([side[..., i] for side in without_one])  # (clips, runs)
        jackknife = np.cov(runs, rowvar=False) * (clips - 1) ** 2 / clips
        found.append(_student(scores[0][:, i], scores[1][:, i], jackknife, paired))
    return found


def _student(
    a: np.ndarray, b: np.ndarray, covariance: np.ndarray, paired: bool
) -> tuple[float, float, float]:
    """Interval and p value of mean(b) - mean(a), metrics of runs that share their clips.

    Parameters
    ----------
    a, b : (runs,)
    covariance : of the runs over samples of clips, (runs, runs) with those of A first

    `shared` is what the covariance between different runs adds; a negative estimate counts as 0 (Hillis).
    Other runs cannot be surer than these runs are, so the variance is at least what the clips alone give.
    """
    from scipy.special import stdtr, stdtrit  # far quicker than the distribution objects

    n_a = len(a)
    aa, bb, ab = covariance[:n_a, :n_a], covariance[n_a:, n_a:], covariance[:n_a, n_a:]
    if paired:
        shared = _between(aa + bb - ab - ab.T)
        parts = [(float(np.var(b - a, ddof=1)) / n_a, n_a - 1)]
    else:
        shared = _between(aa) + _between(bb) - 2 * float(ab.mean())
        parts = [(float(np.var(runs, ddof=1)) / len(runs), len(runs) - 1) for runs in (a, b)]
    found = float(b.mean() - a.mean())
    estimate = sum(part for part, _ in parts) + max(shared, 0.0)
    clips_alone = float(aa.mean() + bb.mean() - 2 * ab.mean())
    variance = max(estimate, clips_alone)
    if variance <= TIE**2:  # the same difference for every run and clip
        return found, found, float(abs(found) <= TIE)
    noise = sum(part**2 / freedom for part, freedom in parts)
    freedom = estimate**2 / noise if noise > 0 else np.inf
    error = float(np.sqrt(variance))
    reach = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return found - reach, found + reach, float(2 * stdtr(freedom, -abs(found) / error))


def _between(covariance: np.ndarray) -> float:
    """Mean covariance of two different runs."""
    count = len(covariance)
    return float((covariance.sum() - np.trace(covariance)) / (count * (count - 1)))
