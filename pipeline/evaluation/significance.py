"""Is one set of runs better than another? Paired statistics on their test predictions.

Two sides, A (before, the baseline) and B (after), have one or more runs (seeds) each, all on the same clips.
The difference of a metric is that of its means over the runs, B - A. The sampling unit is the cluster: the
clips of a speaker, else of a video, else a clip (clusters.py). Two questions are answered apart:

**These runs, other clips.** Clusters are the sample, runs are fixed: repeated measures of the same clips. The
interval is Student's t of a jackknife that leaves out one cluster at a time, in all runs of both sides, with
clusters - 1 degrees of freedom [1]. The p value is that of a randomisation test: under the null hypothesis
both sides' predictions of a cluster are exchangeable, so each cluster is swapped as a whole with probability
1/2, in all pairs of runs together, and the metrics computed again. p = (1 + as extreme) / (1 + resamples),
two-sided, never 0 [2, 3].

**Other runs, other clips.** What is said of a method must hold for other seeds too. Runs and clusters are
then both samples, fully crossed, like the readers and cases of a diagnostic trial, and the analysis is the
one of that field, Obuchowski and Rockette's: the variance of the difference is that of the runs' differences
/ runs, plus the covariance that runs have because they share the clusters (the same jackknife), and at least
what the clusters alone give; an interval and p value of Student's t follow [4]. Hillis' degrees of freedom
[5] take that covariance as known. Of tens of clusters it is not, so that the variance of the clusters, with
clusters - 1, enters Satterthwaite's formula too. It needs three runs a side.

Runs are pairs where both sides have the same seeds; else each run of A meets each of B and the sides' runs
are independent samples. p values of all metrics of a table are corrected by Holm, each question's apart.

Simulated (docs/comparing.md): of 30 videos of 20 clips whose differences have an intra-class correlation of
.1 or .3, a true null is rejected at 5 % in 4 to 6 % of cases, by single clips in 25 and 42 %. Intervals hold
the truth in 94 to 95 %; percentile bootstraps of the videos did in 91 to 95 %, which is why there are none.
For other runs a true null is rejected in 4 to 9 % of cases with three runs a side (the more, the more runs
vary) and in 4 to 6 % with five. Three runs show only large differences: that is what three seeds are worth.

Assumptions: clusters are independent (one speaker who is not known as such in several videos makes intervals
too short); the test split was not used to choose the runs.

[1] Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 11; Cameron and Miller, J. Human
Resources 50, 2015. [2] Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989; Yeh, COLING 2000.
[3] Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010. [4] Obuchowski and Rockette, Commun. Stat.
Simul. Comput. 24, 1995. [5] Hillis, Stat. Med. 26, 2007.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.evaluation.clusters import Clusters
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
    clusters : of the clips
    paired : run i of `a` and run i of `b` have the same seed
    clip_ids : of the clips, where they are known
    """

    label: np.ndarray
    a: np.ndarray
    b: np.ndarray
    clusters: Clusters
    metric_set: str
    class_names: tuple[str, ...] = ()
    paired: bool = True
    clip_ids: tuple[str, ...] = ()

    def take(self, chosen: np.ndarray) -> Sides:
        """The clips where `chosen`, (clips,) bool, is True; their clusters stay of one kind."""
        return replace(
            self,
            label=self.label[chosen],
            a=self.a[:, chosen],
            b=self.b[:, chosen],
            clusters=self.clusters.take(chosen),
            clip_ids=tuple(np.array(self.clip_ids)[chosen]) if self.clip_ids else (),
        )


