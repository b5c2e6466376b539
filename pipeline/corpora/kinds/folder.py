"""Any folder of videos, at any depth, with a table of labels or without.

The table is the one CSV in the folder, or `settings: {labels: FILE}`. Its columns, by name:

    file            (or path, or clip_id) the video: its path from the folder, or its name; suffix or none
    label           score or class; empty = unlabeled. Also label_T, label_A, label_V
    split           (or mode) train, valid, test, unlabeled; test_ood too
    text, speaker, video_id
    start_s, end_s  the part of the video that is the clip, seconds

All but the first are optional. The clip `talk/3.mp4` is `talk$_$3`: the video is the path of its folder (with
`.` for `/`), or its own name where it lies at the top; a part of a file adds its start, `3@12.5`. Videos that
the table does not name are unlabeled; of several with one id (`3.mp4`, `3.mkv`) none is used, with a warning.

Without a column of splits clips are split 70/10/20 by speaker where every labelled clip has one, else by
video: the first 52 bits of the SHA-256 of `<seed>:<name>` say where a speaker or video goes, so that nothing
moves when clips are added.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import Field, model_validator

from pipeline.core.names import bad_id
from pipeline.core.section import Section
from pipeline.core.vocabulary import TEST, TRAIN, UNLABELED, VALID
from pipeline.corpora.clips import AMBIGUOUS_MEDIA, MISSING_MEDIA
from pipeline.corpora.findings import SHOWN
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, Labelling, reject_repeated
from pipeline.corpora.tables.csv import read_table
from pipeline.corpora.tables.labels import LABEL_COLUMNS, labels_of, name_settings
from pipeline.corpora.tables.media_files import find_media, same_form
from pipeline.corpora.tables.values import SPLIT_NAMES, number_of
from pipeline.formats.source import below
from pipeline.params.params import DatasetParams

LAYOUT = "<root>/.../<anything>.mp4 and perhaps a CSV with the columns file, label, ..."
LABELLING = Labelling()
BITS = 52  # of a hash, as many as a float holds
FILES = ("file", "path", "clip_id")  # the first that is there names the video
SPLIT_COLUMNS = ("split", "mode")
OTHERS = ("text", "speaker", "video_id", "start_s", "end_s")
KNOWN = {*FILES, *SPLIT_COLUMNS, *OTHERS, *(name.lower() for name in LABEL_COLUMNS)}


class FolderSettings(Section):
    """Where the labels are, and how clips are split that no column splits."""

    labels: str | None = None
    """the CSV of labels, relative to the folder; none = the one CSV that is there, if any"""
    seed: int = Field(0, ge=0)
    """another one gives another split"""
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """of train, valid and test"""

    @model_validator(mode="after")
    def _shares_are_all(self) -> Self:
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares is {list(self.shares)}, expected three shares that add up to 1")
        return self


SETTINGS = FolderSettings


def survey(name: str, dataset: DatasetParams, settings: FolderSettings) -> CorpusSurvey:
    """Every video below the folder, with what the table says of it."""
    root = Path(dataset.root)
    found = CorpusSurvey(str(root), files=find_media(root))
    if not found.files:
        what = "no videos in it" if root.is_dir() else "no such folder"
        found.reject("file", f"datasets.{name}.root is {str(root)!r}: {what}; expected {LAYOUT}")
    if not root.is_dir():
        return found
    table = _table(found, root, settings, f"datasets.{name}.settings.labels")
    split_by_table = False
    if table is not None:
        found.source = str(table)
        split_by_table = _read_table(found, table, dataset, f"datasets.{name}")
    _add_unlabeled(found, "not in the table" if table else "no table of labels")
    if not split_by_table:
        _split(found, settings)
    reject_repeated(found)
    return found


def _table(found: CorpusSurvey, root: Path, settings: FolderSettings, setting: str) -> Path | None:
    """The table of labels; None where there is none, with a problem where one is meant."""
    if settings.labels is not None:
        given = below(root, settings.labels)
        if given is not None and given.is_file():
            return given
        found.reject("file", f"{setting} is {settings.labels!r}: no such file in {str(root)!r}")
        return None
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    if len(tables) > 1:
        listed = ", ".join(path.name for path in tables)
        found.reject(
            "file", f"{len(tables)} CSV files ({listed}): name the one with the labels, {setting}: FILE"
        )
    return tables[0] if len(tables) == 1 else None


def _default_id(file: str) -> tuple[str, str]:
    """(video_id, clip_id) of a video by where it lies."""
    path = PurePosixPath(file)
    return ".".join(path.parent.parts) or path.stem, path.stem


def _read_table(found: CorpusSurvey, path: Path, dataset: DatasetParams, setting: str) -> bool:
    """Add the clips of the table of labels; whether it has a column of splits."""
    table = read_table(path, found, (), KNOWN, either=FILES)
    if not table.columns:
        return False
    key = next(name for name in FILES if name in table.columns)
    ignored = [name for name in table.header if name and name.lower() not in KNOWN]
    if ignored:
        found.note("columns", f"{path.name}: unused columns: {', '.join(ignored)}")
    if "label" not in table.columns:
        found.note("columns", f"{path.name}: no label column: all clips are unlabeled", level="warning")
    split = next((name for name in SPLIT_COLUMNS if name in table.columns), None)
    videos: dict[str, list[str]] = defaultdict(
        list
    )  # by every way to name them: path or name, suffix or none
    for file in found.files:
        place = PurePosixPath(file)
        for name in {file, str(place.with_suffix("")), place.name, place.stem}:
            videos[same_form(name)].append(file)
    for line, cells in table.rows:
        _add(found, line, cells, key, split, videos, dataset)
    name_settings(found, dataset.label_range, dataset.classes, setting)
    return split is not None


def _add(
    found: CorpusSurvey,
    line: int,
    cells: Mapping[str, str],
    key: str,
    split: str | None,
    videos: Mapping[str, list[str]],
    dataset: DatasetParams,
) -> None:
    given = cells[key].replace("\\", "/").removeprefix("./")
    if not given:
        found.reject("ids", f"{key} is empty; expected the name of a video", line)
        return
    candidates = videos.get(same_form(given), [])
    # `a.mp4` at the top is that file, though `talk/a.mp4` has the name, too
    exact = [file for file in candidates if given in (file, str(PurePosixPath(file).with_suffix("")))]
    candidates = exact or candidates
    path = candidates[0] if len(candidates) == 1 else None
    unmatched = None if path else f"{MISSING_MEDIA}: {given}"
    if len(candidates) > 1:
        unmatched = f"{AMBIGUOUS_MEDIA}: {', '.join(candidates)}"
    start_s, end_s = _times(found, line, cells)
    video, clip = _default_id(path or given)
    video = cells.get("video_id") or video
    if key != "clip_id" and start_s is not None:
        clip = f"{clip}@{start_s:g}"
    reason = bad_id(video) or bad_id(clip)
    if reason:
        found.reject("ids", f"{given}: its id would be {video!r}, {clip!r}: {reason}", line)
        return
    labels = labels_of(found, line, cells, given, dataset.label_range, dataset.classes)
    target = labels["class_label" if dataset.classes else "label"]
    called = cells.get(split, "") if split else ""
    place = SPLIT_NAMES.get(called.lower()) if called else UNLABELED if target is None else None
    if split and place is None:
        found.reject("mode", f"{split} of {given} is {called!r}, expected {', '.join(SPLIT_NAMES)}", line)
    elif split and target is None and place != UNLABELED and not cells.get("label"):
        found.reject("label", f"label of {given} is empty; only split unlabeled may have none", line)
    text, speaker = cells.get("text"), cells.get("speaker") or None
    found.clips.append(
        CorpusClip(video, clip, place, text, labels, path, unmatched, start_s, end_s, speaker, line=line)
    )


def _add_unlabeled(found: CorpusSurvey, why: str) -> None:
    """Add the videos that the table does not name; of several with one id none, for nothing says which."""
    named, taken = {clip.path for clip in found.clips}, {clip.id for clip in found.clips}
    unlabeled = [file for file in found.files if file not in named]
    rest: dict[str, list[CorpusClip]] = defaultdict(list)
    for file in unlabeled:
        clip = CorpusClip.of_file(*_default_id(file), file)
        rest[clip.id].append(clip)
    several: list[str] = []
    for name, clips in rest.items():
        files = ", ".join(str(clip.path) for clip in clips)
        if name in taken:
            several.append(f"{files} (the table has another clip {name})")
        elif len(clips) > 1:
            several.append(f"{files} (all would be clip {name})")
            found.clips.append(replace(clips[0], path=None, unmatched=f"{AMBIGUOUS_MEDIA}: {files}"))
        else:
            found.clips += clips
    if several:
        message = "files that share an id are not used; rename or remove them: "
        found.note("one id", message + "; ".join(several[:SHOWN]), several, level="warning")
    if unlabeled:
        found.note("unlabeled", f"{len(unlabeled)} videos are unlabeled: {why}", unlabeled)


def _times(found: CorpusSurvey, line: int, cells: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Begin and end of the part that is the clip, seconds."""
    times: list[float | None] = []
    for name in ("start_s", "end_s"):
        value = cells.get(name, "")
        number = number_of(value) if value else None
        if value and (number is None or number < 0):
            found.reject("times", f"{name} is {value!r}, expected seconds, at least 0", line)
            number = None
        times.append(number)
    start_s, end_s = times
    if end_s is not None and start_s is None:
        start_s = 0.0
    if start_s is not None and end_s is not None and end_s <= start_s:
        found.reject("times", f"the clip begins at {start_s:g} s but ends at {end_s:g} s", line)
    return start_s, end_s


