"""Two sides of runs of one dataset, metric by metric: what was recorded, and what the statistics say of it.

A is the side before (the baseline), B the one after; every difference is B - A. Recorded numbers are those of
the result files, mean and sample standard deviation over the runs. The statistics (significance.py) are of
the saved test predictions, on the clips that all runs of both sides have, by the clusters of these clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import TEST, TEST_OOD
from pipeline.evaluation.clusters import ClusterCount, clusters_of
from pipeline.evaluation.saved import SavedRun, Spread, find_runs
from pipeline.evaluation.significance import Difference, Sides, corrected, differences

RECORDED = 1e-5  # recorded metrics have six decimals; more apart, and they were defined otherwise
CHIEF = ("mae", "accuracy")  # of the validation split these are listed


@dataclass(frozen=True)
class MetricRow:
    """One metric; a side that has not recorded it is None. `test` is None where there were no statistics."""

    metric: str
    a: Spread | None
    b: Spread | None
    test: Difference | None = None

    @property
    def difference(self) -> float | None:
        """Of the recorded means, B - A."""
        return None if self.a is None or self.b is None else self.b.mean - self.a.mean


@dataclass(frozen=True)
class MethodComparison:
    """One method on one dataset.

    Attributes
    ----------
    title : what is compared: `misr on mosi`
    methods : of both sides
    seeds_a, seeds_b : of the runs
    clips, left_out : of the test split, that the statistics used, and that only a part of the runs has
    clusters : test split -> the speakers, videos or clips that were taken as independent
    paired : runs were paired by their seeds; None without statistics
    same : both sides say the same in results and predictions
    remarks : what a reader must know before believing a difference
    """

    title: str
    dataset: str
    methods: list[str]
    seeds_a: list[int]
    seeds_b: list[int]
    rows: list[MetricRow]
    clips: int = 0
    left_out: int = 0
    clusters: dict[str, ClusterCount] = field(default_factory=dict)
    paired: bool | None = None
    same: bool = False
    remarks: list[str] = field(default_factory=list)


def compare_runs(
    title: str, a: Sequence[SavedRun], b: Sequence[SavedRun], resamples: int, seed: int, test: bool = True
) -> MethodComparison:
    """What differs between two sets of runs of one dataset; p values are not yet corrected.

    Parameters
    ----------
    a, b : runs with different seeds; one side (not both) may be empty, its numbers are then left open
    test : compute the statistics too

    Raises
    ------
    MsaError : a clip's label is not the same in all runs, or no clip is in all of them
    """
    rows = [
        MetricRow(name, _spread(a, name), _spread(b, name))
        for name in dict.fromkeys(name for run in (*a, *b) for name in _recorded(run))
    ]
    results = [run.result for run in (*a, *b)]
    methods = sorted({result.method for result in results})
    entry = MethodComparison(title, results[0].dataset, methods, _seeds(a), _seeds(b), rows)
    if not a or not b:
        return entry
    alike = [_predicted(run) for run in a] == [_predicted(run) for run in b]
    if alike and [run.result for run in a] == [run.result for run in b]:
        return replace(entry, same=True)
    entry.remarks.extend(_feature_remarks(a, b))
    if not test:
        return entry
    if hindrance := hindrance_of(a, b):
        entry.remarks.append(f"no statistics: {hindrance}")
        return entry
    if alike:
        entry.remarks.append("every prediction is the same on both sides, so there is nothing to test")
        return entry
    found = _tested(replace(entry, remarks=[]), a, b, TEST, resamples, seed)
    if any(TEST_OOD not in run.predictions for run in (*a, *b)):
        return replace(found, remarks=entry.remarks + found.remarks)
    ood = _tested(replace(found, remarks=[]), a, b, TEST_OOD, resamples, seed)
    said = f"metrics of {TEST_OOD} cover {ood.clusters[TEST_OOD].text_with_clips}"
    remarks = [*entry.remarks, said, *found.remarks, *ood.remarks]
    return replace(found, rows=ood.rows, clusters=ood.clusters, paired=ood.paired, remarks=remarks)


def correct(entries: Iterable[MethodComparison]) -> tuple[list[MethodComparison], int]:
    """The entries with Holm's correction over the tests of all of them, and the number of tests."""
    entries = list(entries)
    found = iter(corrected([row.test for entry in entries for row in entry.rows if row.test is not None]))
    done = []
    for entry in entries:
        rows = [row if row.test is None else replace(row, test=next(found)) for row in entry.rows]
        done.append(replace(entry, rows=rows))
    return done, sum(row.test is not None for entry in done for row in entry.rows)