@dataclass(frozen=True)
class Difference:
    """One metric of B less that of A, means over the runs.

    Attributes
    ----------
    a, b, difference : of the predictions given
    low, high : interval of the difference over clusters of clips
    p : of the swap test; `p_holm` corrected, once the whole table is known
    runs_low, runs_high, p_runs, p_runs_holm : over runs and clusters; None below FEWEST_RUNS on a side
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
    def words(self) -> str:
        """As tables say it: `better` or `worse` where it holds for other seeds too, with a star where not."""
        return self.shown if self.shown == "open" or self.shown_for_other_runs else f"{self.shown}*"

    @property
    def shown_for_other_runs(self) -> bool:
        """What is shown holds for other seeds too."""
        return self.shown != "open" and self.p_runs_holm is not None and self.p_runs_holm < ALPHA


def differences(sides: Sides, resamples: int = RESAMPLES, seed: int = SEED) -> list[Difference]:
    """Every metric of the set, uncorrected; the same numbers for the same input.

    Raises
    ------
    MsaError : fewer than two clusters, no runs, or sides of other shapes
    """
    metric = _summed(sides)
    terms = sides.clusters.sums(metric.terms)  # (clusters, runs, terms)
    total, count, first_b = terms.sum(axis=0), len(terms), len(sides.a)
    scores = metric.scores(total)  # (runs, metrics)
    a, b = scores[:first_b], scores[first_b:]
    found = b.mean(axis=0) - a.mean(axis=0)

    without_one = metric.scores(total - terms)  # (clusters, runs, metrics)
    apart = without_one - without_one.mean(axis=0)
    jackknife = np.einsum("crm,csm->mrs", apart, apart) * (count - 1) / count  # covariance of the runs

    random = np.random.default_rng(seed)
    extreme = np.zeros(len(metric.names))
    block = max(1, BLOCK // count)
    for start in range(0, resamples, block):
        swaps = random.integers(0, 2, (min(block, resamples - start), count), dtype=np.int8)
        swapped = _swapped(metric, terms, first_b, swaps.astype(np.float64), sides.paired)
        extreme += (np.abs(swapped) >= np.abs(found) - TIE).sum(axis=0)
    p = (1 + extreme) / (1 + resamples)

    rows = []
    for i, name in enumerate(metric.names):
        variances = _Variances.of(a[:, i], b[:, i], jackknife[i], sides.paired, count)
        low, high, _ = variances.of_these_runs(found[i])
        over_runs = variances.of_other_runs(found[i]) if min(len(a), len(b)) >= FEWEST_RUNS else (None,) * 3
        means = float(a[:, i].mean()), float(b[:, i].mean()), float(found[i])
        rows.append(Difference(name, *means, low, high, float(p[i]), *over_runs))
    return rows


def mean_interval(values: np.ndarray, clusters: Clusters) -> tuple[float, float]:
    """Interval of the mean of (clips,) values for other clips, over two clusters or more."""
    sums, counts = clusters.sums(values), clusters.sums(np.ones(len(values)))
    without_one = (sums.sum() - sums) / (counts.sum() - counts)
    return jackknife_interval(float(values.mean()), without_one)


def jackknife_interval(found: float, without_one: np.ndarray) -> tuple[float, float]:
    """Student's t interval of a number, from what it is without each of the (clusters,) in turn."""
    count = len(without_one)
    return _student(found, float(without_one.var()) * (count - 1), count - 1)[:2]


def score_intervals(sides: Sides) -> dict[str, tuple[float, float, float]]:
    """Metric -> mean over the runs of A, low and high of its interval over clusters, as of a difference.

    `b` of the sides may be anything of its shape. Errors: see `differences`.
    """
    metric = _summed(sides)
    terms = sides.clusters.sums(metric.terms)
    total, runs = terms.sum(axis=0), len(sides.a)
    means = metric.scores(total)[:runs].mean(axis=0)
    without_one = metric.scores(total - terms)[:, :runs].mean(axis=1)  # (clusters, metrics)
    return {
        name: (float(mean), *jackknife_interval(float(mean), values))
        for name, mean, values in zip(metric.names, means, without_one.T, strict=True)
    }


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


# --------------------------------------------------------------------------------------------- these runs
def _summed(sides: Sides) -> MetricSums:
    """The runs of A, then those of B."""
    clips = len(sides.label)
    for runs in (sides.a, sides.b):
        if runs.ndim != 2 or len(runs) == 0 or runs.shape[1] != clips or clips < 2:
            raise MsaError(
                f"significance: predictions of shape {runs.shape} for {clips} label(s); expected (runs, "
                "clips) with at least one run and two clips"
            )
    clusters = sides.clusters.counted
    if clusters.clips != clips or clusters.count < 2:
        raise MsaError(
            f"significance: {clusters.count} cluster(s) of {clusters.clips} clip(s) for {clips} label(s); "
            "expected at least two, and one for each clip"
        )
    if sides.paired and len(sides.a) != len(sides.b):
        raise MsaError(
            f"significance: {len(sides.a)} runs and {len(sides.b)} cannot be paired; pass paired=False"
        )
    return MetricSums(sides.metric_set, np.concatenate([sides.a, sides.b]), sides.label, sides.class_names)


