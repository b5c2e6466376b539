"""MUStARD with its features: https://github.com/soujanyaporia/MUStARD (README, data_loader.py).

    sarcasm_data.json      {id: utterance, speaker, context [n], context_speakers [n], show, sarcasm}
    split_indices.p        five pairs (train, test) of places in that file, pickled by Python 2
    audio_features.p       {id: (283, about 10)}, librosa: a row a feature, a column a step
    utterances_final/<net>_<layer>.hdf5     {id: (T, D)}; the same in context_final/ for the whole context
    bert-output.jsonl, bert-output-context.jsonl    a line an utterance, a line a sentence of the contexts

The features are optional, but for one; visual and text ones are read by mustard_stores.py.

An id (`1_60`) names a scene. Its utterance becomes the clip `1_60$_$utterance` with label, speaker and split;
the sentences before it become `1_60$_$c0`, `1_60$_$c1`, ... with split `context`. The visual features of a
context are of all its sentences together: they stand with the last one.

Splits. `fold: 0` to `4` takes that pair of split_indices.p; `speaker_independent: true` tests on FRIENDS and
trains on the other shows. Without either it is fold 0, or speaker independent where split_indices.p is not
there. Neither has validation clips: of the training clips of each class the share `valid` (0.1) is taken,
those whose SHA-256 of the id is smallest, so that it is the same clips whatever else is in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from pipeline.core.columns import numbered
from pipeline.core.errors import FormatError
from pipeline.core.section import Section
from pipeline.corpora.clips import CONTEXT, TEST, TRAIN, UNLABELED, VALID
from pipeline.corpora.mustard import ENTRIES, LABELLING, SPLITS, TEST_SHOW, UTTERANCE, held_out
from pipeline.formats.source import Source, understood
from pipeline.imports.checks import clip_of, listed, matrix, read_json, text_of
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.mustard_stores import bert, bert_files, visual, visual_files
from pipeline.params.explain import settings_of
from pipeline.params.params import ImportParams

KIND_OF_FILES = "MUStARD: sarcasm_data.json with audio_features.p, visual HDF5 or BERT JSONL files"

AUDIO = "audio_features.p"
LIBROSA_283 = [
    *(f"mfcc_{i}" for i in range(13)),
    *(f"mfcc_delta_{i}" for i in range(13)),
    *(f"mel_{i}" for i in range(128)),
    *(f"mel_delta_{i}" for i in range(128)),
    "spectral_centroid",
]
"""The rows of audio_features.p, in the order of extract_audio_features.py"""


class MustardFeaturesSettings(Section):
    """Which split, and which of several feature files."""

    fold: int | None = Field(None, ge=0, le=4)
    """pair of split_indices.p"""
    speaker_independent: bool = False
    """test on FRIENDS"""
    valid: float = Field(0.1, ge=0, lt=1)
    """share of the training clips that validate"""
    visual: str | None = None
    """name of the HDF5 file, e.g. resnet_pool5.hdf5, where there are several"""
    layers: list[int] | None = None
    """layers of BERT (-1 = the last) whose mean is taken; all that the file has where not given"""

    @model_validator(mode="after")
    def _one_split(self) -> MustardFeaturesSettings:
        if self.speaker_independent and self.fold is not None:
            raise ValueError("fold and speaker_independent are two splits; give one of them")
        return self


SETTINGS = MustardFeaturesSettings


def matches(source: Source) -> str:
    """Why this is no folder of MUStARD's features; empty if it is."""
    if source.root.is_file() or source.named(ENTRIES) is None:
        return f"no {ENTRIES}"
    if source.named(AUDIO) or visual_files(source) or bert_files(source)[0]:
        return ""
    return f"{ENTRIES}, but no {AUDIO}, .hdf5 or bert-output.jsonl: no features"


def read(source: Source, params: ImportParams) -> Imported:
    """What the folder holds.

    Raises
    ------
    ParamsError : settings that do not fit the folder
    FormatError : a file is not as described
    """
    settings = settings_of(MustardFeaturesSettings, params.settings, "mustard_features.settings")
    entries = _entries(source)
    rows: list[dict[str, Any]] = []
    with understood(f"{source} (kind {params.kind})"):
        for key, entry in entries.items():
            rows += _rows(source, key, entry)
        splits, notes = _splits(source, entries, settings)
    for row in rows:
        row["split"] = splits[row["video_id"]] if row["split"] != CONTEXT else CONTEXT
    utterances = [row["clip_id"] for row in rows if row["split"] != CONTEXT]
    contexts = [row["clip_id"] for row in rows if row["split"] == CONTEXT]
    with understood(f"{source} (kind {params.kind})"):
        found = {
            "text": bert(source, settings.layers, utterances, contexts),
            "audio": _audio(source, utterances),
            "visual": visual(source, settings.visual, utterances, contexts),
        }
    modalities = {name: sequences for name, sequences in found.items() if sequences is not None}
    if not modalities:
        raise FormatError(f"{source}: no {AUDIO}, .hdf5 or bert-output.jsonl; there are no features")
    shows = sorted({text_of(entry.get("show", "unknown")) for entry in entries.values()})
    notes.append(f"{len(utterances)} utterances of {', '.join(shows)} with {len(contexts)} before them")
    return Imported(rows, modalities, LABELLING, notes=notes)