def compare_sets(
    runs: Sequence[str], against: Sequence[str], resamples: int, seed: int, folder: Path = Path()
) -> tuple[MethodComparison, int]:
    """The runs (B) less those that they are compared with (A), and the number of tests.

    Raises
    ------
    MsaError : no such run, runs of several datasets, a seed twice on a side, or no statistics can be made
    """
    a, b = find_runs(against, folder), find_runs(runs, folder)
    datasets = sorted({run.result.dataset for run in (*a, *b)})
    if len(datasets) > 1:
        raise MsaError(f"runs of {' and '.join(datasets)}; only clips of one dataset can be compared")
    named = [" and ".join(sorted({run.result.method for run in side})) for side in (a, b)]
    if named[0] == named[1]:
        named = [f"{named[0]}, {len(side)} run(s) ({side[0].name} ...)" for side in (a, b)]
    entry = compare_runs(f"{named[0]} (A) and {named[1]} (B) on {datasets[0]}", a, b, resamples, seed)
    if entry.same:
        raise MsaError("both sides are the same runs; name other runs after --against")
    if entry.paired is None:
        raise MsaError(f"{entry.title}: {entry.remarks[-1]}; name other runs")
    entries, family = correct([entry])
    return entries[0], family


# ------------------------------------------------------------------------------------------------- recorded
def _recorded(run: SavedRun) -> dict[str, float]:
    """Test metrics by name; of the validation split the chief one, and a second test split with its name."""
    result = run.result
    in_order = sorted(result.test, key=lambda name: (name not in CHIEF, name != "corr", name))
    return {
        **{name: result.test[name] for name in in_order},
        **{f"{TEST_OOD}_{name}": value for name, value in sorted(result.test_ood.items())},
        **{f"valid_{name}": result.valid[name] for name in CHIEF if name in result.valid},
    }


def _spread(runs: Sequence[SavedRun], name: str) -> Spread | None:
    values = [value for run in runs if (value := _recorded(run).get(name)) is not None]
    return Spread.of(values) if values else None


def _seeds(runs: Sequence[SavedRun]) -> list[int]:
    return [run.result.seed for run in runs]


# -------------------------------------------------------------------------------------------------- remarks
def _feature_remarks(a: Sequence[SavedRun], b: Sequence[SavedRun]) -> list[str]:
    if others := sorted({run.result.method for run in (*a, *b) if run.result.imported}):
        said = f"predictions of {', '.join(others)} were imported"
        return [f"{said}: their features, and how they were chosen, are unknown"]
    if trained := {run.result.method: run.result.trained_on for run in (*a, *b) if run.result.trained_on}:
        said = ", ".join(f"{method} was trained on {name}" for method, name in trained.items())
        return [f"{said}: a difference is not due to the method alone"]
    sets = [{run.result.feature_set for run in side} for side in (a, b)]
    if sets[0] == sets[1]:
        return []
    prints = ["/".join(sorted(found[:10] for found in side)) or "?" for side in sets]
    named = [" / ".join(sorted({_features(run) for run in side})) for side in (a, b)]
    if named[0] == named[1]:
        what = f"{named[0]}, made differently (feature sets {prints[0]} and {prints[1]})"
    else:
        what = f"{named[0]} ({prints[0]}) and {named[1]} ({prints[1]})"
    return [f"the sides saw different features: {what}. A difference is not due to the method alone"]


def _features(run: SavedRun) -> str:
    return ", ".join(f"{name} {encoder}" for name, encoder in sorted(run.result.features.items()))


def hindrance_of(a: Sequence[SavedRun], b: Sequence[SavedRun]) -> str:
    """Why no statistics can be made; empty if they can."""
    metric_sets = sorted({run.result.metric_set for run in (*a, *b)})
    if len(metric_sets) > 1:
        return f"the metric sets differ ({', '.join(metric_sets)}), and equal names mean different things"
    if len({run.result.class_names for run in (*a, *b)}) > 1:
        return "the classes differ"
    without = [run.name for run in (*a, *b) if TEST not in run.predictions]
    return f"{without[0]} has no saved predictions" if without else ""


