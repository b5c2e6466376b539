"""Clips of kind `arrays`: their ids, splits and labels, as columns of the clip table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import CLASSES, LABELS, SEPARATOR, TRAIN
from pipeline.corpora.survey import Labelling
from pipeline.formats.source import Source
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import clip_of, index_of, score_of, split_of
from pipeline.imports.clip_names import made_rows, parted
from pipeline.imports.kinds.arrays.files import ArrayFiles
from pipeline.imports.kinds.arrays.settings import ArrayFilesSettings
from pipeline.imports.labels import given_labelling
from pipeline.params.params import ImportParams, class_key


class Names:
    """How ids of the files become ids of clips.

    Parameters
    ----------
    source : for messages
    separator : what stands between video and clip; None = ids without `$_$` are videos of one clip
    """

    def __init__(self, source: Source, separator: str | None):
        self.source = source
        self.pattern = None if separator is None else re.compile(f"(.*){re.escape(separator)}(.*)", re.DOTALL)

    def clip(self, name: object) -> str:
        """`video$_$clip` of an id."""
        return clip_of(self.source, *parted(text_of(name), self.pattern))

    def clips(self, values: Iterable[Any]) -> dict[str, int]:
        """Clip -> place, in the order of the ids; FormatError where one is there twice."""
        counts = Counter(map(self.clip, values))
        if twice := [clip for clip, count in counts.items() if count > 1]:
            raise FormatError(
                f"{self.source}: {len(twice)} ids occur twice: {listed(twice)}; keep one of each"
            )
        return {clip: place for place, clip in enumerate(counts)}


@dataclass
class Clips:
    """The clips of an import, or of one of its splits.

    Attributes
    ----------
    splits : clip -> split
    places : clip -> its entry in arrays; None where clips are the names of a group, which have no order
    columns : of the clip table, a value a clip
    made : whether nothing names the clips, and their ids are made of split and row
    """

    splits: dict[str, str]
    places: dict[str, int] | None
    columns: dict[str, list[Any]]
    made: bool


def clips_of(files: ArrayFiles, settings: ArrayFilesSettings, split: str | None, names: Names) -> Clips:
    """The clips that the settings name, all of them of one split where that is given; FormatError."""
    labels = settings.labels if isinstance(settings.labels, dict) else {}
    ids, ordered = _ids(files, settings, names)
    made = isinstance(ids, int)
    count = ids if isinstance(ids, int) else len(ids)

    def column(reference: str) -> list[Any]:
        found = files.find(reference)
        if isinstance(found, Mapping) and not isinstance(ids, int):
            there = {names.clip(name): found[name] for name in found}
            return [there.get(clip) for clip in ids]
        if not ordered:
            raise FormatError(
                f"{reference}: has no clip names, but others do; give `ids`, a reference in its order"
            )
        return files.values(reference, count)

    if split is not None:
        splits = [split_of("settings.splits", split)] * count
    elif isinstance(settings.splits, str):
        splits = [split_of(settings.splits, value) for value in column(settings.splits)]
    elif settings.splits is not None:
        splits = _listed_splits(files, settings.splits, ids, names)
    else:
        splits = [TRAIN] * count
    if isinstance(ids, int):
        rows = {name: iter(made_rows(name, splits.count(name))) for name in dict.fromkeys(splits)}
        ids = {next(rows[name])["clip_id"]: place for place, name in enumerate(splits)}
    return Clips(
        dict(zip(ids, splits, strict=True)),
        ids if ordered else None,
        {name: column(reference) for name, reference in labels.items()},
        made,
    )


def _ids(files: ArrayFiles, settings: ArrayFilesSettings, names: Names) -> tuple[dict[str, int] | int, bool]:
    """Clip -> place, or how many clips without ids there are; and whether arrays have them in this order."""
    if settings.ids is not None:
        found = files.find(settings.ids)
        ordered = not isinstance(found, Mapping)
        return names.clips(files.values(settings.ids) if ordered else found), ordered
    references = [*settings.labels.values()] if isinstance(settings.labels, dict) else []
    if not references:
        references = [one.array for one in settings.modalities.values() if one.ids is None]
    if not references:
        raise FormatError("settings: no clip ids are given; give `ids`, a reference to them")
    found = [files.find(reference) for reference in references]
    if groups := [entry for entry in found if isinstance(entry, Mapping)]:
        return names.clips({text_of(name): None for group in groups for name in group}), False
    return len(found[0]), True


def _listed_splits(
    files: ArrayFiles, given: Mapping[str, str], ids: Mapping[str, int] | int, names: Names
) -> list[str]:
    """The split of each clip by lists of ids; FormatError: in two, in none, or of no clip."""
    if isinstance(ids, int):
        raise FormatError(f"settings.splits: {listed([*given.values()])} list clip ids; give `ids`, too")
    found: dict[str, str] = {}
    for name, reference in given.items():
        split = split_of("settings.splits", name)
        for clip in names.clips(files.values(reference)):
            if clip not in ids:
                raise FormatError(f"{reference}: {clip} is not among the ids")
            if clip in found:
                raise FormatError(f"{reference}: {clip} is in {found[clip]} and in {split}; keep one")
            found[clip] = split
    if lacking := [clip for clip in ids if clip not in found]:
        raise FormatError(f"settings.splits: {len(lacking)} clips are in no split: {listed(lacking)}")
    return [found[clip] for clip in ids]


# ------------------------------------------------------------------------------------------------------- rows
def rows_of(
    parts: Sequence[Clips], references: Mapping[str, str], params: ImportParams
) -> tuple[list[dict[str, Any]], Labelling]:
    """Rows of the clip table, and what their labels look like; FormatError of a value that is no label.

    Parameters
    ----------
    references : of the label columns, for messages
    """
    classes = tuple(params.classes)
    given = [part.columns[column] for column in CLASSES for part in parts if column in part.columns]
    if given and not classes:
        classes = _class_names(given)
    rows = []
    for part in parts:
        for place, (clip, split) in enumerate(part.splits.items()):
            row = {"clip_id": clip, "video_id": clip.partition(SEPARATOR)[0], "split": split}
            for column, values in part.columns.items():
                row[column] = _cell(column, values[place], classes, f"{references[column]}: {clip}")
            rows.append(row)
    return rows, given_labelling(params, classes if given else ())


def _class_names(columns: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """Names that stand there, in their order, or as many numbers as there are indices."""
    values = {text_of(value) for column in columns for value in column if value is not None} - {"", "nan"}
    if all(re.fullmatch(r"\d+", value) for value in values):
        return tuple(str(index) for index in range(max(map(int, values), default=0) + 1))
    return tuple(sorted(values))


def _cell(column: str, value: Any, classes: Sequence[str], where: str) -> Any:
    """A value of the clip table; None where a group has none of the clip."""
    if value is None:
        return None
    value = np.asarray(value) if hasattr(value, "shape") else value
    if column in LABELS:
        return None if text_of(value) == "" else score_of(value, where)
    if column in CLASSES:
        keys, key = [class_key(name) for name in classes], class_key(text_of(value))
        if key in keys:
            return keys.index(key)
        return None if text_of(value) == "" else index_of(value, len(classes), where)
    if column == "position":
        number = score_of(value, where)
        if number is None or number < 0 or not number.is_integer():
            raise FormatError(f"{where}: position is {value!r:.80}; expected a whole number of at least 0")
        return int(number)
    return text_of(value).strip() or None
