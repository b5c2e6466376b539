"""MultiBench's affect pickles (pliang279/MultiBench, `datasets/affect`), and MulT's, from which they descend.

    {train: D, valid: D, test: D},  D: vision, audio, text (n, L, D'), labels (n, 1, 1), id (n)

`mosi_raw.pkl` and `mosei_raw.pkl` have scores in [-3, 3]; `humor.pkl` and `sarcasm.pkl` 0 and 1, or -1 and 1.
Sequences are padded in front (MultiBench's `lpad`). Clips whose text is all zeros are left out and counted,
as its loader does. Of CMU-MOSEI's seven labels the first is the sentiment.

Words: given the folder that holds them too, `*_raw_text.pkl` ({id: [word]}) or an HDF5 file
(`words/<id>/features`); a word `sp` is a pause. Without either a clip has no text.
*Aligned* is a file with one length for all three modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.formats.source import HDF5, PICKLES, Source, understood
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import PAUSE, score_of, split_of
from pipeline.imports.clip_names import NUMBERED, about_segments, made_rows, named_rows
from pipeline.imports.contract import Imported
from pipeline.imports.labels import binary_labelling
from pipeline.imports.published import about_sizes
from pipeline.imports.stacks import (
    ModalityStack,
    SplitPart,
    has_keys,
    left_out,
    modalities_of,
    one_length,
    parts_of,
    splits_of,
    stacks_of,
)
from pipeline.params.params import ImportParams

KIND_OF_FILES = "affect pickles of MultiBench and MulT (mosi, mosei, humor, sarcasm)"

STACKS = {"text": "text", "audio": "audio", "visual": "vision"}
KEYS = (*STACKS.values(), "labels", "id")
RAW_TEXT = "_raw_text"  # in the name of the pickle of words
SENTIMENT_FIRST = (1, 7)  # labels that one clip may have


def matches(source: Source) -> str:
    """Why these are no such files; empty where they are."""
    path = _main(source)
    if path is None:
        return f"not a single pickle (besides *{RAW_TEXT}.pkl)"
    if not has_keys(source.tree(path), *STACKS.values(), "labels"):
        return "no pickle with vision, audio, text and labels in every split"
    return ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    path, reason = _main(source), matches(source)
    if path is None or reason:
        raise FormatError(f"{source}: {reason}; expected a MultiBench file")
    tree = source.tree(path)
    notes = left_out(tree, ())
    with understood(f"{source} (kind {params.kind})"):
        parts = parts_of(source, splits_of(tree), KEYS)
        stacks = stacks_of(parts, STACKS)
        rows, places, raw_ids = _rows(source, parts, stacks["text"], notes)
        notes += _add_text(source, rows, raw_ids)
        notes += about_segments(raw_ids)
        modalities = modalities_of(stacks, places)
        for sequences in modalities.values():  # one vector a clip, or lengths of its own: no padding
            sequences.side = "front" if sequences.padded else None
    labelling = binary_labelling(rows, path.stem, "mmsa")
    notes += about_sizes(rows)
    return Imported(rows, modalities, labelling, aligned=one_length(stacks), notes=notes)


def _main(source: Source) -> Path | None:
    """The pickle that is not that of the words, where there is just one."""
    found = [path for path in source.with_suffix(*PICKLES) if RAW_TEXT not in path.name.lower()]
    return found[0] if len(found) == 1 else None


def _rows(
    source: Source, parts: Sequence[SplitPart], texts: Sequence[ModalityStack | None], notes: list[str]
) -> tuple[list[dict[str, Any]], dict[str, tuple[int, int]], list[Any]]:
    """Rows, for each clip its split's number and its row there, and the ids as in the file."""
    rows: list[dict[str, Any]] = []
    places: dict[str, tuple[int, int]] = {}
    given = [part.column("id") for part in parts]
    if all(ids is not None for ids in given):  # together: a video's intervals are numbered over all splits
        raw = [value for ids in given for value in ids or []]
        names = named_rows(str(source), raw, underscore=True)
    else:
        raw = [value for part in parts for value in range(part.count)]
        names = [row for part in parts for row in made_rows(part.name, part.count)]
        notes.append("no ids: clips are named after split and row, each its own video")
    kept_ids, start = [], 0
    for number, part in enumerate(parts):
        split, text = split_of(source, part.name), texts[number]
        empty = {row for row in range(part.count) if text is not None and not text.read(row).any()}
        labels = part.column("labels") or []
        if len(labels) < part.count:
            raise FormatError(f"{part.where}: no labels; expected one per clip")
        for index in range(part.count):
            row = names[start + index] | {"split": split}
            row["label"] = _label_of(labels[index], f"{part.where}: label of {row['clip_id']}")
            if index not in empty:
                places[row["clip_id"]] = (number, index)
                rows.append(row)
                kept_ids.append(raw[start + index])
        start += part.count
        if empty:
            notes.append(f"{part.name}: {len(empty)} of {part.count} clips skipped, their text is all zeros")
    return rows, places, kept_ids


