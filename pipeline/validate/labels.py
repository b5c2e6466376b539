"""Labels in numbers: histogram and polarity of each split, and where the modalities' own labels disagree.

Polarity is the sign of a label: negative, neutral (0), positive. Only a regression whose range has both signs
has it; of a classification the classes are compared. *Conflicts* are those of MISR's figure 1 (b): clips
whose labels of text, audio and visual are not all of one polarity (or class).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from pipeline.core.vocabulary import ALL_SPLITS, CONTEXT, MODALITIES, OK, TEST, TEST_OOD, TRAIN, VALID
from pipeline.corpora.clips import target_column
from pipeline.corpora.findings import Finding, counted, percent
from pipeline.corpora.survey import CorpusClip
from pipeline.params.params import CorpusParams
from pipeline.validate.corpus import clip_seconds

BINS = 7  # of the label histogram, as many as the classes of Acc7
MOST_UNEVEN = 3.0  # times as many clips of one side (or class) as of the other: above, a warning
FEW = 20  # clips; of fewer it is chance on which side they are
SHIFT = 0.1  # share of a split's clips that would need another label for it to be distributed as train
CHANCE = 0.01  # largest p of a difference that is said
LABELLED = (TRAIN, VALID, TEST, TEST_OOD)
NEUTRAL = "neutral"
POLARITIES = ("negative", NEUTRAL, "positive")
SIGNS = dict(zip(POLARITIES, (-1, 0, 1), strict=True))  # of the label that an annotation stands for
JOINT = "joint"  # the label of all modalities together

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SplitSummary:
    """One split in numbers.

    Attributes
    ----------
    speakers : None where nobody says who speaks
    usable : clips whose status is ok
    seconds : of media that could be read; 0 of an import
    histogram : clips of each class, or labels in `BINS` equal bins of the label range, of which the last one
        includes the largest label
    polarity : clips of each of POLARITIES, None where labels have none
    central : of a regression with polarity, labels in the middle third of the range (MISR's figure 1 (a):
        65.97 % of MOSEI), None otherwise
    """

    split: str
    clips: int
    videos: int
    speakers: int | None
    usable: int
    seconds: float
    histogram: tuple[int, ...]
    polarity: tuple[int, int, int] | None = None
    central: int | None = None


@dataclass(frozen=True)
class Conflicts:
    """Where a corpus' labels of single modalities disagree.

    Attributes
    ----------
    modalities : those that have labels of their own, two at least
    clips : that have all of these labels
    apart : of these, clips whose labels are not all of one polarity (class)
    pairs : (one, other) -> (clips that have both, of these those that disagree); `joint` stands for the label
        of all modalities together
    polarity : modality or `joint` -> clips of each polarity (class) among the `clips`
    """

    modalities: tuple[str, ...]
    clips: int
    apart: int
    pairs: dict[tuple[str, str], tuple[int, int]]
    polarity: dict[str, tuple[int, ...]]


def sides(corpus: CorpusParams) -> tuple[str, ...]:
    """What clips are told apart by: polarities or classes; empty where a label has only a size."""
    low, high = corpus.label_range
    return tuple(corpus.classes) or (POLARITIES if low < 0 < high else ())


def side_counts(summary: SplitSummary, corpus: CorpusParams) -> tuple[int, ...]:
    """Clips of each of `sides` in a split; empty where no label tells."""
    return summary.histogram if corpus.classes else summary.polarity or ()


def summarize(rows: Sequence[Row], corpus: CorpusParams) -> list[SplitSummary]:
    """A summary of every split that has rows; `rows` as in the clip table."""
    splits = {split: [row for row in rows if row["split"] == split] for split in ALL_SPLITS}
    return [_summary(split, found, corpus) for split, found in splits.items() if found]


def _summary(split: str, rows: Sequence[Row], corpus: CorpusParams) -> SplitSummary:
    target = target_column(corpus.task)
    labels = [row[target] for row in rows if row[target] is not None] if split != CONTEXT else []
    speakers = {row["speaker"] for row in rows if row.get("speaker") is not None}
    if corpus.classes:
        histogram = [labels.count(index) for index in range(len(corpus.classes))]
    else:
        histogram = np.histogram(labels, BINS, corpus.label_range)[0].tolist()
    polarity = central = None
    if sides(corpus) == POLARITIES and labels:
        polarity = (sum(x < 0 for x in labels), labels.count(0), sum(x > 0 for x in labels))
        third = (corpus.label_range[1] - corpus.label_range[0]) / 6
        middle = sum(corpus.label_range) / 2
        central = sum(abs(label - middle) <= third for label in labels)
    return SplitSummary(
        split,
        clips=len(rows),
        videos=len({row["video_id"] for row in rows}),
        speakers=len(speakers) or None,
        usable=sum(row["status"] == OK for row in rows),
        seconds=sum(clip_seconds(row) or 0.0 for row in rows if row.get("duration_s") is not None),
        histogram=tuple(histogram),
        polarity=polarity,
        central=central,
    )


# ------------------------------------------------------------------------------------------------- findings
def splits(summaries: Sequence[SplitSummary], corpus: CorpusParams) -> list[Finding]:
    """Splits that are empty, the sizes and labels of the others, and labels that are uneven."""
    there = {summary.split: summary for summary in summaries}
    purposes = {TRAIN: "nothing can be learnt", VALID: "no epoch can be chosen", TEST: "nothing is evaluated"}
    findings = [
        Finding("warning", "counts", f"no clip has mode {split}: {purpose}")
        for split, purpose in purposes.items()
        if split not in there
    ]
    judged = {VALID: "choose an epoch or a setting by", TEST: "judge a method by"}
    findings += [
        Finding(
            "warning",
            "few clips",
            f"{count} {split} clips with a label are too few to {what}: {FEW} at least",
        )
        for split, what in judged.items()
        if split in there and 0 < (count := sum(there[split].histogram)) < FEW
    ]
    labelled = [split for split in LABELLED if split in there]
    lacking = [split for split in labelled if not sum(there[split].histogram)]
    if TRAIN in lacking or (lacking and lacking == labelled):
        message = (
            f"no clip of {', '.join(lacking)} has a label: not usable for training; give labels, or the "
            "split `unlabeled` to clips that are for pretraining alone"
        )
        findings.append(Finding("error", "no labels", message))
    for split, summary in there.items():
        message = (
            f"{split}: {summary.clips} clips of {summary.videos} videos, {summary.usable} without a "
            f"warning, {summary.seconds / 60:.1f} min of media"
        )
        findings.append(Finding("info", "counts", message))
        if sum(summary.histogram):
            findings.append(Finding("info", "labels", f"{split}: {_labels(summary, corpus)}"))
    if corpus.classes and TRAIN in there:
        pairs = zip(corpus.classes, there[TRAIN].histogram, strict=True)
        what = f"of {len(corpus.classes)} classes have no train clip: never learnt"
        findings += counted("warning", "classes", [name for name, count in pairs if not count], what)
    return findings + _imbalance(summaries, corpus) + _shifts(there, corpus)


def _labels(summary: SplitSummary, corpus: CorpusParams) -> str:
    histogram = summary.histogram
    if corpus.classes:
        pairs = zip(corpus.classes, histogram, strict=True)
        return f"labels: {', '.join(f'{count} {name}' for name, count in pairs)}"
    low, high = corpus.label_range
    middle = summary.central
    share = "" if middle is None else f", {percent(middle, sum(histogram))} in the middle third"
    return f"{' '.join(map(str, histogram))} labels in {BINS} equal bins of [{low:g}, {high:g}]{share}"


def _imbalance(summaries: Sequence[SplitSummary], corpus: CorpusParams) -> list[Finding]:
    """Splits in which one side has many more clips than the other; neutral ones are of neither."""
    uneven = []
    for summary in summaries:
        counts = dict(zip(sides(corpus), side_counts(summary, corpus), strict=False))
        if not corpus.classes:
            counts.pop(NEUTRAL, None)
        if sum(counts.values()) < FEW:
            continue
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] > MOST_UNEVEN * counts[least]:
            uneven.append(f"{summary.split}: {counts[most]} {most}, {counts[least]} {least}")
    what = (
        f"split(s) have more than {MOST_UNEVEN:g} times as many clips of one "
        f"{'class' if corpus.classes else 'polarity'} as of another: read F1 beside accuracy"
    )
    return counted("warning", "imbalance", uneven, what)


def _shifts(there: Mapping[str, SplitSummary], corpus: CorpusParams) -> list[Finding]:
    """Splits whose labels are not distributed as those of train: what is usual there is not usual here."""
    from scipy.stats import chi2_contingency

    train = side_counts(there[TRAIN], corpus) if TRAIN in there else ()
    shifted = []
    for split in (VALID, TEST, TEST_OOD):
        other = side_counts(there[split], corpus) if split in there else ()
        if not sum(train) or not sum(other):
            continue
        counts = np.array([train, other])
        shares = counts / counts.sum(axis=1, keepdims=True)
        distance = np.abs(shares[0] - shares[1]).sum() / 2  # total variation
        if distance >= SHIFT and chi2_contingency(counts[:, counts.any(axis=0)]).pvalue < CHANCE:
            told = ", ".join(
                f"{name} {here:.0%} (train {usual:.0%})"
                for name, usual, here in zip(sides(corpus), *shares, strict=True)
            )
            shifted.append(f"{split}: {told}")
    what = f"split(s) have other shares of {'classes' if corpus.classes else 'polarities'} than train"
    return counted("info", "label shift", shifted, what)


def annotated_otherwise(clips: Sequence[CorpusClip]) -> list[Finding]:
    """What people wrote beside a label (Positive ...) against its sign; classes have none."""
    wrong = []
    for clip in clips:
        sign = SIGNS.get(clip.annotation.lower())
        label = clip.labels.get("label")
        if sign is not None and label is not None and sign != np.sign(label):
            wrong.append(f"line {clip.line}: {clip.id} is {clip.annotation} with label {label:g}")
    what = "annotation(s) contradict the sign of the label; only the label is used"
    return counted("warning", "annotation", wrong, what)


# ------------------------------------------------------------------------------------------------ conflicts
def conflicts(rows: Sequence[Row], corpus: CorpusParams) -> Conflicts | None:
    """Disagreements of all clips; None where fewer than two modalities have labels that can be compared."""
    prefix = "class" if corpus.classes else "label"
    columns = {name: f"{prefix}_{name}" for name in MODALITIES}
    columns = {name: key for name, key in columns.items() if any(row[key] is not None for row in rows)}
    modalities, count = tuple(columns), len(columns)
    if not sides(corpus) or count < 2:
        return None
    columns[JOINT] = target_column(corpus.task)

    def side(label: float | None) -> int | None:
        """Index into `sides`."""
        if label is None:
            return None
        return int(label) if corpus.classes else int(np.sign(label)) + 1

    clips = [[side(row[column]) for column in columns.values()] for row in rows]
    full = [found for found in clips if None not in found[:count]]
    pairs = {}
    for (i, one), (j, other) in combinations(enumerate(columns), 2):
        both = [found for found in clips if found[i] is not None and found[j] is not None]
        pairs[one, other] = (len(both), sum(found[i] != found[j] for found in both))
    polarity = {
        name: tuple([found[i] for found in full].count(place) for place in range(len(sides(corpus))))
        for i, name in enumerate(columns)
    }
    apart = sum(len(set(found[:count])) > 1 for found in full)
    return Conflicts(modalities, len(full), apart, pairs, polarity)


def disagreements(found: Conflicts | None, corpus: CorpusParams) -> list[Finding]:
    """Conflicts as a finding: they are no fault, but what a method must live with."""
    if found is None or not found.clips:
        return []
    what = "class" if corpus.classes else "polarity"
    message = (
        f"{found.apart} of {found.clips} clips ({percent(found.apart, found.clips)}) have labels of "
        f"{', '.join(found.modalities)} that are not all of one {what}"
    )
    rows = tuple(
        f"{one} and {other} disagree in {apart} of {both} clips ({percent(apart, both)})"
        for (one, other), (both, apart) in found.pairs.items()
    )
    return [Finding("info", "modality conflicts", message, rows)]
