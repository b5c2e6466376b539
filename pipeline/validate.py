"""Checks of a raw corpus before anything is computed: its label file, its media, its splits. Writes nothing.

A finding is an *error* where the label file cannot be used (ingest would refuse it, exit code 2), a *warning*
where a result might not mean what its reader thinks (a recording in train and test, media that are missing),
and *info* otherwise. Warnings leave with 0: a corpus with a few broken clips is an ordinary corpus.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline import corpora
from pipeline.clips import (
    ALL_SPLITS,
    AMBIGUOUS_MEDIA,
    CONTEXT,
    EMPTY_TEXT,
    MISSING_MEDIA,
    OK,
    TEST,
    TRAIN,
    UNREADABLE_MEDIA,
    VALID,
    target_column,
)
from pipeline.corpora.problems import Problem
from pipeline.corpora.survey import Clip, Survey, clip_rows
from pipeline.params import DatasetParams, MediaLimits

if TYPE_CHECKING:
    from rich.table import Table

SHORTEST_S = 0.5  # seconds; a clip that is shorter hardly holds a word
BINS = 7  # of the label histogram, as many as the classes of Acc7
LEAST_SHARE = 0.2  # of a text's letters that must be in the script of its language
EXAMPLES = 5  # rows that `render` shows of a finding

# what the Unicode names of a language's letters begin with
SCRIPTS = {
    **dict.fromkeys(("de", "en", "es", "fr", "id", "it", "nl", "pl", "pt", "tr", "vi"), ("LATIN",)),
    "zh": ("CJK",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "ko": ("HANGUL",),
    "ru": ("CYRILLIC",),
    "uk": ("CYRILLIC",),
    "ar": ("ARABIC",),
    "fa": ("ARABIC",),
    "hi": ("DEVANAGARI",),
    "el": ("GREEK",),
}
SIGNS = {"negative": -1, "neutral": 0, "positive": 1}  # of the label that an annotation stands for


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    Attributes
    ----------
    check : short name, e.g. `missing media`
    message : what was found, and the way out where there is one
    rows : all that it concerns: clip ids, files or lines of the label file
    """

    level: Literal["error", "warning", "info"]
    check: str
    message: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitSummary:
    """One split in numbers.

    Attributes
    ----------
    usable : clips whose status is ok
    seconds : of media that could be read
    histogram : clips of each class, or labels in `BINS` equal bins of the label range, of which the last one
        includes the largest label
    """

    split: str
    clips: int
    videos: int
    usable: int
    seconds: float
    histogram: tuple[int, ...]


def summarize(rows: Iterable[Mapping[str, Any]], dataset: DatasetParams) -> list[SplitSummary]:
    """A summary of every split that has rows; `rows` as in the clip table (`table.to_pylist()`)."""
    target = target_column(dataset.task)
    splits: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        splits[row["split"]].append(row)
    summaries = []
    for split in ALL_SPLITS:
        if members := splits.get(split):
            labels = [row[target] for row in members if row[target] is not None]
            summary = SplitSummary(
                split,
                clips=len(members),
                videos=len({row["video_id"] for row in members}),
                usable=sum(row["status"] == OK for row in members),
                seconds=sum(row.get("duration_s") or 0.0 for row in members),
                histogram=_histogram(labels, dataset),
            )
            summaries.append(summary)
    return summaries


def validate(
    source: DatasetParams | Path | str, limits: MediaLimits | None = None, workers: int = 1
) -> list[Finding]:
    """Everything that can be said of a corpus without computing features, worst first.

    Parameters
    ----------
    source : a dataset of params.yaml, or the folder of a corpus. The script of the texts is checked only
        where `language` was given
    limits : of what is decoded, default as in params.yaml's typed defaults
    workers : media files that are hashed and probed at the same time
    """
    dataset = source if isinstance(source, DatasetParams) else DatasetParams(root=str(source))
    limits = limits or MediaLimits()
    survey = corpora.survey("<name>", dataset)
    findings = _label_files(survey)
    findings += [Finding(note.level, note.check, note.message, note.rows) for note in survey.notes]
    if survey.clips:
        rows = clip_rows(survey.clips, dataset, limits, workers)
        findings += _splits(rows, dataset)
        findings += _media(rows, survey.files, limits)
        findings += _leaks(rows)
        findings += _texts(rows, dataset.language if "language" in dataset.model_fields_set else None)
        findings += _annotations(survey.clips)
    order = ("error", "warning", "info")
    return sorted(findings, key=lambda finding: order.index(finding.level))


