"""Where modalities agree and where they do not: the test clips in parts, and who is better in which.

A clip's part is decided by what its modalities say alone: by the labels of text, audio and visual where the
corpus has them, else by what the unimodal methods that were run on the same set predict (their seeds
together: the mean score, or the class of the highest mean probability). A method that is not better than a
constant is not asked where two others are.

    agree      all have the same sign; of classes, all the same class
    neutral    some are 0, and the others do not differ (of scores alone)
    disagree   some are negative and some positive; of classes, not all the same

A clip of which fewer than two modalities are known is in no part. Differences between methods are those of
significance.py within each part, by the clusters of the whole test split. The *contrast* is how much larger
a difference is where modalities disagree than where they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import MODALITIES, TEST
from pipeline.evaluation.clusters import ClusterCount, clusters_of
from pipeline.evaluation.comparison import hindrance_of, sides_of
from pipeline.evaluation.metrics import MetricSums
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.saved import SavedRun, Spread
from pipeline.evaluation.significance import (
    RESAMPLES,
    SEED,
    Difference,
    Sides,
    corrected,
    differences,
    jackknife_interval,
    mean_interval,
)

AGREE, NEUTRAL, DISAGREE = "agree", "neutral", "disagree"
PARTS = (AGREE, NEUTRAL, DISAGREE)
UNIMODAL = {modality: f"{modality}_only" for modality in MODALITIES}  # the methods of one modality
BY_LABELS, BY_RUNS = "labels", "runs"
SIGNS = {-1.0: "negative", 0.0: "neutral", 1.0: "positive"}
CONSTANT = 0.95  # share of clips of which a modality says the same, from which on it says nothing


@dataclass(frozen=True)
class Agreement:
    """The parts of a test split.

    Attributes
    ----------
    basis : `labels` or `runs`, what decided
    modalities : that were asked
    parts : clip id -> its part; clips in no part are not there
    unknown : clips of which fewer than two modalities are known
    remarks : what a reader must know of the parts
    """

    basis: str
    modalities: tuple[str, ...]
    parts: Mapping[str, str]
    unknown: int
    remarks: list[str]

    @property
    def text(self) -> str:
        """By what the clips were told apart."""
        if self.basis == BY_LABELS:
            return f"the labels of {_listed(self.modalities)}"
        return f"the predictions of {_listed([UNIMODAL[m] for m in self.modalities])}"

    @property
    def counts(self) -> dict[str, int]:
        """Part -> its clips."""
        return {part: count for part in PARTS if (count := [*self.parts.values()].count(part))}


@dataclass(frozen=True)
class PartDifference:
    """The chief metric of two sides on the clips of a part; without `test` there were too few to say more."""

    clusters: ClusterCount
    a: Spread
    b: Spread
    test: Difference | None = None


@dataclass(frozen=True)
class PartsComparison:
    """Two sides of runs in each part; differences are B - A.

    Attributes
    ----------
    metric : `mae`, or `accuracy` of classes
    contrast : difference where modalities disagree less that where they agree, and its interval (not
        corrected); None where a part has fewer than two clusters
    """

    title: str
    metric: str
    parts: dict[str, PartDifference]
    contrast: tuple[float, float, float] | None = None
    remarks: list[str] = field(default_factory=list)


def modality_agreement(methods: Mapping[str, Sequence[SavedRun]]) -> Agreement | None:
    """The parts of the test split of one set; None where there are neither labels nor two unimodal methods.

    Parameters
    ----------
    methods : method -> its runs on the set, or pooled over its folds
    """
    runs = [run for of_method in methods.values() for run in of_method if TEST in run.predictions]
    for run in runs:
        own = run.predictions[TEST].modality_labels
        if len(own) > 1:
            return _parts(BY_LABELS, run.predictions[TEST].clip_ids, own, bool(run.result.class_names), [])
    classes = bool(runs and runs[0].result.class_names)
    found = {m: both for m, name in UNIMODAL.items() if (both := _ensemble(methods.get(name, [])))}
    if len(found) < 2:
        return None
    remarks = ["Predictions err: the modalities of a clip counted as disagreeing may agree"]
    blind = [m for m in found if not _knows(methods[UNIMODAL[m]][0].predictions[TEST], found[m], classes)]
    left_out = blind if len(found) - len(blind) > 1 else []
    for modality in blind:
        asked = "is not used" if modality in left_out else "is used all the same, as too few would be left"
        remarks.append(f"{UNIMODAL[modality]} is not shown to be better than a constant: {modality} {asked}")
    found = {m: both for m, both in found.items() if m not in left_out}
    clips = sorted(set.intersection(*(set(ids) for ids, _ in found.values())))
    said = {m: values[np.isin(ids, clips)] for m, (ids, values) in found.items()}  # ids are in order
    return _parts(BY_RUNS, clips, said, classes, remarks)


def compare_parts(
    title: str,
    a: Sequence[SavedRun],
    b: Sequence[SavedRun],
    agreement: Agreement,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PartsComparison:
    """Two sides of runs on the clips of each part; p values are not yet corrected.

    Raises
    ------
    MsaError : the sides have other metrics, classes or labels, or no clips in common
    """
    if hindrance := hindrance_of(a, b):
        raise MsaError(f"{title}: {hindrance}; compare runs of one kind")
    sides = sides_of(title, a, b, TEST)
    metric = "accuracy" if sides.class_names else "mae"
    of_clip = np.array([agreement.parts.get(clip, "") for clip in sides.clip_ids])
    parts, remarks = {}, []
    for part in agreement.counts:
        chosen = of_clip == part
        if not chosen.any():
            continue
        parts[part] = _in_part(sides.take(chosen), metric, resamples, seed)
        if warning := parts[part].clusters.warning:
            remarks.append(f"{part}: {warning}")
    gained = None
    if all(part in parts and parts[part].test is not None for part in (AGREE, DISAGREE)):
        gained = _contrast(sides, metric, of_clip == AGREE, of_clip == DISAGREE)
    return PartsComparison(title, metric, parts, gained, remarks)


def correct_parts(compared: Iterable[PartsComparison]) -> tuple[list[PartsComparison], int]:
    """The same with Holm's correction over the tests of all of them, and the number of tests."""
    entries = list(compared)
    tests = [test for entry in entries for one in entry.parts.values() if (test := one.test) is not None]
    found = iter(corrected(tests))
    done = []
    for entry in entries:
        parts = {
            name: one if one.test is None else replace(one, test=next(found))
            for name, one in entry.parts.items()
        }
        done.append(replace(entry, parts=parts))
    return done, len(tests)


