"""Lists of clips aligned to words: pickles of MAG-BERT, MISA, MIB, BBFN and of CLUE's OOD splits.

    {train: [clip], dev: [clip], test: [clip]}, or train.pkl, dev.pkl, test.pkl (CLUE: test_IID, test_OOD)
    clip: ((words, visual (T, Dv), acoustic (T, Da)), label, segment)       MAG-BERT, MIB, ITHP
          ((ids, visual, acoustic, words), label, segment)                  MISA, BBFN, CLUE

(README of WasifurRahman/BERT_multimodal_transformer, `create_dataset.py` of declare-lab/MISA.) A clip has a
row of each modality for each of its T words, without padding. Of several labels (CMU-MOSEI has seven) the
first is the sentiment. The numbers of MISA's words index a table that is not in the pickle: they are unused.
A clip without a segment is named after split and row. Labels that are 0 and 1 alone, as MISA's of UR-FUNNY,
are classes.

Also read: MAG-BERT's first upload (its issue 12), which has no words:
    {train: D, ...} or one D, taken for train;  D: facet, covarep, glove (n, T, D'), output_label (n)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.columns import columns_of
from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import TRAIN
from pipeline.corpora.survey import Labelling
from pipeline.formats.source import Source, understood
from pipeline.formats.text import text_of
from pipeline.imports.checks import PAUSE, matrix, score_of, split_of
from pipeline.imports.clip_names import about_segments, made_rows, named_rows
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.labels import binary_labelling
from pipeline.imports.published import about_sizes
from pipeline.imports.stacks import (
    has_keys,
    left_out,
    matrix_shape,
    modalities_of,
    one_length,
    parts_of,
    splits_of,
    stacks_of,
    tree_of,
)
from pipeline.params.params import ImportParams

KIND_OF_FILES = "word-aligned lists of MAG-BERT, MISA, MIB and CLUE (words, visual, acoustic)"

STACKS = {"text": "glove", "audio": "covarep", "visual": "facet"}
LABEL_KEYS = ("output_label", "label")


class AlignedClip(NamedTuple):
    """One item of a list."""

    words: list[str]
    visual: Any
    acoustic: Any
    label: Any
    segment: Any


def matches(source: Source) -> str:
    """Why these are no such files; empty where they are."""
    tree = tree_of(source)
    if _stacked(tree) is not None:
        return ""
    splits = splits_of(tree)
    filled = [content for content in splits.values() if not isinstance(content, list | tuple) or len(content)]
    if filled and all(isinstance(content, list | tuple) and _is_clip(content[0]) for content in filled):
        return ""
    return "no pickle of splits, each a list of ((words, visual, acoustic), label, segment)"


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    if reason := matches(source):
        raise FormatError(f"{source}: {reason}")
    tree = tree_of(source)
    stacked = _stacked(tree)
    with understood(f"{source} (kind {params.kind})"):
        found = _read_lists(source, tree) if stacked is None else _read_stacks(source, stacked, tree)
    found.labelling = binary_labelling(found.rows, f"{source.root.name} {source.pickle or ''}", "magbert")
    found.notes += about_sizes(found.rows)
    return found


# ----------------------------------------------------------------------------------------------------- lists
def _is_clip(item: Any) -> bool:
    """((3 or more), label[, segment, ...])."""
    return (
        isinstance(item, list | tuple)
        and len(item) >= 2
        and isinstance(item[0], list | tuple)
        and len(item[0]) >= 3
    )


def _read_lists(source: Source, tree: Any) -> Imported:
    rows: list[dict[str, Any]] = []
    clips: dict[str, AlignedClip] = {}
    segments: list[Any] = []
    notes = left_out(tree, ())
    pauses = 0
    for name, content in splits_of(tree).items():
        where, split = f"{source}: {name}", split_of(source, name)
        found = [_clip_of(item, f"{where}[{index}]") for index, item in enumerate(content)]
        for index, (row, clip) in enumerate(zip(_names(where, name, found, notes), found, strict=True)):
            row["split"] = split
            row["label"] = _label_of(clip.label, f"{where}[{index}]: label of {row['clip_id']}")
            row["text"] = " ".join(word for word in clip.words if word != PAUSE).strip() or None
            pauses += clip.words.count(PAUSE)
            clips[row["clip_id"]] = clip
            rows.append(row)
            segments.append(clip.segment)
    if pauses:
        notes.append(f"{pauses} words are pauses ({PAUSE}): omitted from the text, but not from the features")
    notes += about_segments(value for value in segments if value is not None)
    modalities = {
        name: sequences
        for name, key in (("audio", "acoustic"), ("visual", "visual"))
        if (sequences := _sequences(source, name, key, clips)) is not None
    }
    return Imported(rows, modalities, Labelling(), aligned=True, notes=notes)


def _clip_of(item: Any, where: str) -> AlignedClip:
    if not _is_clip(item):
        raise FormatError(f"{where}: expected ((words, visual, acoustic), label, segment)")
    features, label, *more = item
    # MISA writes the words last, behind their numbers
    words = features[3] if len(features) > 3 else features[0]
    if isinstance(words, str | bytes):
        raise FormatError(
            f"{where}: its words are a single string, {text_of(words)[:40]!r}; expected a list of words"
        )
    clip = AlignedClip(
        [text_of(word) for word in words], features[1], features[2], label, more[0] if more else None
    )
    shapes = [matrix_shape(getattr(clip, name), f"{where}: {name}") for name in ("visual", "acoustic")]
    if len({len(clip.words), *(steps for steps, _ in shapes)}) > 1:
        raise FormatError(
            f"{where}: {len(clip.words)} words, visual has shape {shapes[0]}, acoustic {shapes[1]}; "
            "expected one row of each per word"
        )
    return clip


def _names(where: str, name: str, clips: Sequence[AlignedClip], notes: list[str]) -> list[dict[str, Any]]:
    segments = [clip.segment for clip in clips]
    if clips and any(segment is None or text_of(segment).strip() == "" for segment in segments):
        notes.append(f"{name}: no segments; clips are named after split and row, each its own video")
        return made_rows(name, len(clips))
    return named_rows(where, segments)


def _label_of(value: Any, where: str) -> float | None:
    if not np.size(value):
        raise FormatError(f"{where} is empty; expected a number")
    return score_of(np.asarray(value, object).reshape(-1)[0], where)


def _sequences(
    source: Source, modality: str, key: str, clips: Mapping[str, AlignedClip]
) -> FeatureSequences | None:
    shapes = {
        name: matrix_shape(getattr(clip, key), f"{source}: {key} of {name}") for name, clip in clips.items()
    }
    widths: dict[int, str] = {}
    for name, (steps, width) in shapes.items():
        if steps:
            widths.setdefault(width, name)
    if not widths:
        return None
    if len(widths) > 1:
        first, other = list(widths.values())[:2]
        raise FormatError(
            f"{source}: {key} of {first} has shape {shapes[first]}, of {other} {shapes[other]}; "
            "expected the same number of columns"
        )
    (width,) = widths

    def read(clip: str) -> np.ndarray:
        return matrix(getattr(clips[clip], key), width, f"{source}: {key} of {clip}")

    return FeatureSequences(columns_of(modality, width), read, list(clips), padded=False)


# ---------------------------------------------------------------------------------------------------- stacks
def _stacked(tree: Any) -> dict[str, Any] | None:
    """The splits of MAG-BERT's first upload; None where it is another file."""
    for label in LABEL_KEYS:
        keys = (*STACKS.values(), label)
        if has_keys(tree, *keys):
            return splits_of(tree)
        if isinstance(tree, Mapping) and all(key in tree for key in keys):
            return {TRAIN: tree}
    return None


def _read_stacks(source: Source, splits: Mapping[str, Any], tree: Mapping[Any, Any]) -> Imported:
    keys = (*STACKS.values(), *LABEL_KEYS, "id")
    parts = parts_of(source, splits, keys)
    notes = left_out(tree, keys)
    if not splits_of(tree):
        notes.append("no splits: all clips are train")
    rows: list[dict[str, Any]] = []
    places: dict[str, tuple[int, int]] = {}
    for number, part in enumerate(parts):
        labels = next((found for key in LABEL_KEYS if (found := part.column(key)) is not None), [])
        for index, row in enumerate(part.rows()):
            row["split"] = split_of(source, part.name)
            row["label"] = _label_of(labels[index], f"{part.where}: label of {row['clip_id']}")
            places[row["clip_id"]] = (number, index)
            rows.append(row)
    stacks = stacks_of(parts, STACKS)
    return Imported(rows, modalities_of(stacks, places), Labelling(), aligned=one_length(stacks), notes=notes)
