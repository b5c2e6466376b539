"""A folder of OpenFace 2 tables, one CSV file a clip, with label.csv in MMSA's columns beside them.

    label.csv (or meta.csv)         video_id, clip_id, text, label, mode and what else MMSA has
    **/<video_id>/<clip_id>.csv     or <video_id>$_$<clip_id>.csv, or <video_id>_<clip_id>.csv, in any folder

Clip ids that are numbers may have other leading zeros in the file's name (CH-SIMS). A name that two clips
could have is an error. formats/openface_csv.py reads the tables; what it chose or left out is a note in the
clip's row; a clip whose table cannot be read is a failed row.

`groups` chooses columns: `openface709` = the field's 709 without confidence and success; a list of gaze,
pose, landmarks2d, landmarks3d, shape, aus = OpenFace's groups after confidence and success. Without it all of
OpenFace's columns come that every table has. Labels are taken as they stand; names of classes need `classes`.

Source: https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.openface_layout import FLAGS, GAZE_ANGLES, GAZE_VECTORS, OPENFACE, OPENFACE_709, columns_of
from pipeline.core.section import Section
from pipeline.core.vocabulary import SEPARATOR
from pipeline.corpora.clips import full_id
from pipeline.corpora.survey import CorpusClip
from pipeline.corpora.tables.labels import LABEL_FILES, label_file
from pipeline.corpora.tables.values import without_zeros
from pipeline.formats.openface_csv import HEADER_BYTES, INDEX, TrackedFace, names_of, read_table
from pipeline.formats.source import Source
from pipeline.formats.text import listed
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.labels import labelled_rows
from pipeline.params.explain import settings_of
from pipeline.params.params import ImportParams

KIND_OF_FILES = "OpenFace 2: a folder of its CSV files, one per clip, with label.csv in MMSA's columns"

_LOOKED_AT = 100  # tables; the first ones may be damaged


class OpenFaceFolderSettings(Section):
    """Which columns."""

    groups: Literal["openface709"] | list[str] | None = None
    """`openface709`, or groups of core/openface_layout.py; all that every table has where not given"""


SETTINGS = OpenFaceFolderSettings


def matches(source: Source) -> str:
    """Why this is no folder of OpenFace's tables; empty if it is."""
    if source.root.is_file():
        return "a file; expected a folder of CSV files with label.csv"
    if label_file(source.root) is None:
        return f"no {' or '.join(LABEL_FILES)}"
    tables = _tables(source)
    if not tables:
        return "no CSV file next to the labels"
    if not any({*INDEX} <= {*_header(path)} for path in tables[:_LOOKED_AT]):
        lacking = [name for name in INDEX if name not in _header(tables[0])]
        return f"{tables[0].name} has no column {', '.join(lacking)}"
    return ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    settings = settings_of(OpenFaceFolderSettings, params.settings, "openface_folder.settings")
    clips, rows, labelling = labelled_rows(source.root, params)
    tables = _tables(source)
    places = _places(clips, tables)
    if not places:
        raise FormatError(
            f"{source}: none of {len(tables)} CSV files is named after a clip in the label file; expected "
            f"<video_id>/<clip_id>.csv or <video_id>{SEPARATOR}<clip_id>.csv, e.g. "
            f"{clips[0].video_id}/{clips[0].clip_id}.csv"
        )
    columns, notes = _columns(source, sorted(set(places.values())), settings)
    if lacking := [clip.id for clip in clips if clip.id not in places]:
        notes.append(f"{len(lacking)} clips have no table: {listed(lacking)}")
    if unused := sorted(path.relative_to(source.root).as_posix() for path in {*tables} - {*places.values()}):
        notes.append(f"{len(unused)} tables match no clip: {listed(unused)}")
    return Imported(rows, {"visual": _sequences(places, columns)}, labelling, notes=notes)


def _tables(source: Source) -> list[Path]:
    """All CSV files but the labels."""
    return [
        path
        for path in source.with_suffix(".csv")
        if not (path.parent == source.root and path.name in LABEL_FILES)
    ]


def _header(path: Path) -> list[str]:
    with open(path, "rb") as file:
        return names_of(file.readline(HEADER_BYTES))


def _places(clips: Sequence[CorpusClip], tables: Sequence[Path]) -> dict[str, Path]:
    """Clip id -> its table; FormatError where a clip has several, or a table could be of several clips."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in tables:
        for name in {full_id(path.parent.name, path.stem), path.stem}:
            video, _, number = name.rpartition(SEPARATOR if SEPARATOR in name else "_")
            for called in {name, full_id(video, without_zeros(number))}:
                by_name[called].append(path)
    found: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for clip in clips:
        names = [
            clip.id,
            full_id(clip.video_id, without_zeros(clip.clip_id)),
            f"{clip.video_id}_{clip.clip_id}",
        ]
        paths: list[Path] = next((by_name[name] for name in names if name in by_name), [])
        several = sorted(set(paths))
        if len(several) > 1:
            raise FormatError(f"clip {clip.id} has {len(several)} tables: {listed(several)}; keep one")
        if several and several[0] in owners:
            raise FormatError(
                f"{several[0]}: could belong to clips {owners[several[0]]} and {clip.id}; rename it"
            )
        if several:
            found[clip.id] = several[0]
            owners[several[0]] = clip.id
    return found


def _columns(
    source: Source, tables: Sequence[Path], settings: OpenFaceFolderSettings
) -> tuple[list[str], list[str]]:
    """The columns that every table gives, and a note where tables differ."""
    if settings.groups == "openface709":
        return list(OPENFACE_709), []
    if settings.groups is not None:
        return columns_of(OPENFACE, settings.groups, "settings"), []
    # a file that is no table says nothing of the others; it cannot be read, and so will be a failed clip
    headers = {header for path in tables if {*INDEX} <= {*(header := tuple(_header(path)))}}
    if not headers:
        raise FormatError(
            f"{source}: no table has the columns {', '.join(INDEX)}; were they made by OpenFace?"
        )
    shared = set.intersection(*(_given(header) for header in headers))
    columns = [name for name in [*FLAGS, *OPENFACE_709] if name in shared]
    if len(columns) <= len(FLAGS):
        raise FormatError(
            f"{source}: the tables share no OpenFace column; expected gaze_0_x, pose_Tx, AU01_r, ..."
        )
    every = set().union(*(_given(header) for header in headers))
    cut = [name for name in OPENFACE_709 if name in every - shared]
    note = f"{len(cut)} columns are not in every table and are skipped: {listed(cut)}"
    return columns, [note] if cut else []


def _given(header: Sequence[str]) -> set[str]:
    """The names of a table, with the angles of the gaze, which can be computed from its vectors."""
    names = set(header)
    return names | set(GAZE_ANGLES) if names >= set(GAZE_VECTORS) else names


def _sequences(places: Mapping[str, Path], columns: list[str]) -> FeatureSequences:
    @lru_cache(maxsize=1)
    def face(clip: str) -> TrackedFace:
        return read_table(places[clip], columns).track()

    def rows_of(clip: str) -> np.ndarray | None:
        if clip not in places:
            return None
        tracked = face(clip)
        values = tracked.values.copy()
        if columns[: len(FLAGS)] == FLAGS:
            values[:, FLAGS.index("success")] = tracked.success
        return values

    def times_of(clip: str) -> np.ndarray | None:
        return face(clip).times if clip in places else None

    def remark(clip: str) -> str:
        return "; ".join(face(clip).notes)

    return FeatureSequences(columns, rows_of, list(places), padded=False, times=times_of, remark=remark)
