"""CHERMA's released features, as LFMIM reads them: https://github.com/sunjunaimer/LFMIM (data_prepare.py).

    train.json, test.json, valid.json     as in the raw corpus (corpora/kinds/cherma.py); a split may lack
    text/<split>/x.npy                    (T, 1024)
    audio/<split>/x.npy                   (T, 1024)
    visual/<split>/x.mp4.npy              (T, 2048)

Labels may be indices in LFMIM's order, too. How the columns were made is not published: they are numbered.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.columns import numbered
from pipeline.core.errors import ClipError, FormatError
from pipeline.core.vocabulary import MODALITIES
from pipeline.corpora.kinds.cherma import CHINESE, ENGLISH, FILES, LABEL_KEYS, LABELLING, MISSPELT
from pipeline.formats.source import Source, understood
from pipeline.formats.text import listed, read_json, text_of
from pipeline.imports.checks import ONLY_CLIP, clip_of, matrix, read_npy
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.params.params import ImportParams

KIND_OF_FILES = "CHERMA: train/test/valid.json beside text, audio and visual folders of .npy files (LFMIM)"


_INDICES = {
    name: index for names in (CHINESE, ENGLISH, map(str, range(7))) for index, name in enumerate(names)
}


def matches(source: Source) -> str:
    """Why this is no folder of CHERMA's features; empty if it is."""
    if source.root.is_file():
        return "a file; expected a folder with train.json and folders of .npy files"
    if not _split_files(source):
        return "no train.json, valid.json or test.json"
    if not any(path.suffix.lower() == ".npy" for path in source.files if _modality(source, path)):
        return "no .npy file in a text, audio or visual folder"
    return ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    rows: list[dict[str, Any]] = []
    folders: dict[str, str] = {}  # clip -> split as its folders are called
    with understood(f"{source} (kind {params.kind})"):
        for path, split in _split_files(source).items():
            entries = read_json(path)
            if not isinstance(entries, list):
                kind = type(entries).__name__
                raise FormatError(f"{path}: contains a {kind}; expected a list with one entry per clip")
            for entry in entries:
                row = _row(path, entry)
                rows.append(row | {"split": split})
                folders[row["clip_id"]] = path.stem
    notes: list[str] = []
    modalities: dict[str, FeatureSequences] = {}
    for modality in MODALITIES:
        places = _places(source, modality)
        found = {
            row["clip_id"]: places[key]
            for row in rows
            if (key := (folders[row["clip_id"]].lower(), row["video_id"])) in places
        }
        if found:
            with understood(f"{source} (kind {params.kind})"):
                modalities[modality] = _sequences(modality, found)
        if found and (lacking := [row["clip_id"] for row in rows if row["clip_id"] not in found]):
            notes.append(f"{len(lacking)} clips have no {modality} file: {listed(lacking)}")
        if unused := sorted(
            str(path.relative_to(source.root)) for path in {*places.values()} - {*found.values()}
        ):
            notes.append(f"{len(unused)} {modality} files match no clip in the JSON files: {listed(unused)}")
    if not modalities:
        raise FormatError(
            f"{source}: no .npy file in text, audio or visual belongs to a clip in the JSON files"
        )
    return Imported(rows, modalities, LABELLING, notes=notes)


def _split_files(source: Source) -> dict[Path, str]:
    found = {source.named(name): split for name, split in FILES.items()}
    return {path: split for path, split in found.items() if path is not None}


def _row(path: Path, entry: Any) -> dict[str, Any]:
    """The clip of an entry, without its split."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("audio_file"), str):
        raise FormatError(f"{path}: {entry!r:.80}: no audio_file; expected audio_file and the four labels")
    name = entry["audio_file"].removesuffix(".wav")
    row: dict[str, Any] = {"clip_id": clip_of(path, name, ONLY_CLIP), "video_id": name, "position": 0}
    row["text"] = str(entry.get("text") or "").strip() or None
    for given, column in LABEL_KEYS.items():
        value = entry.get(given)
        word = "" if value is None else text_of(value).strip().lower()
        row[column] = _INDICES.get(MISSPELT.get(word, word))
        if word and row[column] is None:
            raise FormatError(
                f"{path}: {given} of {name} is {value!r:.80}; "
                f"expected one of {', '.join(CHINESE)}, or of {', '.join(ENGLISH)}"
            )
    return row


def _modality(source: Source, path: Path) -> str | None:
    """The folder right below the root, where it is a modality's and the file lies in a split's."""
    parts = path.relative_to(source.root).parts
    return parts[0].lower() if len(parts) == 3 and parts[0].lower() in MODALITIES else None


def _places(source: Source, modality: str) -> dict[tuple[str, str], Path]:
    """(split's folder, name of the utterance) -> file of one modality."""
    places = {}
    for path in source.files:
        if _modality(source, path) == modality and path.name.lower().endswith(".npy"):
            name = path.name[: -len(".npy")].removesuffix(".mp4").removesuffix(".wav")
            places[path.parent.name.lower(), name] = path
    return places


def _sequences(modality: str, places: Mapping[str, Path]) -> FeatureSequences:
    width = next(filter(None, (_width(path, clip) for clip, path in places.items())), 0)
    if not width:
        raise FormatError(
            f"{next(iter(places.values())).parent}: no readable array with at least one step; expected (T, D)"
        )

    def rows_of(clip: str) -> np.ndarray | None:
        return _array(places[clip], clip, width) if clip in places else None

    return FeatureSequences(numbered(modality, width), rows_of, list(places), padded=False)


def _width(path: Path, clip: str) -> int:
    """D of a file; 0 where it cannot be read, or has no step."""
    try:
        return int(_array(path, clip, None).shape[1])
    except ClipError:
        return 0


def _array(path: Path, clip: str, width: int | None) -> np.ndarray:
    """(T, D) of one file; ClipError where it cannot be read, FormatError where its shape is another."""
    return matrix(read_npy(path), width, f"{path}: clip {clip}")
