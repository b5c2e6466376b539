"""MMSA's pickles: CMU-MOSI, CMU-MOSEI, CH-SIMS (v2) of thuiar/MMSA, MMSA-FET's files, CIDer's OOD sets.

    {train: D, valid: D, test: D}, also train_mix (CH-SIMS v2), test_ood
    D: id, raw_text, text (n, L, 768), text_bert (n, 3, L), audio (n, T, D), vision (n, T, D), audio_lengths,
       vision_lengths, annotations, regression_labels, regression_labels_T/_A/_V (README of thuiar/MMSA)

A pickle, a joblib dump, or a folder of pickles named after splits (`train.pkl`, ..., `test_OOD.pkl`). Keys
that a writer left out are absent; `classification_labels` (deprecated there) are not read.
The keys `config` and `align` of MMSA-FET are no splits.

*Aligned* (the steps of all modalities are the same) is what has MMSA-FET's `align`, in the file or in its
`config`; or gives no lengths and has one T for all clips of all modalities.
Of `train_mix`, rows with mask 1 are training clips and the others unlabeled; rows that `train` has too are
counted once. Without a mask, the rows of `train` are the labeled ones.
Order: the numbers in the ids, not the order of the file, which MMSA-FET leaves to chance.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import TRAIN, UNLABELED
from pipeline.corpora.survey import Labelling
from pipeline.formats.source import Source, understood
from pipeline.formats.text import text_of
from pipeline.imports.checks import score_of, split_of
from pipeline.imports.clip_names import named_rows
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.published import about_sizes, about_sum
from pipeline.imports.stacks import (
    TRAIN_MIX,
    ModalityStack,
    Places,
    SplitPart,
    left_out,
    one_length,
    parts_of,
    sequences_of,
    splits_of,
    stacks_of,
    texts_of,
    tree_of,
)
from pipeline.params.params import ImportParams

KIND_OF_FILES = "MMSA and MMSA-FET pickles (CMU-MOSI, CMU-MOSEI, CH-SIMS), also CIDer's OOD sets"

LABEL_KEYS = {
    "label": "regression_labels",
    "label_text": "regression_labels_T",
    "label_audio": "regression_labels_A",
    "label_visual": "regression_labels_V",
}
STACKS = {"text": "text", "audio": "audio", "visual": "vision"}
LENGTHS = {"audio": "audio_lengths", "visual": "vision_lengths"}
NOT_SPLITS = ("config", "align")  # of MMSA-FET
SIGNS = {"negative": -1, "neutral": 0, "positive": 1}
KEYS = (
    *("id", "raw_text", "text", "text_bert", "audio", "vision", "audio_lengths", "vision_lengths"),
    *("annotations", "mask", *LABEL_KEYS.values()),
)


def matches(source: Source) -> str:
    """Why these are no such files; empty where they are."""
    tree = tree_of(source)
    if tree is None:
        return "neither a single pickle nor pickles named after splits"
    contents = splits_of(tree).values()
    if any(isinstance(content, Mapping) and LABEL_KEYS["label"] in content for content in contents):
        return ""
    return "no split has regression_labels"


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    if reason := matches(source):
        raise FormatError(f"{source}: {reason}; expected a pickle as described in MMSA's README")
    tree = tree_of(source)
    notes = left_out(tree, NOT_SPLITS)
    modalities: dict[str, FeatureSequences] = {}
    with understood(f"{source} (kind {params.kind})"):
        parts = parts_of(source, splits_of(tree), KEYS)
        rows, places = _rows(source, parts, notes)
        stacks = stacks_of(parts, STACKS)
        for name, found in stacks.items():
            more = _text(parts, found, places, notes) if name == "text" else _lengths(name, parts, places)
            sequences = sequences_of(name, found, places, **more)
            if sequences is not None:
                modalities[name] = sequences
        notes += _disagreements(rows)
    notes += about_sizes(rows)
    if source.pickle is not None:
        notes += about_sum(source, source.pickle, rows)
    present = {name: stacks[name] for name in modalities}
    return Imported(rows, modalities, _labelling(rows), aligned=_aligned(tree, parts, present), notes=notes)


# ------------------------------------------------------------------------------------------------------ rows
def _rows(
    source: Source, parts: Sequence[SplitPart], notes: list[str]
) -> tuple[list[dict[str, Any]], dict[str, tuple[int, int]]]:
    """Rows of the clip table, and for each clip its split's number and its row there."""
    rows: list[dict[str, Any]] = []
    places: dict[str, tuple[int, int]] = {}
    # train_mix last: by then the clips of train are known
    for number, part in sorted(enumerate(parts), key=lambda item: _is_mix(item[1])):
        found = _rows_of(part)
        mixed = _is_mix(part)
        splits = _mixed_splits(part, found, places) if mixed else [split_of(source, part.name)] * part.count
        twice = 0
        for row, (clip, split) in enumerate(zip(found, splits, strict=True)):
            if mixed and split == TRAIN and clip["clip_id"] in places:
                twice += 1
                continue
            clip["split"] = split
            if split == UNLABELED:
                clip |= dict.fromkeys(LABEL_KEYS)
            places[clip["clip_id"]] = (number, row)
            rows.append(clip)
        if mixed:
            notes.append(
                f"{part.name}: {splits.count(UNLABELED)} clips are unlabeled; of {splits.count(TRAIN)} "
                f"labeled ones {twice} are already in train and are counted once"
            )
    return rows, places


