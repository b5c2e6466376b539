"""Any folder of videos, at any depth, with a table of labels or without.

The table is the one CSV in the folder, or `settings: {labels: FILE}`. Its columns, by name:

    file            (or path, or clip_id) the video: its path from the folder, or its name; suffix or none
    label           score or class; empty = unlabeled. Also label_T, label_A, label_V
    split           (or mode) train, valid, test, unlabeled; test_ood too
    text, speaker, video_id
    start_s, end_s  the part of the video that is the clip, seconds

All but the first are optional. The clip `talk/3.mp4` is `talk$_$3`: the video is the path of its folder (with
`.` for `/`), or its own name where it lies at the top; a part of a file adds its start, `3@12.5`. Videos that
the table does not name are unlabeled.

Without a column of splits clips are split 70/10/20 by speaker where every labelled clip has one, else by
video: the first 52 bits of the SHA-256 of `<seed>:<name>` say where a speaker or video goes, so that nothing
moves when clips are added.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import Field, model_validator

from pipeline.core.section import Section
from pipeline.corpora.clips import TEST, TRAIN, UNLABELED, VALID
from pipeline.corpora.folder_table import default_id, read_clips
from pipeline.corpora.labelling import Labelling
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, reject_repeated
from pipeline.corpora.tables.media_files import find_media
from pipeline.params.explain import settings_of
from pipeline.params.params import DatasetParams

LAYOUT = "<root>/.../<anything>.mp4 and perhaps a CSV with the columns file, label, ..."
LABELLING = Labelling()
BITS = 52  # of a hash, as many as a float holds


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
            raise ValueError(f"shares is {list(self.shares)}, expected three shares whose sum is 1")
        return self


def survey(name: str, dataset: DatasetParams) -> CorpusSurvey:
    """Every video below the folder, with what the table says of it."""
    settings = settings_of(FolderSettings, dataset.settings, f"datasets.{name}.settings")
    root = Path(dataset.root)
    found = CorpusSurvey(str(root), files=find_media(root))
    if not root.is_dir():
        found.reject("file", f"datasets.{name}.root is {str(root)!r}: no such folder; expected {LAYOUT}")
        return found
    if not found.files:
        found.reject("file", f"datasets.{name}.root is {str(root)!r}: no video below it; expected {LAYOUT}")
    table = _table(found, root, settings, f"datasets.{name}.settings.labels")
    split_by_table = False
    if table is not None:
        found.source = str(table)
        split_by_table = read_clips(found, table, dataset, f"datasets.{name}")
    named = {clip.path for clip in found.clips}
    rest = [file for file in found.files if file not in named]
    found.clips += [CorpusClip(*default_id(file), UNLABELED, path=file) for file in rest]
    if rest:
        what = "not in the table, and" if table is not None else "there without a table of labels:"
        found.note("unlabeled", f"{len(rest)} videos are {what} unlabeled", rest)
    if not split_by_table:
        _split(found, settings)
    reject_repeated(found)
    return found


def _table(found: CorpusSurvey, root: Path, settings: FolderSettings, setting: str) -> Path | None:
    """The table of labels; None where there is none, with a problem where one is meant."""
    if settings.labels is not None:
        given = PurePosixPath(settings.labels)
        if given.is_absolute() or ".." in given.parts or not (root / given).is_file():
            found.reject("file", f"{setting} is {settings.labels!r}: no such file below {str(root)!r}")
            return None
        return root / given
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    if len(tables) > 1:
        listed = ", ".join(path.name for path in tables)
        found.reject("file", f"{len(tables)} CSV files ({listed}): say which has the labels, {setting}: FILE")
    return tables[0] if len(tables) == 1 else None


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
            f"no column of splits: split by {'speaker' if by_speaker else 'video'} with the SHA-256 of "
            f"`{settings.seed}:<name>` into shares {', '.join(map('{:g}'.format, settings.shares))}: {listed}"
        )
        found.note("split", message)


def _share(group: str, settings: FolderSettings) -> str:
    digest = hashlib.sha256(f"{settings.seed}:{group}".encode()).digest()
    place = (int.from_bytes(digest[:8], "big") >> (64 - BITS)) / 2**BITS
    train, valid, _ = settings.shares
    return TRAIN if place < train else VALID if place < train + valid else TEST
