"""MIRD's pickles (qianfan1996/MIRD, `data_loader.py`), of CMU-MOSI, CMU-MOSEI and EmoVoxCeleb.

    {train: D, valid: D, test: D},  D: raw_text (n), audio (n, T, 33), video (n, T, 709), labels (n)
    EmoVoxCeleb: one D without labels, no splits: all its clips are unlabeled

The files have no ids (an `id` is used where one is there): clips are named after split and row,
`train_000012$_$0`. Which clips are of one video is then unknown, so each counts as a video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import UNLABELED
from pipeline.corpora.survey import Labelling
from pipeline.formats.source import Source, understood
from pipeline.formats.text import listed
from pipeline.imports.checks import score_of, split_of
from pipeline.imports.contract import Imported
from pipeline.imports.published import about_sizes
from pipeline.imports.stacks import (
    SplitPart,
    has_keys,
    left_out,
    modalities_of,
    parts_of,
    splits_of,
    stacks_of,
    texts_of,
    tree_of,
)
from pipeline.params.params import ImportParams

KIND_OF_FILES = "MIRD pickles (CMU-MOSI, CMU-MOSEI with 33 + 709 features), also its EmoVoxCeleb"

STACKS = {"audio": "audio", "visual": "video"}
KEYS = ("raw_text", "audio", "video", "labels", "id")


def matches(source: Source) -> str:
    """Why these are no such files; empty where they are."""
    tree = tree_of(source)
    if has_keys(tree, *STACKS.values(), "labels") or _without_splits(tree):
        return ""
    return "no pickle with audio, video and labels in every split, or with only audio, video and raw_text"


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    if reason := matches(source):
        raise FormatError(f"{source}: {reason}; expected a pickle as MIRD's data_loader.py reads it")
    tree = tree_of(source)
    splits = {UNLABELED: tree} if _without_splits(tree) else splits_of(tree)
    rows: list[dict[str, Any]] = []
    places: dict[str, tuple[int, int]] = {}
    with understood(f"{source} (kind {params.kind})"):
        parts = parts_of(source, splits, KEYS)
        for number, part in enumerate(parts):
            for index, row in enumerate(_rows(part, split_of(source, part.name))):
                places[row["clip_id"]] = (number, index)
                rows.append(row)
        modalities = modalities_of(stacks_of(parts, STACKS), places)
    notes = left_out(tree, KEYS if _without_splits(tree) else ())
    if nameless := [part.name for part in parts if "id" not in part.content]:
        notes.append(f"no ids in {listed(nameless)}: clips are named after split and row, each its own video")
    notes += about_sizes(rows)
    return Imported(rows, modalities, Labelling(metrics="magbert"), notes=notes)


def _without_splits(tree: Any) -> bool:
    keys = {*STACKS.values(), "raw_text"}
    return isinstance(tree, Mapping) and keys <= tree.keys() and "labels" not in tree and not splits_of(tree)


def _rows(part: SplitPart, split: str) -> list[dict[str, Any]]:
    rows, labels = part.rows(), part.column("labels")
    for index, (row, text) in enumerate(zip(rows, texts_of(part, "raw_text"), strict=True)):
        row["split"], row["text"] = split, text
        if labels is not None and split != UNLABELED:
            row["label"] = score_of(labels[index], f"{part.where}: label of {row['clip_id']}")
    return rows
