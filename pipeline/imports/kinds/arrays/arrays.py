"""Arrays of any layout (npz, npy, HDF5, pickles, columns of CSV files); settings say what they are.

A *reference* is `file:array`: of an .npz the array's name, of HDF5 and pickles the path inside
(`train/audio`), of a .csv the column, or for features nothing: all its columns, or the `columns` that are
named; a .npy needs no name. `*` in a path is each clip of a group or dict
(`labels.npz:corpus/*/score`), or each entry of a list. A folder of .npy files, one a clip, is a group.
Where a split has files or paths of its own, `{split}` stands for its word. Files are named from the folder of
the import. For example:

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

      files_by_split:                       # MFN's: audio_train.h5 ...; ids are made: train_000000
        kind: arrays
        root: data/raw/files_by_split
        settings:
          splits: {train: train, valid: dev, test: test}
          labels: {label: "y_{split}.h5:data"}
          text: {array: "text_{split}_emb.h5:data"}
          audio: {array: "audio_{split}.h5:data"}

      dicts:                                # MERTools': an npz of dicts {id: {emo, val}}, folders of <id>.npy
        kind: arrays
        root: data/raw/dicts
        settings:
          splits: {train: train, test: test1}
          labels: {class_label: "label.npz:{split}_corpus/*/emo", label: "label.npz:{split}_corpus/*/val"}
          audio: {array: features/hubert}

      tables:                               # a CSV with a row a clip: means of OpenFace's action units
        kind: arrays
        root: data/raw/tables
        settings:
          ids: "label.csv:clip"
          labels: {class_label: "label.csv:emotion", speaker: "label.csv:speaker"}
          visual: {array: au_mean.csv, ids: "au_mean.csv:clip", columns: ["AU*"]}

What an array may be: (n, T, D), padded unless `padded: false`; (n, D), one vector a clip; a list of (T, D);
or a group, or dict, with a (T, D) or (D,) for each id. A clip that an array has not is absent there.

Ids: `video$_$clip` and `video[clip]` are taken apart; others at the last `id_separator` (e.g. "_") where it
is given, else they are videos of one clip: `x` becomes `x$_$0`. Without `ids` they are the names of the
groups, or, of arrays alone, made of split and row.
Labels are columns of the clip table; classes are indices, or names (of `classes`, else as they sort).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.vocabulary import TRAIN
from pipeline.corpora.survey import Labelling
from pipeline.corpora.tables.labels import LABEL_FILES
from pipeline.formats.source import PICKLES, Source, understood
from pipeline.formats.text import listed
from pipeline.imports.checks import split_of
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.kinds.arrays.clips import Clips, Names, clips_of, rows_of
from pipeline.imports.kinds.arrays.draft import draft
from pipeline.imports.kinds.arrays.files import SUFFIXES, ArrayFiles, TableColumns
from pipeline.imports.kinds.arrays.listing import entries
from pipeline.imports.kinds.arrays.sequences import joined, read_sequences
from pipeline.imports.kinds.arrays.settings import SPLIT, ArrayFilesSettings
from pipeline.imports.labels import labelled_rows
from pipeline.params.explain import settings_of, some_of
from pipeline.params.params import ImportParams

KIND_OF_FILES = (
    "Arrays: npz, npy, HDF5 or pickle files of any layout, described by settings (docs/corpora.md)"
)
SETTINGS = ArrayFilesSettings
MOST_LOOKED_AT = 1000  # arrays, for a message
OTHER_KINDS = ("sarcasm_data.json", "train.json", "valid.json", "test.json")


def matches(source: Source) -> str:
    """Why these are no arrays; empty if they are. What they mean is for the settings to say."""
    if pickles := [path.name for path in source.with_suffix(*PICKLES)]:
        return f"{listed(pickles)} may be of another kind; `--as arrays` lists their contents"
    if not source.with_suffix(*SUFFIXES):
        return f"no file ending in {', '.join(SUFFIXES)}"
    others = [name for name in OTHER_KINDS if source.root.is_dir() and source.named(name)]
    others += [path.name for path in source.with_suffix(".csd")]
    return f"{listed(others)} is of another kind" if others else ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the settings name.

    Raises
    ------
    ParamsError : wrong settings; without any, it lists the arrays and drafts settings
    LabelFileError : label.csv cannot be used
    FormatError : an array is not there, or does not fit the ids; it lists the arrays
    """
    if not params.settings:
        with understood(f"{source} (kind {params.kind})"):
            drafted = draft(source)
        raise ParamsError(f"{source}: an import of kind arrays needs `settings`\n{drafted}")
    settings = settings_of(ArrayFilesSettings, params.settings, "arrays.settings")
    files = ArrayFiles(source)
    try:
        with understood(f"{source} (kind {params.kind})"):
            return _read(files, settings, params)
    except FormatError as error:
        file = str(error).partition(":")[0]
        known = [str(entry) for entry in islice(entries(files), MOST_LOOKED_AT) if entry.count]
        there = sorted(known, key=lambda entry: not entry.startswith(f"{file}:"))
        raise FormatError(f"{error}; there are: {some_of(there, 5)}") from error


