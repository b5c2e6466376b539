"""What a raw corpus says of itself before a media file is opened: its clips, what is wrong, what is strange.

A module of `kinds` (the kind of a dataset) has

    LABELLING                        what the labels of the corpus are, for who registers it
    SETTINGS                         where the kind has some: a Section for `datasets.<name>.settings`
    PUBLISHED                        where known: clips by split, as the corpus was published
    PUBLISHED_FOLDS                  where known: the speakers of each fold of a published cross-validation
    survey(name, dataset, settings) -> CorpusSurvey

`survey` raises nothing that concerns the corpus' content: problems are collected.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import FormatError, readable
from pipeline.core.names import bad_id, encodable, escaped, id_of
from pipeline.core.vocabulary import CLASSES, LABELS, OK, UNLABELED
from pipeline.corpora.clips import EMPTY_TEXT, UNREADABLE_MEDIA, full_id, measure
from pipeline.corpora.findings import Finding, Level
from pipeline.formats.source import walk
from pipeline.formats.text import listed, read_json
from pipeline.params.params import DatasetParams, MediaLimits

TIMES_BEYOND = "times beyond the media"
SLACK_S = 0.5  # a word may end that much after the last frame


@dataclass(frozen=True)
class Labelling:
    """What the labels of a corpus or of feature files are.

    Attributes
    ----------
    label_range : of a regression
    classes : names of the classes in the order of their indices
    language : ISO 639-1, where the kind of corpus or file tells it
    metrics : the metric set that is usual for the corpus
    """

    task: Literal["regression", "classification"] = "regression"
    label_range: tuple[float, float] = (-3.0, 3.0)
    classes: tuple[str, ...] = ()
    language: str = "en"
    metrics: str = "mmsa"


@dataclass(frozen=True)
class CorpusClip:
    """A clip as the corpus describes it.

    Attributes
    ----------
    split : None only where a finding says why
    text : None where the corpus has no texts at all (transcribe finds them), empty where this one is
    labels : by column of the clip table
    path : media file relative to the corpus' folder
    unmatched : why there is none; both None = it is not meant to have one
    start_s, end_s : the part of the file that is the clip, seconds
    annotation : what people wrote beside the label (Positive, ...)
    line : of the label file
    """

    video_id: str
    clip_id: str
    split: str | None
    text: str | None = None
    labels: Mapping[str, float | None] = field(default_factory=dict)
    path: str | None = None
    unmatched: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    speaker: str | None = None
    position: int | None = None
    annotation: str = ""
    line: int | None = None

    @property
    def id(self) -> str:
        """`video_id$_$clip_id`."""
        return full_id(self.video_id, self.clip_id)

    @classmethod
    def of_file(cls, video_id: str, clip_id: str, path: str, **known: Any) -> CorpusClip:
        """An unlabelled clip that only its file names; without media where the name cannot be an id."""
        if (reason := bad_id(video_id) or bad_id(clip_id)) is None:
            return cls(video_id, clip_id, UNLABELED, path=path, **known)
        unmatched = f"{UNREADABLE_MEDIA}: {path}: {reason.replace('; ', ', ')}, rename it"
        return cls(id_of(video_id), id_of(clip_id), UNLABELED, unmatched=unmatched, **known)


@dataclass
class CorpusSurvey:
    """A corpus looked through.

    Attributes
    ----------
    source : the label file or folder, for messages
    clips : ids unique unless a finding says so
    problems : errors; with one the corpus cannot be used
    notes : warnings and infos, which a reader of results should know
    files : all media files of the corpus, relative to its folder
    """

    source: str
    clips: list[CorpusClip] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def reject(self, check: str, message: str, line: int | None = None) -> None:
        self.problems.append(Finding("error", check, readable(escaped(message)), line=line))

    def reject_of(self, other: CorpusSurvey) -> None:
        """The problems of another file of the corpus, which is named before each."""
        self.problems += [
            replace(problem, message=f"{other.source}: {problem.message}") for problem in other.problems
        ]

    def note(self, check: str, message: str, rows: Sequence[str] = (), level: Level = "info") -> None:
        self.notes.append(Finding(level, check, readable(escaped(message)), tuple(map(escaped, rows))))


def read_tree(survey: CorpusSurvey, path: Path) -> Any:
    """What a JSON file or a pickle holds; None and a problem where it cannot be read."""
    from pipeline.formats.pickle import load

    json = path.suffix.lower() == ".json"
    try:
        return read_json(path) if json else load(path)
    except FormatError as error:
        survey.reject("json" if json else "pickle", str(error))
        return None


def clip_rows(
    clips: Sequence[CorpusClip], dataset: DatasetParams, limits: MediaLimits, workers: int = 1
) -> list[dict[str, Any]]:
    """Rows of the clip table: each clip with its media file's facts and a status."""
    root = Path(dataset.root)
    clips = [_encodable(clip) for clip in clips]
    paths = sorted({clip.path for clip in clips if clip.path is not None})  # some share a file
    with ThreadPoolExecutor(max(workers, 1)) as pool:  # hashing and probing wait for the disk
        measured = dict(zip(paths, pool.map(lambda path: measure(root / path, limits), paths), strict=True))
    rows = []
    for clip in clips:
        facts, unreadable = measured[clip.path] if clip.path is not None else ({}, None)
        spoken = clip.text if has_text(clip.text or "") else None
        empty = EMPTY_TEXT if clip.text is not None and spoken is None else None
        reasons = [clip.unmatched, unreadable, _beyond(clip, facts), empty]
        rows.append(
            {
                "clip_id": clip.id,
                "video_id": clip.video_id,
                "split": clip.split,
                "path": clip.path,
                "start_s": clip.start_s,
                "end_s": clip.end_s,
                "text": spoken,
                "language": dataset.language,
                "speaker": clip.speaker,
                "status": escaped("; ".join(reason for reason in reasons if reason)) or OK,
                **({} if clip.position is None else {"position": clip.position}),
                **dict.fromkeys((*LABELS, *CLASSES)),
                **clip.labels,
                **facts,
            }
        )
    return rows