# ------------------------------------------------------------------------------------------------- the parts
def _ensemble(runs: Sequence[SavedRun]) -> tuple[Sequence[str], np.ndarray] | None:
    """Clip ids and what all seeds together say of them, (clips,); None where that was not saved."""
    found = [run.predictions[TEST] for run in runs if TEST in run.predictions]
    if not found or any(one.clip_ids != found[0].clip_ids for one in found):
        return None
    if not runs[0].result.class_names:
        return found[0].clip_ids, np.mean([one.prediction for one in found], axis=0)
    chances = [one.probability for one in found if one.probability is not None]
    if len(chances) < len(found):
        return None
    return found[0].clip_ids, np.mean(chances, axis=0).argmax(axis=1).astype(np.float64)


def _knows(tested: Predictions, said: tuple[Sequence[str], np.ndarray], classes: bool) -> bool:
    """Whether predictions are better than the best constant, at the lower end of the interval by clusters."""
    label, predicted = tested.label, said[1]
    if classes:
        most = np.bincount(label.astype(int)).argmax()
        gained = (predicted == label).astype(float) - (label == most)
    else:
        gained = np.abs(label - np.median(label)) - np.abs(label - predicted)
    clusters = clusters_of(tested.speakers, tested.videos)
    return clusters.counted.count < 2 or mean_interval(gained, clusters)[0] > 0


def _parts(
    basis: str, clips: Sequence[str], said: Mapping[str, np.ndarray], classes: bool, remarks: list[str]
) -> Agreement:
    """From what each modality says of the clips, (clips,), NaN = nothing."""
    values = np.stack([*said.values()])  # (modalities, clips)
    signs = values if classes else np.where(np.isnan(values), np.nan, np.sign(values))
    known = np.isfinite(signs).sum(axis=0) > 1
    low, high = np.nanmin(signs[:, known], axis=0), np.nanmax(signs[:, known], axis=0)
    differ = low < high if classes else (low < 0) & (high > 0)
    names = np.where(differ, DISAGREE, np.where(low == high, AGREE, NEUTRAL))
    remarks = [*remarks]
    for modality, own in zip(said, signs, strict=True):
        values_said, counts = np.unique(own[np.isfinite(own)], return_counts=True)
        if len(counts) and (share := counts.max() / counts.sum()) >= CONSTANT:
            what = "the same class" if classes else SIGNS[values_said[counts.argmax()]]
            remarks.append(
                f"{modality} says {what} for {share:.0%} of the clips: agreeing with it is agreeing with a "
                "constant"
            )
    of_clip = dict(zip(np.array(clips)[known].tolist(), names.tolist(), strict=True))
    return Agreement(basis, tuple(said), of_clip, int((~known).sum()), remarks)


def _in_part(sides: Sides, metric: str, resamples: int, seed: int) -> PartDifference:
    counted = sides.clusters.counted
    sums = MetricSums(sides.metric_set, np.concatenate([sides.a, sides.b]), sides.label, sides.class_names)
    scores = sums.scores(sums.terms.sum(axis=0))[:, sums.names.index(metric)].tolist()
    spreads = Spread.of(scores[: len(sides.a)]), Spread.of(scores[len(sides.a) :])
    if counted.count < 2:
        return PartDifference(counted, *spreads)
    test = next(row for row in differences(sides, resamples, seed) if row.metric == metric)
    return PartDifference(counted, *spreads, test)


def _contrast(sides: Sides, metric: str, here: np.ndarray, there: np.ndarray) -> tuple[float, float, float]:
    """How much larger B - A is on the clips `there` than on those `here`, (clips,) bool, and its interval.

    The jackknife of `differences`; a cluster is left out of both groups of clips.
    """
    sums = MetricSums(sides.metric_set, np.concatenate([sides.a, sides.b]), sides.label, sides.class_names)
    place, first_b = sums.names.index(metric), len(sides.a)

    def gain(terms: np.ndarray) -> np.ndarray:
        """B - A, (...), from (..., runs, terms)."""
        scores = sums.scores(terms)[..., place]
        gained: np.ndarray = scores[..., first_b:].mean(axis=-1) - scores[..., :first_b].mean(axis=-1)
        return gained

    near, far = (sides.clusters.sums(sums.terms * mine[:, None, None]) for mine in (here, there))
    found = float(gain(far.sum(axis=0)) - gain(near.sum(axis=0)))
    without_one = gain(far.sum(axis=0) - far) - gain(near.sum(axis=0) - near)  # (clusters,)
    return found, *jackknife_interval(found, without_one)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