def _split(found: CorpusSurvey, settings: FolderSettings) -> None:
    """Give every labelled clip a split by its speaker's or its video's name."""
    labelled = [clip for clip in found.clips if clip.split != UNLABELED]
    by_speaker = bool(labelled) and all(clip.speaker for clip in labelled)
    for index, clip in enumerate(found.clips):
        if clip.split != UNLABELED:
            group = (clip.speaker or "") if by_speaker else clip.video_id
            found.clips[index] = replace(clip, split=_share(group, settings))
    if labelled:
        counts = Counter(clip.split for clip in found.clips)
        listed = ", ".join(f"{counts[split]} {split}" for split in (TRAIN, VALID, TEST))
        message = (
            f"no split column: split by {'speaker' if by_speaker else 'video'} with the SHA-256 of "
            f"`{settings.seed}:<name>` into shares {', '.join(map('{:g}'.format, settings.shares))}: {listed}"
        )
        found.note("split", message)


def _share(group: str, settings: FolderSettings) -> str:
    digest = hashlib.sha256(f"{settings.seed}:{group}".encode()).digest()
    place = (int.from_bytes(digest[:8], "big") >> (64 - BITS)) / 2**BITS
    train, valid, _ = settings.shares
    return TRAIN if place < train else VALID if place < train + valid else TEST
