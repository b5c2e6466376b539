"""A folder of OpenFace 2 tables, one CSV file a clip, with label.csv in MMSA's columns beside them.

    label.csv (or meta.csv)         video_id, clip_id, text, label, mode and what else MMSA has
    **/<video_id>/<clip_id>.csv     or <video_id>$_$<clip_id>.csv, or <video_id>_<clip_id>.csv, in any folder

Clip ids that are numbers may have other leading zeros in the file's name (CH-SIMS). A name that two clips
could have is an error. formats/openface_csv.py reads the tables: columns by name, with 714 columns or a
part (431 of old versions, -2Dfp, ...), without face_id, with blanks before the names, of several faces the
one that is seen most; rows without success, or with `-nan(ind)`, are zero and their `success` is 0. What was
so chosen or left out is a note in the clip's row; a clip whose table cannot be read is a failed row.

`groups` chooses columns: `openface709` = the field's 709 without confidence and success; a list of gaze,
pose, landmarks2d, landmarks3d, shape, aus = OpenFace's groups after confidence and success. Without it all of
OpenFace's columns come that every table has. Labels are taken as they stand; names of classes need `classes`.

Source: https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.openface_layout import FLAGS, GAZE_ANGLES, GAZE_VECTORS, OPENFACE, OPENFACE_709, columns_of
from pipeline.core.section import Section
from pipeline.corpora.clips import SEPARATOR
from pipeline.corpora.tables.labels import LABEL_FILES, LabelRow
from pipeline.formats.openface_csv import HEADER_BYTES, INDEX, TrackedFace, names_of, read_table
from pipeline.formats.source import Source
from pipeline.imports.checks import listed
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.csv_labels import labelled_rows
from pipeline.params.explain import settings_of
from pipeline.params.params import ImportParams

KIND_OF_FILES = "OpenFace 2: a folder of its CSV files, one a clip, with label.csv in MMSA's columns"

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
    if not any((source.root / name).is_file() for name in LABEL_FILES):
        return f"no {' or '.join(LABEL_FILES)}"
    tables = _tables(source)
    if not tables:
        return "no CSV file beside the labels"
    if not any(_is_table(_header(path)) for path in tables[:_LOOKED_AT]):
        lacking = [name for name in INDEX if name not in _header(tables[0])]
        return f"{tables[0].name} has no column {', '.join(lacking)}"
    return ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the folder holds.

    Raises
    ------
    LabelFileError : label.csv cannot be used; lists all its problems
    ParamsError : groups that OpenFace does not measure
    FormatError : no table belongs to a clip, or tables lack columns that are asked for
    """
    settings = settings_of(OpenFaceFolderSettings, params.settings, "openface_folder.settings")
    labels, rows, labelling = labelled_rows(source.root, params)
    tables = _tables(source)
    places = _places(labels.rows, tables)
    if not places:
        raise FormatError(
            f"{source}: none of {len(tables)} CSV files is called as a clip of {labels.path.name}; expected "
            f"<video_id>/<clip_id>.csv or <video_id>{SEPARATOR}<clip_id>.csv, e.g. of "
            f"{labels.rows[0].video_id}/{labels.rows[0].clip_id}.csv"
        )
    columns, notes = _columns(source, sorted(set(places.values())), settings)
    if lacking := [row.id for row in labels.rows if row.id not in places]:
        notes.append(f"{len(lacking)} clips have no table: {listed(lacking)}")
    if unused := sorted(path.relative_to(source.root).as_posix() for path in {*tables} - {*places.values()}):
        notes.append(f"{len(unused)} tables are of no clip: {listed(unused)}")
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


def _is_table(header: Sequence[str]) -> bool:
    return set(INDEX) <= set(header)


def _places(rows: Sequence[LabelRow], tables: Sequence[Path]) -> dict[str, Path]:
    """Clip id -> its table.

    Raises
    ------
    FormatError : a clip with several tables, or a table that could be of several clips
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in tables:
        for name in {_key(path.parent.name, path.stem), path.stem}:
            by_name[name].append(path)
            by_name[_key(*_parts(name))].append(path)
    found: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for row in rows:
        names = [_key(row.video_id, row.clip_id), _key(row.video_id, _plain(row.clip_id))]
        names.append(f"{row.video_id}_{row.clip_id}")
        paths: list[Path] = next((by_name[name] for name in names if name in by_name), [])
        several = sorted(set(paths))
        if len(several) > 1:
            raise FormatError(f"clip {row.id} has {len(several)} tables: {listed(several)}; keep one")
        if several and several[0] in owners:
            raise FormatError(
                f"{several[0]}: could be of the clips {owners[several[0]]} and {row.id}; rename it"
            )
        if several:
            found[row.id] = several[0]
            owners[several[0]] = row.id
    return found


def _key(video: str, clip: str) -> str:
    return f"{video}{SEPARATOR}{clip}"


def _parts(name: str) -> tuple[str, str]:
    """Video and clip of a name, the clip without leading zeros."""
    video, _, clip = name.rpartition(SEPARATOR if SEPARATOR in name else "_")
    return video, _plain(clip)


def _plain(clip: str) -> str:
    return clip.lstrip("0") or "0" if clip.isascii() and clip.isdigit() else clip


def _columns(
    source: Source, tables: Sequence[Path], settings: OpenFaceFolderSettings
) -> tuple[list[str], list[str]]:
    """The columns that every table gives, and a note where tables differ."""
    if settings.groups == "openface709":
        return list(OPENFACE_709), []
    if settings.groups is not None:
        return columns_of(OPENFACE, settings.groups, "settings"), []
    # a file that is no table says nothing of the others; it cannot be read, and so will be a failed clip
    headers = {header for path in tables if _is_table(header := tuple(_header(path)))}
    if not headers:
        raise FormatError(
            f"{source}: no table has the columns {', '.join(INDEX)}; were they made by OpenFace?"
        )
    shared = set.intersection(*(_given(header) for header in headers))
    columns = [name for name in [*FLAGS, *OPENFACE_709] if name in shared]
    if len(columns) <= len(FLAGS):
        raise FormatError(
            f"{source}: the tables share no column of OpenFace; expected gaze_0_x, pose_Tx, AU01_r, ..."
        )
    every = set().union(*(_given(header) for header in headers))
    cut = [name for name in OPENFACE_709 if name in every - shared]
    note = f"{len(cut)} columns are not in every table and are left out: {listed(cut)}"
    return columns, [note] if cut else []


def _given(header: Sequence[str]) -> set[str]:
    """The names of a table, with the angles of the gaze, which can be computed from its vectors."""
    names = set(header)
    return names | set(GAZE_ANGLES) if names >= set(GAZE_VECTORS) else names


def _sequences(places: Mapping[str, Path], columns: list[str]) -> FeatureSequences:
    last: dict[str, TrackedFace] = {}

    def face(clip: str) -> TrackedFace:
        if clip not in last:
            last.clear()
            last[clip] = read_table(places[clip], columns).track()
        return last[clip]

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