def _label_of(value: Any, where: str) -> float | None:
    size = np.size(value)
    if size not in SENTIMENT_FIRST:
        raise FormatError(f"{where} has shape {np.shape(value)}; expected one number, or CMU-MOSEI's seven")
    return score_of(np.asarray(value).reshape(-1)[0], where)


# ----------------------------------------------------------------------------------------------------- words
def _add_text(source: Source, rows: Sequence[dict[str, Any]], raw_ids: Sequence[Any]) -> list[str]:
    """Write each clip's words into its row; which file they are from is the note."""
    pickles = [path for path in source.with_suffix(*PICKLES) if RAW_TEXT in path.name.lower()]
    files = pickles or source.with_suffix(*HDF5)
    if not files:
        return ["no raw text: clips have words only in their features"]
    if len(files) > 1:
        raise FormatError(f"{source}: words are in {listed([path.name for path in files])}; keep one of them")
    missing = 0
    with _words_of(source, files[0]) as words:
        for row, value in zip(rows, raw_ids, strict=True):
            found = next((there for key in _keys_of(value) if (there := words(key)) is not None), None)
            said = [] if found is None else _spelt(found)
            row["text"] = " ".join(word for word in said if word != PAUSE) or None
            missing += found is None
    lacking = f"; {missing} of {len(rows)} clips are not in it" if missing else ""
    return [f"words are from {files[0].name}{lacking}"]


def _keys_of(value: Any) -> list[str]:
    """Under which a clip's words are looked for: its id, and `video[3]` for `video_3`."""
    plain = text_of(value if np.size(value) == 1 else np.asarray(value, object).reshape(-1)[0])
    found = NUMBERED.fullmatch(plain)
    return [plain, f"{found[1]}[{found[2]}]"] if found else [plain]


@contextmanager
def _words_of(source: Source, path: Path) -> Iterator[Callable[[str], Any]]:
    """What gives the words of a key, None where the file has none."""
    if path.name.lower().endswith(HDF5):
        from pipeline.formats.hdf5 import open_hdf5

        with open_hdf5(path) as file:
            if "words" not in file:
                raise FormatError(f"{path} has no group `words`; expected words/<id>/features")
            yield lambda key: np.asarray(file[place]) if (place := f"words/{key}/features") in file else None
        return
    tree = source.tree(path)
    if not isinstance(tree, Mapping):
        raise FormatError(f"{path} is a {type(tree).__name__}, expected a mapping of ids to lists of words")
    yield {text_of(key): value for key, value in tree.items()}.get


def _spelt(value: Any) -> list[str]:
    if isinstance(value, str | bytes):
        return text_of(value).split()
    return [text_of(word) for word in np.asarray(value, object).reshape(-1)]