# --------------------------------------------------------------------------------------------------- checks
def _label_files(survey: Survey) -> list[Finding]:
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in survey.problems:
        kinds[problem.check].append(problem)
    findings = []
    for check, problems in kinds.items():
        lines = tuple(str(problem) for problem in problems)
        if len(lines) == 1:
            findings.append(Finding("error", check, f"{survey.source}: {lines[0]}"))
        else:
            findings.append(Finding("error", check, f"{survey.source}: {len(lines)} lines", lines))
    return findings


def _splits(rows: Sequence[Mapping[str, Any]], dataset: DatasetParams) -> list[Finding]:
    findings = []
    summaries = {summary.split: summary for summary in summarize(rows, dataset)}
    purposes = {TRAIN: "nothing can be learnt", VALID: "no epoch can be chosen", TEST: "nothing is evaluated"}
    for split, purpose in purposes.items():
        if split not in summaries:
            findings.append(Finding("warning", "counts", f"no clip has mode {split}: {purpose}"))
    for split, summary in summaries.items():
        message = (
            f"{split}: {summary.clips} clips of {summary.videos} videos, {summary.usable} without a remark, "
            f"{summary.seconds / 60:.1f} min of media"
        )
        findings.append(Finding("info", "counts", message))
        if sum(summary.histogram):
            message = f"{split}: {_labels(summary.histogram, dataset)}"
            findings.append(Finding("info", "labels", message))
    if dataset.classes and TRAIN in summaries:
        pairs = zip(dataset.classes, summaries[TRAIN].histogram, strict=True)
        if unseen := tuple(name for name, count in pairs if not count):
            message = f"{len(unseen)} of {len(dataset.classes)} classes have no train clip: never learnt"
            findings.append(Finding("warning", "classes", message, unseen))
    return findings


def _media(rows: Sequence[Mapping[str, Any]], files: Sequence[str], limits: MediaLimits) -> list[Finding]:
    findings = []
    ways_out = {
        MISSING_MEDIA: "have no media file; text alone can be used",
        AMBIGUOUS_MEDIA: "could belong to several files, or one file to several clips: remove or rename",
        UNREADABLE_MEDIA: "have a media file that cannot be read: fetch it again",
        EMPTY_TEXT: "have no text",
    }
    for reason, way_out in ways_out.items():
        found = _with_reason(rows, reason)
        if found:
            message = f"{len(found)} of {len(rows)} clips {way_out}"
            findings.append(Finding("warning", reason, message, found))
    read = [row for row in rows if row.get("duration_s") is not None]
    longest = limits.max_seconds
    remarks = {
        "short clip": ([row for row in read if row["duration_s"] < SHORTEST_S], f"last under {SHORTEST_S} s"),
        "long clip": (
            [row for row in read if row["duration_s"] > longest],
            f"last over {longest:g} s (media.max_seconds): their features will fail",
        ),
        "no audio": ([row for row in read if not row["has_audio"]], "have no audio track"),
        "no picture": ([row for row in read if row["width"] is None], "have no video track"),
    }
    for check, (concerned, what) in remarks.items():
        if concerned:
            ids = tuple(row["clip_id"] for row in concerned)
            findings.append(Finding("warning", check, f"{len(ids)} of {len(rows)} clips {what}", ids))
    used = {row["path"] for row in rows}
    claimed = " ".join(_with_reason(rows, AMBIGUOUS_MEDIA))
    spare = tuple(_printable(path) for path in files if path not in used and path not in claimed)
    if spare:
        message = f"{len(spare)} media file(s) belong to no row of the label file"
        findings.append(Finding("warning", "files without a row", message, spare))
    return findings