# --------------------------------------------------------------------------------------------------- clips
def _tested(
    entry: MethodComparison,
    a: Sequence[SavedRun],
    b: Sequence[SavedRun],
    split: str,
    resamples: int,
    seed: int,
) -> MethodComparison:
    """The entry with what the predictions for one test split say."""
    sides = sides_of(entry.title, a, b, split)
    prefix, named = ("", "") if split == TEST else (f"{split}_", f"{split}: ")
    clusters = sides.clusters.counted
    clips = clusters.clips
    entry = replace(entry, clusters={**entry.clusters, split: clusters})
    if clusters.count < 2:
        why = (
            f"no statistics: all {clips} clips are from one {clusters.kind[:-1]}, none independent of the "
            "others; columns speaker and video_id in the table of labels tell clips apart"
        )
        return replace(entry, remarks=[named + why])
    found = [replace(row, metric=prefix + row.metric) for row in differences(sides, resamples, seed)]
    tests = {row.metric: row for row in found}
    left_out = len({clip for run in (*a, *b) for clip in run.predictions[split].clip_ids}) - clips
    remarks = []
    if left_out:
        remarks.append(
            f"{named}{left_out} clip(s) are not in all runs: interval and p values are for the other {clips}"
        )
    if clusters.warning:
        remarks.append(named + clusters.warning)
    strange = [
        row.metric
        for row in entry.rows
        if (test := tests.get(row.metric)) is not None and row.a is not None and row.b is not None
        if max(abs(row.a.mean - test.a), abs(row.b.mean - test.b)) > RECORDED
    ]
    if strange and not left_out:
        remarks.append(
            f"recorded {', '.join(strange)} are not what this version computes from the predictions: they "
            "were defined differently; interval and p values use today's definition"
        )
    rows = [replace(row, test=tests.get(row.metric, row.test)) for row in entry.rows]
    return replace(entry, rows=rows, clips=clips, left_out=left_out, paired=sides.paired, remarks=remarks)


def _predicted(run: SavedRun) -> list[Any]:
    """All predictions, to be compared."""
    return [(one.clip_ids, one.label.tolist(), one.prediction.tolist()) for one in run.predictions.values()]


def sides_of(title: str, a: Sequence[SavedRun], b: Sequence[SavedRun], split: str) -> Sides:
    """The predictions for the clips that all runs have; what one run knows of a clip holds for all."""
    runs = (*a, *b)
    found = [run.predictions[split] for run in runs]
    common = sorted(set.intersection(*(set(one.clip_ids) for one in found)))
    if len(common) < 2:
        raise MsaError(
            f"{title}: the runs have {len(common)} clip(s) of {split} in common, at least 2 are needed; "
            "compare runs of the same test split"
        )
    chosen = [np.isin(one.clip_ids, common) for one in found]  # both are in order
    labels = np.stack([one.label[mine] for one, mine in zip(found, chosen, strict=True)])
    predictions = np.stack([one.prediction[mine] for one, mine in zip(found, chosen, strict=True)])
    label = labels[0]
    for run, other in zip(runs, labels, strict=True):
        unequal = np.flatnonzero(np.abs(other - label) > RECORDED)
        if unequal.size:
            place = unequal[0]
            raise MsaError(
                f"{title}: {unequal.size} clip(s) have different labels in {run.name} ({run.source}) than in "
                f"{a[0].name} ({a[0].source}), e.g. {common[place]!r}: {other[place]:g} and "
                f"{label[place]:g}; evaluate both on the same labels (compare --no-test does without)"
            )
    result, paired = a[0].result, _seeds(a) == _seeds(b)
    speakers: dict[str, str | None] = {}
    videos: dict[str, str | None] = {}
    for one in found:  # the later, of B, before the earlier
        speakers |= {clip: name for clip, name in zip(one.clip_ids, one.speakers, strict=True) if name}
        videos |= {clip: name for clip, name in zip(one.clip_ids, one.videos, strict=True) if name}
    clusters = clusters_of([*map(speakers.get, common)], [*map(videos.get, common)])
    sides = predictions[: len(a)], predictions[len(a) :]
    return Sides(label, *sides, clusters, result.metric_set, result.class_names, paired, tuple(common))
