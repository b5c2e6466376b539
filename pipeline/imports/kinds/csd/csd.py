"""A folder of computational sequences of the CMU Multimodal SDK (CMU-MOSI, CMU-MOSEI, POM, ...).

files.py describes the files. One must hold labels; words, text, audio and visual are found by the names
of their roots or files, or named in the settings. A clip is an interval of the labels: the k-th of a video
(from 0, as the SDK counts) becomes `video$_$k`, and so does an entry `video[k]` of files that were aligned
already, whose rows are taken as they are.

- Labels: (k, 1) sentiment of MOSI; of MOSEI's (k, 7) the first, sentiment; its emotions are not read.
- Frames of a clip are those whose interval overlaps the label's; their times are the middles of the
  intervals, from the clip's start. Intervals with NaN overlap nothing.
- Words of a clip are those whose middle lies in it; `sp` (a pause) is no word. Times are in `words`.
- `align: words` gives a row a word in every modality: the mean of the frames that overlap the word, weighted
  by the seconds of overlap, column by column over finite values (NaN where there is none); zeros where no
  frame overlaps.
- `folds` names the file of the standard folds (see `read_folds`) in the folder. Without it all clips are
  train. Videos of no fold are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

import numpy as np

from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.section import Section
from pipeline.core.vocabulary import MODALITIES, TRAIN
from pipeline.corpora.survey import Labelling
from pipeline.formats.hdf5 import SIGNATURE
from pipeline.formats.source import Source, understood
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import clip_of
from pipeline.imports.clip_names import SEGMENT
from pipeline.imports.contract import Imported
from pipeline.imports.kinds.csd.files import REST, SUFFIX, Csd, read_folds
from pipeline.imports.kinds.csd.segments import Segment, sequences_of, words_of
from pipeline.params.explain import settings_of
from pipeline.params.params import ImportParams

KIND_OF_FILES = "CMU Multimodal SDK: a folder of .csd files, one of them with labels"

# role -> how names of its files and roots look, in lower case without signs
ROLES = {
    "labels": r"label",
    "words": r"words$",
    "text": r"glove|wordvector|bert",
    "audio": r"covarep|opensmile",
    "visual": r"facet|openface",
}


class CsdSettings(Section):
    """Which file is what: root name, or name of the file with or without `.csd`."""

    labels: str | None = None
    words: str | None = None
    text: str | None = None
    audio: str | None = None
    visual: str | None = None
    """`none` = this modality is not wanted"""
    folds: str | None = None
    """file in the folder with the videos of each split"""
    align: Literal["none", "words"] = "none"
    """`words` = a row a word in every modality"""


SETTINGS = CsdSettings


def matches(source: Source) -> str:
    """Why these are no computational sequences; empty if they are."""
    paths = source.with_suffix(SUFFIX)
    if not paths:
        return f"no {SUFFIX} file"
    with open(paths[0], "rb") as file:
        return "" if file.read(len(SIGNATURE)) == SIGNATURE else f"{paths[0].name} is not an HDF5 file"


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    settings = settings_of(CsdSettings, params.settings, "csd.settings")
    with understood(f"{source} (kind {params.kind})"):
        files = _files(source, settings)
    if "labels" not in files:
        raise FormatError(
            f"{source}: no file with labels (CMU_MOSI_Opinion_Labels.csd, CMU_MOSEI_Labels.csd); there is "
            f"{listed([path.name for path in source.with_suffix(SUFFIX)]) or 'no .csd file'}"
        )
    with understood(f"{source} (kind {params.kind})"):
        folds = read_folds(source.place(settings.folds)) if settings.folds else None
        segments, problems = _segments(files["labels"])
    notes = problems if folds else ["all clips are train: settings.folds is not given", *problems]
    if folds is not None:
        strays = sorted({segment.video for segment in segments} - folds.keys())
        if strays:
            notes.append(f"{len(strays)} videos are in no fold and are skipped: {listed(strays)}")
        if lacking := sorted(folds.keys() - {segment.video for segment in segments}):
            notes.append(f"{len(lacking)} videos of the folds have no labels: {listed(lacking)}")
        segments = [segment for segment in segments if segment.video in folds]
    if not segments:
        raise FormatError(f"{source}: no labelled clips are left; do the folds belong to this corpus?")
    with understood(f"{source} (kind {params.kind})"):
        if settings.align == "words" and "words" not in files:
            raise ParamsError("settings.align is `words`, but no file has words; name it as settings.words")
        by_clip = {segment.clip: segment for segment in segments}
        words = {clip: words_of(files["words"], by_clip[clip]) for clip in by_clip if "words" in files}
        modalities = {
            role: sequences_of(files[role], role, by_clip, words if settings.align == "words" else None)
            for role in MODALITIES
            if role in files
        }
    if not modalities:
        raise FormatError(f"{source}: no file of text, audio or visual features; name them in settings")
    notes.append("; ".join(f"{role}: {file.path.name} ({file.name})" for role, file in files.items()))
    rows = [
        {
            "clip_id": segment.clip,
            "video_id": segment.video,
            "split": TRAIN if folds is None else folds[segment.video],
            "text": " ".join(word["text"] for word in words.get(segment.clip, ())) or None,
            "label": segment.label,
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "position": segment.position,
        }
        for segment in segments
    ]
    return Imported(
        rows,
        modalities,
        Labelling(),
        {clip: timed for clip, timed in words.items() if timed},
        aligned=settings.align == "words",
        notes=notes,
    )


# ------------------------------------------------------------------------------------------------------ files
def _files(source: Source, settings: CsdSettings) -> dict[str, Csd]:
    """The file of each role that has one."""
    files = [Csd(path) for path in source.with_suffix(SUFFIX)]
    found: dict[str, Csd] = {}
    for role, pattern in ROLES.items():
        wanted = getattr(settings, role)
        if wanted == "none":
            continue
        if wanted is None:
            fitting = [file for file in files if any(re.search(pattern, name) for name in _names(file))]
            if role != "labels":  # `Opinion Segment Labels` and the like are no features
                fitting = [file for file in fitting if not any("label" in name for name in _names(file))]
        else:
            names = {wanted.lower(), f"{wanted}{SUFFIX}".lower()}
            fitting = [file for file in files if names & {file.name.lower(), file.path.name.lower()}]
        if len(fitting) > 1:
            there = ", ".join(file.path.name for file in fitting)
            raise ParamsError(
                f"{source}: {there} could be {role}; set settings.{role} to one of them, or to none"
            )
        if not fitting and wanted is not None:
            there = ", ".join(f"{file.path.name} ({file.name})" for file in files)
            raise ParamsError(f"settings.{role} is {wanted!r}; {source} has {there}")
        if fitting:
            found[role] = fitting[0]
    return found


def _names(file: Csd) -> list[str]:
    """Root name and file name in lower case without signs."""
    return [re.sub(r"[^a-z0-9]", "", name.lower()) for name in (file.name, file.path.stem)]


# --------------------------------------------------------------------------------------------------- segments
def _segments(labels: Csd) -> tuple[list[Segment], list[str]]:
    """The labelled intervals, by video and in the order of time, and notes on what was left out."""
    found: list[Segment] = []
    broken: list[str] = []
    if labels.width not in (1, 1 + len(REST)):
        raise FormatError(
            f"{labels.path}: {labels.width} labels per interval; expected 1, or 7 with sentiment first"
        )
    for video, number, key, index in _numbered(labels):
        entry = labels.entry(key)
        start, end = (float(bound) for bound in entry.intervals[index])
        label = float(np.asarray(entry.features[index], np.float64).reshape(-1)[0])
        clip = clip_of(labels.path, video, number)
        if not (np.isfinite([start, end]).all() and end > start):
            broken.append(clip)
            continue
        whole = key if SEGMENT.fullmatch(key) else None
        found.append(Segment(clip, video, start, end, label if np.isfinite(label) else None, whole, 0))
    found.sort(key=lambda segment: (segment.video, segment.start_s, segment.end_s))
    ordered = [
        segment._replace(position=position)
        for _, video in groupby(found, key=lambda segment: segment.video)
        for position, segment in enumerate(video)
    ]
    notes = []
    if labels.width > 1:
        notes.append(f"{labels.path.name}: only its first column, sentiment, is read, not {', '.join(REST)}")
    if broken:
        notes.append(f"{len(broken)} labels have no interval and are skipped: {listed(broken)}")
    return ordered, notes


def _numbered(labels: Csd) -> Iterator[tuple[str, int, str, int]]:
    """Video, number of the segment, entry and row of each label."""
    for key in labels.keys:
        named = SEGMENT.fullmatch(key)
        if named:
            yield named[1], int(named[2]), key, 0
            continue
        for index in range(len(labels.entry(key).intervals)):
            yield text_of(key), index, key, index
