"""Arrays of any layout (npz, npy, HDF5, pickles, columns of CSV files); settings say what they are.

A *reference* is `file:array`: of an .npz the array's name, of HDF5 and pickles the path inside
(`train/audio`), of a .csv the column; a .npy needs no name. Files are named from the folder of the import.
For example:

    imports:
      vectors:                              # label.csv in MMSA's columns gives ids, texts, labels, splits
        kind: arrays
        root: data/raw/vectors
        settings:
          labels: label.csv
          audio: {array: "utterances.npz:audio", ids: "utterances.npz:id"}

      sequences:                            # all in arrays, one entry a clip, in the order of `ids`
        kind: arrays
        root: data/raw/sequences
        settings:
          ids: "clips.npz:id"
          splits: "clips.npz:split"         # or {train: "clips.npz:train_ids", valid: ..., test: ...}
          labels: {label: "clips.npz:score", text: "clips.npz:said", speaker: "clips.npz:who"}
          audio: {array: "clips.npz:audio", lengths: "clips.npz:length", side: back, columns: [f0, energy]}
          visual: {array: "faces.h5:visual"}          # a group with one dataset a clip

What an array may be: (n, T, D), padded unless `padded: false`; (n, D), one vector a clip; a list of (T, D);
or a group, or dict, with a (T, D) or (D,) for each id. A clip that an array has not is absent there.

Ids: `video$_$clip` and `video[clip]` are taken apart; others at the last `id_separator` (e.g. "_") where it
is given, else they are videos of one clip: `x` becomes `x$_$0`.
Labels are columns of the clip table; classes are indices, or names (of `classes`, else as they sort).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.section import Section
from pipeline.core.vocabulary import CLASSES, LABELS, MODALITIES, SEPARATOR, TRAIN
from pipeline.corpora.survey import Labelling
from pipeline.corpora.tables.labels import LABEL_FILES
from pipeline.formats.source import PICKLES, Source, understood
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import clip_of, index_of, score_of, split_of
from pipeline.imports.clip_names import parted
from pipeline.imports.contract import FeatureSequences, Imported, Side
from pipeline.imports.kinds.arrays.files import SUFFIXES, ArrayFiles, survey
from pipeline.imports.kinds.arrays.sequences import read_sequences
from pipeline.imports.labels import given_labelling, labelled_rows
from pipeline.params.explain import settings_of, unknown
from pipeline.params.params import ImportParams, class_key

KIND_OF_FILES = "Arrays: npz, npy or HDF5 files of any layout; settings say what is what (see the docstring)"

LABEL_COLUMNS = (*LABELS, *CLASSES, "text", "speaker", "position")
OTHER_KINDS = ("sarcasm_data.json", "train.json", "valid.json", "test.json")


class ArraySettings(Section):
    """One modality."""

    array: str
    """reference"""
    ids: str | None = None
    """reference to the ids of its entries, where they are not `ids` of all"""
    lengths: str | None = None
    """reference to the real steps of each entry"""
    columns: list[str] | str | None = None
    """names of the D columns, or a reference to them"""
    padded: bool = True
    """of (n, T, D): shorter clips are filled with zeros"""
    side: Side | None = None
    """where the zeros are; found out where not given"""


class ArrayFilesSettings(Section):
    """What is where."""

    ids: str | None = None
    """reference to the ids of the clips"""
    id_separator: str | None = Field(None, min_length=1)
    """what stands between video and clip in ids without `$_$`"""
    splits: str | dict[str, str] | None = None
    """reference to a split a clip, or by split to the ids that it has"""
    labels: str | dict[str, str] | None = None
    """`label.csv` in MMSA's columns, or by column of the clip table references, one value a clip"""
    text: ArraySettings | None = None
    audio: ArraySettings | None = None
    visual: ArraySettings | None = None

    @model_validator(mode="after")
    def _clips_are_named(self) -> ArrayFilesSettings:
        if not any(getattr(self, modality) for modality in MODALITIES):
            raise ValueError("none of text, audio, visual is given: there are no features")
        if isinstance(self.labels, str):
            if self.splits is not None:
                raise ValueError(f"labels is {self.labels!r}, which has the splits; take `splits` away")
        elif strange := [name for name in self.labels or () if name not in LABEL_COLUMNS]:
            raise ValueError(unknown("labels: column", strange[0], LABEL_COLUMNS))
        elif self.ids is None:
            raise ValueError("ids is missing; give a reference to the ids, or labels: label.csv")
        return self


SETTINGS = ArrayFilesSettings