def _encodable(clip: CorpusClip) -> CorpusClip:
    """The clip in characters that a table can hold; without media where the file's path has others."""
    text, speaker = (said and encodable(said) for said in (clip.text, clip.speaker))
    if clip.path is None or encodable(clip.path) == clip.path:
        return replace(clip, text=text, speaker=speaker)
    unmatched = f"{UNREADABLE_MEDIA}: {clip.path}: its path is not UTF-8, rename it"
    return replace(clip, text=text, speaker=speaker, path=None, unmatched=unmatched)


def has_text(text: str) -> bool:
    """Whether anything can be seen of it: not only spaces, zero-width and control characters."""
    return any(unicodedata.category(char) not in {"Zs", "Zl", "Zp", "Cc", "Cf"} for char in text)


def _beyond(clip: CorpusClip, facts: Mapping[str, Any]) -> str | None:
    """Times that the file does not have: of another recording, or of one that was cut."""
    duration_s, end_s = facts.get("duration_s"), clip.end_s
    if duration_s is None or end_s is None or end_s <= duration_s + SLACK_S:
        return None
    return f"{TIMES_BEYOND}: ends at {end_s:.2f} s of {duration_s:.2f} s"


# ------------------------------------------------------------------------------- what all kinds are asked for
def reject_repeated(survey: CorpusSurvey) -> None:
    """Problems of ids that occur twice; for kinds whose files do not exclude it."""
    seen: dict[str, CorpusClip] = {}
    for clip in survey.clips:
        first = seen.setdefault(clip.id, clip)
        if first is not clip and first.split != clip.split:
            message = f"clip {clip.id} is in both {first.split} and {clip.split}: remove one"
            survey.reject("id in two splits", message, clip.line)
        elif first is not clip:
            survey.reject("duplicate ids", f"clip {clip.id} occurs twice: remove one", clip.line)


def reject_task(survey: CorpusSurvey, name: str, dataset: DatasetParams, usual: Labelling) -> None:
    """A problem where the corpus has classes, and params.yaml says otherwise."""
    if len(dataset.classes) != len(usual.classes):
        now = f"has {len(dataset.classes)} classes" if dataset.classes else "is a regression"
        survey.reject(
            "task",
            f"datasets.{name} {now}, but this corpus has {len(usual.classes)} classes: write `task: "
            f"classification` and `classes: [{', '.join(usual.classes)}]`",
        )


def note_labelling(survey: CorpusSurvey, name: str, dataset: DatasetParams, usual: Labelling) -> None:
    """Warnings where params.yaml has another scale or language than the corpus is known for."""
    scale, expected = list(dataset.label_range), list(usual.label_range)
    if usual.task == dataset.task == "regression" and scale != expected:
        message = f"datasets.{name}.label_range is {scale}; the labels of this corpus are in {expected}"
        survey.note("label range", message, level="warning")
    if dataset.language != usual.language:
        message = f"datasets.{name}.language is {dataset.language!r}; this corpus is in {usual.language!r}"
        survey.note("language", message, level="warning")


def note_passed_over(survey: CorpusSurvey, root: Path) -> None:
    """A warning of what could not be looked into; an error where nothing else is there."""
    passed_over: dict[str, str] = {}
    if root.is_dir():
        deque(walk(root, passed_over), maxlen=0)
    told = [f"{escaped(os.path.relpath(path, root))}: {reason}" for path, reason in passed_over.items()]
    if told and not survey.files:
        survey.reject("skipped", f"nothing is left after what was skipped: {listed(told)}")
    elif told:
        survey.note("skipped", f"skipped: {listed(told)}", told, level="warning")


def note_twins(survey: CorpusSurvey) -> None:
    """A warning of ids that look the same, and are one where case or the form of accents does not count."""
    if twins := twins_of(clip.id for clip in survey.clips):
        survey.note("ids that look the same", about_twins(twins), twins, level="warning")


def twins_of(clip_ids: Iterable[str]) -> list[str]:
    """Ids that look the same, those of each group together."""
    alike: dict[str, list[str]] = defaultdict(list)
    for clip_id in dict.fromkeys(clip_ids):
        alike[unicodedata.normalize("NFC", clip_id).casefold()].append(clip_id)
    return [" = ".join(ids) for ids in alike.values() if len(ids) > 1]


def about_twins(twins: Sequence[str]) -> str:
    return f"{len(twins)} ids differ only in case or in how accents are encoded: {listed(twins)}"


def note_sizes(survey: CorpusSurvey, published: Mapping[str, int]) -> None:
    """A warning where the splits have other sizes than the published ones: copies of corpora differ."""
    counts = Counter(clip.split for clip in survey.clips)
    other = [
        f"{counts[split]} {split} (published: {size})"
        for split, size in published.items()
        if counts[split] != size
    ]
    if other:
        message = f"not the published sizes: {', '.join(other)}; say so when reporting results"
        survey.note("published sizes", message, level="warning")