# ------------------------------------------------------------------------------------------------------- rows
def _entries(source: Source) -> dict[str, Any]:
    path = source.named(ENTRIES)
    if path is None:
        raise FormatError(f"{source}: no {ENTRIES}; expected MUStARD's folder `data`")
    entries = read_json(path)
    if not isinstance(entries, dict) or not entries:
        raise FormatError(f"{path}: expected a JSON object with an entry an id")
    return entries


def _rows(source: Source, key: str, entry: Any) -> list[dict[str, Any]]:
    """The context's sentences in their order, then the utterance."""
    where = f"{source}: {ENTRIES}: {key}"
    if not isinstance(entry, dict) or not isinstance(entry.get("utterance"), str):
        raise FormatError(f"{where}: no utterance; expected utterance, speaker, context, sarcasm")
    if entry.get("sarcasm") not in (True, False, None):  # 0 and 1 are equal to them
        raise FormatError(f"{where}: sarcasm is {entry['sarcasm']!r:.80}; expected true or false")
    context, speakers = entry.get("context") or [], entry.get("context_speakers") or []
    if not isinstance(context, list) or not isinstance(speakers, list):
        raise FormatError(f"{where}: context and context_speakers: expected lists of sentences and names")
    if speakers and len(speakers) != len(context):
        raise FormatError(
            f"{where}: {len(context)} sentences of context and {len(speakers)} speakers of them"
        )
    rows = [
        {
            "clip_id": clip_of(source, key, f"c{index}"),
            "video_id": key,
            "split": CONTEXT,
            "text": str(sentence).strip() or None,
            "speaker": speakers[index] if speakers else None,
            "position": index,
        }
        for index, sentence in enumerate(context)
    ]
    rows.append(
        {
            "clip_id": clip_of(source, key, UTTERANCE),
            "video_id": key,
            "split": TRAIN,
            "text": entry["utterance"].strip() or None,
            "speaker": entry.get("speaker"),
            "class_label": None if entry.get("sarcasm") is None else int(entry["sarcasm"]),
            "position": len(context),
        }
    )
    return rows


# ----------------------------------------------------------------------------------------------------- splits
def _splits(
    source: Source, entries: Mapping[str, Any], settings: MustardFeaturesSettings
) -> tuple[dict[str, str], list[str]]:
    """The split of each id, and what a reader must be told of it."""
    path = source.named(SPLITS)
    if settings.speaker_independent or (settings.fold is None and path is None):
        if lacking := [key for key, entry in entries.items() if not entry.get("show")]:
            raise FormatError(
                f"{source}: {ENTRIES}: no show of {listed(lacking)}; speaker independence needs it"
            )
        test = {key for key, entry in entries.items() if entry["show"] == TEST_SHOW}
        splits = {key: TEST if key in test else TRAIN for key in entries}
        note = f"speaker independent: test = {TEST_SHOW}"
    elif path is None:
        raise FormatError(
            f"{source}: fold is {settings.fold}, but there is no {SPLITS}; or speaker_independent"
        )
    else:
        fold = settings.fold or 0
        splits = _fold(path, source.tree(path), fold, list(entries))
        note = f"speaker dependent: fold {fold} of {SPLITS}"
        if left := [key for key, split in splits.items() if split == UNLABELED]:
            note += f", which has not {len(left)} of {len(entries)} ids: they are unlabeled ({listed(left)})"
    splits |= dict.fromkeys(held_out(entries, splits, settings.valid), VALID)
    return splits, [
        f"{note}; valid = {settings.valid:g} of the training clips of each class, by hash of the id"
    ]


def _fold(path: Path, folds: Any, fold: int, keys: Sequence[str]) -> dict[str, str]:
    """The split of each id by its place in the file."""
    try:
        train, test = (np.asarray(places, np.int64).reshape(-1) for places in folds[fold])
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise FormatError(
            f"{path}: no fold {fold}; expected a list of pairs (train, test) of places"
        ) from error
    both = np.intersect1d(train, test)
    outside = [place for place in (*train, *test) if not 0 <= place < len(keys)]
    if len(both) or outside:
        what = (
            f"both have place {both[0]}"
            if len(both)
            else f"place {outside[0]} is none of {len(keys)} entries"
        )
        raise FormatError(f"{path}: fold {fold}: {what}; is it the {SPLITS} of this {ENTRIES}?")
    places = {keys[int(place)]: TRAIN for place in train} | {keys[int(place)]: TEST for place in test}
    return {key: places.get(key, UNLABELED) for key in keys}


# ------------------------------------------------------------------------------------------------------ audio
def _audio(source: Source, utterances: Sequence[str]) -> FeatureSequences | None:
    path = source.named(AUDIO)
    if path is None:
        return None
    tree = source.tree(path)
    if not isinstance(tree, Mapping):
        raise FormatError(f"{path}: holds a {type(tree).__name__}; expected a dict by id")
    features = {text_of(key): value for key, value in tree.items()}
    keys = {clip: clip.partition("$_$")[0] for clip in utterances}
    shapes = (np.shape(features[key]) for key in keys.values() if key in features)
    shape: tuple[int, ...] = next(shapes, ())
    if len(shape) != 2:
        raise FormatError(f"{path}: shape {shape}; expected (283, T) under the ids of {ENTRIES}")
    width = shape[0]

    def rows_of(clip: str) -> np.ndarray | None:
        value = features.get(keys[clip])
        if value is None:
            return None
        return matrix(np.asarray(value).T, width, f"{path}: clip {clip}, steps x features")

    columns = LIBROSA_283 if width == len(LIBROSA_283) else numbered("audio", width)
    return FeatureSequences(columns, rows_of, list(utterances), padded=False)