def _swapped(
    metric: MetricSums, terms: np.ndarray, first_b: int, swaps: np.ndarray, paired: bool
) -> np.ndarray:
    """B - A after clusters changed sides, (size, metrics): mean over the pairs of runs.

    Parameters
    ----------
    terms : (clusters, runs, terms), the runs of A first, `first_b` of them
    swaps : (size, clusters), 1 = changes sides
    """
    a, b = terms[:, :first_b], terms[:, first_b:]
    all_a, all_b = a.sum(axis=0), b.sum(axis=0)
    if paired:
        gained = np.tensordot(swaps, b - a, axes=1)  # by A, (size, runs, terms)
        gains = [(i, i, gained[:, i]) for i in range(first_b)]
    else:
        left, came = np.tensordot(swaps, a, axes=1), np.tensordot(swaps, b, axes=1)
        pairs = product(range(a.shape[1]), range(b.shape[1]))
        gains = [(i, j, came[:, j] - left[:, i]) for i, j in pairs]
    each = (metric.scores(all_b[j] - gain) - metric.scores(all_a[i] + gain) for i, j, gain in gains)
    return np.add.reduce([*each]) / len(gains)


# ----------------------------------------------------------------------------------------------- other runs
@dataclass(frozen=True)
class _Variances:
    """Of mean(b) - mean(a), a metric of runs that share their clusters.

    Attributes
    ----------
    clusters : what the clusters alone give, of these runs
    shared : what the covariance between different runs adds; a negative estimate counts as 0 (Hillis)
    runs : of the runs' means, and the degrees of freedom of each
    freedom : of what is estimated over clusters
    """

    clusters: float
    shared: float
    runs: list[tuple[float, int]]
    freedom: int

    @classmethod
    def of(
        cls, a: np.ndarray, b: np.ndarray, covariance: np.ndarray, paired: bool, clusters: int
    ) -> _Variances:
        """From metrics of the runs, a and b (runs,), and their covariance over clusters, A first."""
        n_a = len(a)
        aa, bb, ab = covariance[:n_a, :n_a], covariance[n_a:, n_a:], covariance[:n_a, n_a:]
        alone = float(aa.mean() + bb.mean() - 2 * ab.mean())
        if min(len(a), len(b)) < FEWEST_RUNS:
            return cls(alone, 0.0, [], clusters - 1)
        if paired:
            shared, samples = _between(aa + bb - ab - ab.T), [b - a]
        else:
            shared, samples = _between(aa) + _between(bb) - 2 * float(ab.mean()), [a, b]
        runs = [(float(np.var(one, ddof=1)) / len(one), len(one) - 1) for one in samples]
        return cls(alone, max(shared, 0.0), runs, clusters - 1)

    def of_these_runs(self, found: float) -> tuple[float, float, float]:
        """Interval and p value of the difference found, for other clusters."""
        return _student(found, self.clusters, self.freedom)

    def of_other_runs(self, found: float) -> tuple[float, float, float]:
        """The same for other runs and clusters: they cannot be surer than these runs are."""
        variance = max(sum(part for part, _ in self.runs) + self.shared, self.clusters)
        noise = sum(part**2 / freedom for part, freedom in (*self.runs, (self.clusters, self.freedom)))
        return _student(found, variance, variance**2 / noise if noise > 0 else np.inf)


def _student(found: float, variance: float, freedom: float) -> tuple[float, float, float]:
    """Interval and p value."""
    from scipy.special import stdtr, stdtrit  # far quicker than the distribution objects

    if variance <= TIE**2:  # the same difference for every run and cluster
        return float(found), float(found), float(abs(found) <= TIE)
    error = float(np.sqrt(variance))
    reach = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return float(found - reach), float(found + reach), float(2 * stdtr(freedom, -abs(found) / error))


def _between(covariance: np.ndarray) -> float:
    """Mean covariance of two different runs."""
    count = len(covariance)
    return float((covariance.sum() - np.trace(covariance)) / (count * (count - 1)))