def _read(files: ArrayFiles, settings: ArrayFilesSettings, params: ImportParams) -> Imported:
    names = Names(files.source, settings.id_separator)
    parts = settings.parts()
    notes: list[str] = []
    places: list[dict[str, int] | None]
    if isinstance(settings.labels, str):
        rows, labelling = _from_table(files.source, settings.labels, params)
        ids = [part.ids for part in parts.values()]
        places = [None if one is None else names.clips(files.values(one)) for one in ids]
    else:
        clips = [clips_of(files, part, split, names) for split, part in parts.items()]
        rows, labelling = rows_of(clips, settings.labels or {}, params)
        places = [part.places for part in clips]
        notes += _taken_for_granted(settings, clips)
    splits = {row["clip_id"]: row["split"] for row in rows}
    modalities: dict[str, FeatureSequences] = {}
    for modality, chosen in settings.modalities.items():
        found = []
        for (split, part), known in zip(parts.items(), places, strict=True):
            own = part.modalities[modality]
            ordered = known if own.ids is None else names.clips(files.values(own.ids))
            found.append(read_sequences(files, modality, own, ordered, names.clip))
            if split is not None and SPLIT in chosen.array:
                _check_split(own.array, split_of("settings.splits", split), found[-1].clips, splits)
        modalities[modality] = joined(chosen.array, found)
        named = files.find(own.array)
        group = isinstance(named, Mapping) and not isinstance(named, TableColumns)
        notes += _about_clips(chosen.array, modalities[modality].clips, splits, group)
    return Imported(rows, modalities, labelling, notes=notes)


def _from_table(source: Source, name: str, params: ImportParams) -> tuple[list[dict[str, Any]], Labelling]:
    path = source.place(name)
    if path.name not in LABEL_FILES:
        message = f"expected {' or '.join(LABEL_FILES)}, or references"
        raise ParamsError(f"settings.labels is {name!r}; {message}")
    _, rows, labelling = labelled_rows(path.parent, params)
    return rows, labelling


def _taken_for_granted(settings: ArrayFilesSettings, parts: list[Clips]) -> list[str]:
    """Notes on what the settings leave open."""
    notes = []
    if settings.splits is None:
        notes.append(f"no splits are given: all {len(parts[0].splits)} clips go to {TRAIN}")
    if any(part.made for part in parts):
        first = {split: clip for part in parts for clip, split in reversed(part.splits.items())}
        names = ", ".join(f"{clip} ..." for clip in first.values())
        notes.append(f"no ids are given: clips are named by split and row, each its own video: {names}")
    return notes


def _check_split(reference: str, split: str, clips: list[str], splits: Mapping[str, str]) -> None:
    """FormatError where label.csv has clips of a split's own file in another split."""
    if wrong := [clip for clip in clips if splits.get(clip, split) != split]:
        raise FormatError(
            f"{reference}: {len(wrong)} clips are in another split in the labels: "
            f"{listed([f'{clip} ({splits[clip]})' for clip in wrong])}; correct one of them"
        )


def _about_clips(reference: str, clips: list[str], known: Mapping[str, str], group: bool) -> list[str]:
    """Notes on clips that an array lacks or has too many; FormatError: ids of no clip, but those of a group.

    Parameters
    ----------
    group : an array for each clip by its name, which may well have those of other splits, too
    """
    notes = []
    if strange := sorted(set(clips) - set(known)):
        message = f"{reference}: {len(strange)} of {len(clips)} ids match no clip: {listed(strange)}"
        if not group or len(strange) == len(clips):
            raise FormatError(f"{message}; expected ids of the form video$_$clip, or settings.id_separator")
        notes.append(message)
    if lacking := sorted(set(known) - set(clips)):
        notes.append(f"{len(lacking)} clips are not in {reference}: {listed(lacking)}")
    return notes