def _is_mix(part: SplitPart) -> bool:
    return part.name.lower() == TRAIN_MIX


def _rows_of(part: SplitPart) -> list[dict[str, Any]]:
    ids = part.column("id")
    if ids is None and part.count:
        raise FormatError(f"{part.where} has no id; expected video_id$_$clip_id for every clip")
    rows = named_rows(part.where, ids or [])
    texts = texts_of(part, "raw_text")
    annotations = part.column("annotations") or [None] * part.count
    labels = {name: part.column(key) for name, key in LABEL_KEYS.items()}
    for index, row in enumerate(rows):
        row["text"] = texts[index]
        row["annotation"] = annotations[index]
        for name, values in labels.items():
            where = f"{part.where}: {LABEL_KEYS[name]} of {row['clip_id']}"
            row[name] = None if values is None else score_of(values[index], where)
    return rows


def _mixed_splits(part: SplitPart, rows: Sequence[Mapping[str, Any]], places: Places) -> list[str]:
    mask = part.column("mask")
    if mask is None:
        return [TRAIN if row["clip_id"] in places else UNLABELED for row in rows]
    flags = [score_of(value, f"{part.where}: mask[{index}]") for index, value in enumerate(mask)]
    if strange := sorted({str(flag) for flag in flags if flag not in (0, 1)}):
        raise FormatError(f"{part.where}: mask has {', '.join(strange[:5])}; expected 1 (labeled) or 0")
    return [TRAIN if flag else UNLABELED for flag in flags]


def _disagreements(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A note on annotations (Negative, ...) that are not the sign of the label; takes them from the rows."""
    odd = []
    for row in rows:
        annotation, label = text_of(row.pop("annotation")), row["label"]
        sign = SIGNS.get(annotation.strip().lower())
        if sign is not None and label is not None and np.sign(label) != sign:
            odd.append(f"{row['clip_id']}, {annotation} with {label:g}")
    message = f"{len(odd)} annotations contradict the label, which is used; first: "
    return [message + odd[0]] if odd else []


def _labelling(rows: Sequence[Mapping[str, Any]]) -> Labelling:
    """CH-SIMS is told by its unimodal labels within [-1, 1], Mandarin by its characters."""
    texts = [row["text"] for row in rows if row["text"]]
    chinese = sum(any(unicodedata.name(char, "").startswith("CJK") for char in text) for text in texts)
    language = "zh" if texts and 2 * chinese > len(texts) else "en"
    largest = max((abs(row["label"]) for row in rows if row["label"] is not None), default=0.0)
    unimodal = any(row["label_text"] is not None for row in rows)
    if largest <= 1 and (unimodal or language == "zh"):
        return Labelling(label_range=(-1.0, 1.0), language=language, metrics="sims")
    return Labelling(language=language)


# ------------------------------------------------------------------------------------------------- sequences
def _lengths(modality: str, parts: Sequence[SplitPart], places: Places) -> dict[str, Any]:
    key = LENGTHS[modality]
    by_part = [part.column(key) for part in parts]
    lengths = {}
    for clip, (number, row) in places.items():
        if (values := by_part[number]) is None:
            continue
        where = f"{parts[number].where}: {key} of {clip}"
        length = score_of(values[row], where)
        if length is None or length < 0 or length != int(length):
            raise FormatError(f"{where} is {length}; expected a whole number of steps")
        lengths[clip] = int(length)
    return {"lengths": lengths}


def _text(
    parts: Sequence[SplitPart],
    stacks: Sequence[ModalityStack | None],
    places: Places,
    notes: list[str],
) -> dict[str, Any]:
    """Token ids and lengths from `text_bert`: ids, mask and segment ids of every step of `text`."""
    tokens: list[np.ndarray | None] = []
    for part, stack in zip(parts, stacks, strict=True):
        found = None
        if "text_bert" in part.content and part.count:
            found = np.asarray(part.content["text_bert"])
            if found.ndim != 3 or found.shape[1] != 3:
                raise FormatError(f"{part.where}: text_bert has shape {found.shape}, expected (n, 3, L)")
            if stack is not None and set(stack.steps) != {found.shape[2]}:
                raise FormatError(
                    f"{part.where}: text_bert has shape {found.shape}, but text has {stack.steps[0]} steps; "
                    "expected the same L in both"
                )
        tokens.append(None if stack is None else found)
        if stack is None and found is not None:
            notes.append(f"{part.name}: text_bert without text; its token ids are ignored")
    if all(found is None for found in tokens):
        return {}

    def token_ids(clip: str) -> np.ndarray | None:
        number, row = places[clip]
        found = tokens[number]
        return None if found is None else found[row, 0].astype(np.int64)

    lengths = {
        clip: int(found[row, 1].astype(bool).sum())
        for clip, (number, row) in places.items()
        if (found := tokens[number]) is not None
    }
    return {"token_ids": token_ids, "lengths": lengths}


def _aligned(
    tree: Any, parts: Sequence[SplitPart], stacks: Mapping[str, Sequence[ModalityStack | None]]
) -> bool:
    config = tree.get("config")
    if tree.get("align") or (isinstance(config, Mapping) and config.get("align")):
        return True
    given = any(key in part.content for part in parts for key in LENGTHS.values())
    return not given and one_length(stacks)