def _leaks(rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Recordings that are in two splits, and files that are there twice."""
    findings = []
    videos: dict[str, set[str]] = defaultdict(set)
    same: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["split"] == CONTEXT:  # is of its clip's video and split
            continue
        if row["split"] is not None:
            videos[row["video_id"]].add(row["split"])
        if row.get("sha256") is not None:
            same[row["sha256"]].append(row)
    shared = tuple(
        f"{video} ({', '.join(split for split in ALL_SPLITS if split in splits)})"
        for video, splits in videos.items()
        if len(splits) > 1
    )
    if shared:
        message = (
            f"{len(shared)} of {len(videos)} videos have clips in several splits: the same speaker is seen"
        )
        findings.append(Finding("warning", "videos in two splits", message, shared))
    twice = [group for group in same.values() if len({row["path"] for row in group}) > 1]
    if twice:
        across = sum(len({row["split"] for row in group}) > 1 for group in twice)
        message = f"{len(twice)} media file(s) occur more than once, {across} of them in several splits"
        examples = tuple(" = ".join(f"{row['clip_id']} ({row['split']})" for row in group) for group in twice)
        findings.append(Finding("warning", "duplicate media", message, examples))
    return findings


def _texts(rows: Sequence[Mapping[str, Any]], language: str | None) -> list[Finding]:
    findings = []
    texts = [(row["clip_id"], row["text"]) for row in rows if row["text"]]
    broken = tuple(f"{clip}: {text[:40]}" for clip, text in texts if _garbled(text))
    if broken:
        message = f"{len(broken)} text(s) were once read in a wrong encoding; take them from the source again"
        findings.append(Finding("warning", "garbled text", message, broken))
    if scripts := SCRIPTS.get(language or ""):
        other = tuple(f"{clip}: {text[:40]}" for clip, text in texts if _in_other_script(text, scripts))
        if other:
            message = f"{len(other)} text(s) are not in the script of language {language!r}"
            findings.append(Finding("warning", "script", message, other))
    return findings


def _annotations(rows: Sequence[Clip]) -> list[Finding]:
    wrong = []
    for row in rows:
        sign = SIGNS.get(row.annotation.lower())
        label = row.labels.get("label")  # classes have no sign
        if sign is not None and label is not None and sign != (label > 0) - (label < 0):
            wrong.append(f"line {row.line}: {row.id} is {row.annotation} with label {label:g}")
    if not wrong:
        return []
    message = f"{len(wrong)} annotation(s) contradict the sign of the label; only the label is used"
    return [Finding("warning", "annotation", message, tuple(wrong))]


# -------------------------------------------------------------------------------------------------- details
def _histogram(labels: Sequence[float], dataset: DatasetParams) -> tuple[int, ...]:
    if dataset.classes:
        return tuple(labels.count(index) for index in range(len(dataset.classes)))
    low, high = dataset.label_range
    counts = [0] * BINS
    for label in labels:
        counts[min(int((label - low) / ((high - low) or 1.0) * BINS), BINS - 1)] += 1
    return tuple(counts)


def _labels(histogram: Sequence[int], dataset: DatasetParams) -> str:
    if dataset.classes:
        pairs = zip(dataset.classes, histogram, strict=True)
        return f"labels: {', '.join(f'{count} {name}' for name, count in pairs)}"
    low, high = dataset.label_range
    bars = " ".join(str(count) for count in histogram)
    return f"{bars} labels in {BINS} equal bins of [{low:g}, {high:g}]"


def _with_reason(rows: Sequence[Mapping[str, Any]], reason: str) -> tuple[str, ...]:
    """The clips whose status gives that reason, each with its details."""
    found = []
    for row in rows:
        parts = [part for part in row["status"].split("; ") if part.startswith(reason)]
        details = "; ".join(part.removeprefix(reason).removeprefix(": ") for part in parts)
        if parts:
            found.append(f"{row['clip_id']}: {details}" if details else row["clip_id"])
    return tuple(found)


def _in_other_script(text: str, scripts: tuple[str, ...]) -> bool:
    letters = [char for char in unicodedata.normalize("NFKC", text) if char.isalpha()]
    own = sum(unicodedata.name(letter, "").split(" ")[0] in scripts for letter in letters)
    return bool(letters) and own / len(letters) < LEAST_SHARE


def _garbled(text: str) -> bool:
    """Whether UTF-8 was read as another encoding: then writing it in that one gives UTF-8 again."""
    if "\ufffd" in text:
        return True
    for encoding in ("cp1252", "latin-1"):
        try:
            if text.encode(encoding).decode("utf-8") != text:
                return True
        except UnicodeError:
            continue
    return False


def _printable(path: str) -> str:
    """File names need not be UTF-8; messages are."""
    return path.encode("utf-8", "backslashreplace").decode()


def render(findings: Sequence[Finding]) -> Table:
    """Findings as a table for the terminal, with a few examples of each."""
    from rich.table import Table
    from rich.text import Text

    colours = {"error": "bold red", "warning": "yellow", "info": "dim"}
    table = Table(title="corpus", show_lines=False)
    for column in ("level", "check", "what"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        lines = [finding.message, *(f"  {row}" for row in finding.rows[:EXAMPLES])]
        if len(finding.rows) > EXAMPLES:
            lines.append(f"  and {len(finding.rows) - EXAMPLES} more")
        # Text, not str: ids may look like rich's markup
        table.add_row(
            Text(finding.level, style=colours[finding.level]), Text(finding.check), Text("\n".join(lines))
        )
    return table