def matches(source: Source) -> str:
    """Why these are no arrays; empty if they are. What they mean is for the settings to say."""
    if not source.with_suffix(*SUFFIXES):
        return f"no file with the ending {', '.join(SUFFIXES)}"
    others = [name for name in OTHER_KINDS if source.root.is_dir() and source.named(name)]
    others += [path.name for path in source.with_suffix(".csd", *PICKLES)]
    return f"{listed(others)} is of another kind" if others else ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the settings name.

    Raises
    ------
    ParamsError : no settings, or wrong ones; without any it lists the arrays that are there
    LabelFileError : label.csv cannot be used
    FormatError : an array is not there, or does not fit the ids
    """
    if not params.settings:
        raise ParamsError(
            f"{source}: an import of kind arrays needs `settings`, such as\n"
            "  ids: 'FILE:ARRAY'\n  splits: 'FILE:ARRAY'\n  labels: {label: 'FILE:ARRAY'}\n"
            "  audio: {array: 'FILE:ARRAY'}\nThere are:\n" + "\n".join(survey(source))
        )
    settings = settings_of(ArrayFilesSettings, params.settings, "arrays.settings")
    files = ArrayFiles(source)
    names = Names(source, settings.id_separator)
    with understood(f"{source} (kind {params.kind})"):
        ids = None if settings.ids is None else names.clips(files.values(settings.ids))
        if isinstance(settings.labels, str):
            path = source.place(settings.labels)
            if path.name not in LABEL_FILES:
                message = f"expected {' or '.join(LABEL_FILES)}, or references"
                raise ParamsError(f"settings.labels is {settings.labels!r}; {message}")
            _, rows, labelling = labelled_rows(path.parent, params)
        else:
            rows, labelling = _from_arrays(files, settings, ids or {}, names, params)
    notes: list[str] = []
    known = {row["clip_id"] for row in rows}
    modalities: dict[str, FeatureSequences] = {}
    for modality in MODALITIES:
        chosen: ArraySettings | None = getattr(settings, modality)
        if chosen is None:
            continue
        with understood(f"{source} (kind {params.kind})"):
            own = ids if chosen.ids is None else names.clips(files.values(chosen.ids))
            found = read_sequences(files, modality, chosen.model_dump(), own, names.clip)
        if strange := sorted(set(found.clips) - known):
            raise FormatError(
                f"{chosen.array}: {len(strange)} of {len(found.clips)} ids are of no clip: "
                f"{listed(strange)}; "
                "expected ids of the form video$_$clip, or settings.id_separator"
            )
        if lacking := sorted(known - set(found.clips)):
            notes.append(f"{len(lacking)} clips are not in {chosen.array}: {listed(lacking)}")
        modalities[modality] = found
    return Imported(rows, modalities, labelling, notes=notes)


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

    def clips(self, values: Sequence[Any]) -> dict[str, int]:
        """Clip -> place, in the order of the ids; FormatError where one is there twice."""
        counts = Counter(map(self.clip, values))
        if twice := [clip for clip, count in counts.items() if count > 1]:
            raise FormatError(
                f"{self.source}: {len(twice)} ids are there twice: {listed(twice)}; keep one of each"
            )
        return {clip: place for place, clip in enumerate(counts)}


# ------------------------------------------------------------------------------------------------------- rows
def _from_arrays(
    files: ArrayFiles,
    settings: ArrayFilesSettings,
    ids: Mapping[str, int],
    names: Names,
    params: ImportParams,
) -> tuple[list[dict[str, Any]], Labelling]:
    """Rows of arrays that are as long as the ids."""
    splits = _splits(files, settings.splits, ids, names)
    rows: list[dict[str, Any]] = [
        {"clip_id": clip, "video_id": clip.partition(SEPARATOR)[0], "split": split}
        for clip, split in zip(ids, splits, strict=True)
    ]
    classes = tuple(params.classes)
    given = settings.labels if isinstance(settings.labels, dict) else {}
    columns = {column: files.values(reference, len(ids)) for column, reference in given.items()}
    if not classes and (found := [columns[column] for column in CLASSES if column in columns]):
        classes = _class_names(found)
    for column, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[column] = _cell(column, value, classes, f"{given[column]}: {row['clip_id']}")
    return rows, given_labelling(params, classes if any(column in CLASSES for column in columns) else ())


def _splits(
    files: ArrayFiles, given: str | Mapping[str, str] | None, ids: Mapping[str, int], names: Names
) -> list[str]:
    """The split of each clip, train where nothing says it; FormatError: in two, in none, or of no clip."""
    if given is None:
        return [TRAIN] * len(ids)
    if isinstance(given, str):
        return [split_of(given, value) for value in files.values(given, len(ids))]
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


def _class_names(columns: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """Names that stand there, in their order, or as many numbers as there are indices."""
    values = {text_of(value) for column in columns for value in column} - {"", "nan"}
    if all(re.fullmatch(r"\d+", value) for value in values):
        return tuple(str(index) for index in range(max(map(int, values), default=0) + 1))
    return tuple(sorted(values))


def _cell(column: str, value: Any, classes: Sequence[str], where: str) -> Any:
    """A value of the clip table."""
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
            raise FormatError(f"{where}: position is {value!r:.80}; expected a whole number from 0")
        return int(number)
    return text_of(value).strip() or None
