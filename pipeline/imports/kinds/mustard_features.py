"""MUStARD with its features: https://github.com/soujanyaporia/MUStARD (README, data_loader.py).

    sarcasm_data.json, split_indices.p      as in the raw corpus (corpora/kinds/mustard.py)
    audio_features.p       {id: (283, about 10)}, librosa: a row a feature, a column a step
    utterances_final/<net>_<layer>.hdf5     {id: (T, D)}; the same in context_final/ for the whole context
    bert-output.jsonl, bert-output-context.jsonl    a line an utterance, a line a sentence of the contexts

The features are optional, but for one; visual and text ones are read by mustard_stores.py.

Clips are those of the raw corpus, too, but an utterance may lack its label. The visual
features of a context are of all its sentences together: they stand with the last one.

Splits. `fold: 0` to `4` takes that pair of split_indices.p; `speaker_independent: true` tests on FRIENDS and
trains on the other shows. Without either it is fold 0, or speaker independent where split_indices.p is not
there. The share `valid` (0.1) of the training clips validates, chosen as in the raw corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from pipeline.core.columns import numbered
from pipeline.core.errors import FormatError
from pipeline.core.section import Section
from pipeline.core.vocabulary import CONTEXT, TEST, TRAIN, UNLABELED, VALID
from pipeline.corpora.kinds.mustard import (
    ENTRIES,
    FOLDS,
    LABELLING,
    TEST_SHOW,
    UTTERANCE,
    clips_of,
    held_out,
    places_of,
    wrong_with,
)
from pipeline.formats.source import HDF5, Source, understood
from pipeline.formats.text import listed, read_json, text_of
from pipeline.imports.checks import clip_of, matrix
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.kinds.mustard_stores import bert, bert_files, visual
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
    if source.named(AUDIO) or source.with_suffix(*HDF5) or bert_files(source)[0]:
        return ""
    return f"{ENTRIES}, but no {AUDIO}, .hdf5 or bert-output.jsonl: no features"


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    settings = settings_of(MustardFeaturesSettings, params.settings, "mustard_features.settings")
    path = source.named(ENTRIES)
    if path is None:
        raise FormatError(f"{source}: no {ENTRIES}; expected MUStARD's `data` folder")
    entries = read_json(path)
    if not isinstance(entries, dict) or not entries:
        raise FormatError(f"{path}: expected a JSON object with one entry per id")
    with understood(f"{source} (kind {params.kind})"):
        for key, entry in entries.items():
            clip_of(source, key, UTTERANCE)
            for _, wrong in wrong_with(entry):
                raise FormatError(f"{path}: {key}: {wrong}")
            if entry.get("sarcasm") not in (True, False, None):  # 0 and 1 are equal to them
                raise FormatError(
                    f"{path}: {key}: sarcasm is {entry['sarcasm']!r:.80}; expected true or false"
                )
        splits, notes = _splits(source, entries, settings)
        rows = [
            {
                "clip_id": clip_of(source, key, clip.clip_id),
                "video_id": key,
                "split": clip.split,
                "text": (clip.text or "").strip() or None,
                "speaker": clip.speaker,
                "position": clip.position,
                **clip.labels,
            }
            for key, entry in entries.items()
            for clip in clips_of(key, entry, splits[key])
        ]
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
    notes.append(f"{len(utterances)} utterances of {', '.join(shows)} with {len(contexts)} context sentences")
    return Imported(rows, modalities, LABELLING, notes=notes)


# ----------------------------------------------------------------------------------------------------- splits
def _splits(
    source: Source, entries: Mapping[str, Any], settings: MustardFeaturesSettings
) -> tuple[dict[str, str], list[str]]:
    """The split of each id, and what a reader must be told of it."""
    path = source.named(FOLDS)
    if settings.speaker_independent or (settings.fold is None and path is None):
        if lacking := [key for key, entry in entries.items() if not entry.get("show")]:
            raise FormatError(
                f"{source}: {ENTRIES}: no show for {listed(lacking)}; speaker independence needs it"
            )
        splits = {key: TEST if entry["show"] == TEST_SHOW else TRAIN for key, entry in entries.items()}
        note = f"speaker independent: test = {TEST_SHOW}"
    elif path is None:
        raise FormatError(
            f"{source}: fold is {settings.fold}, but there is no {FOLDS}; add it, or set speaker_independent"
        )
    else:
        fold, keys = settings.fold or 0, list(entries)
        train, test = places_of(source.tree(path), fold)
        wrong = [f"train and test both have place {place}" for place in sorted({*train} & {*test})]
        outside = (place for place in (*train, *test) if not 0 <= place < len(keys))
        wrong += [f"place {place} is not among {len(keys)} entries" for place in outside]
        if wrong:
            raise FormatError(f"{path}: fold {fold}: {wrong[0]}; is it the {FOLDS} of this {ENTRIES}?")
        placed = {keys[place]: TRAIN for place in train} | {keys[place]: TEST for place in test}
        splits = {key: placed.get(key, UNLABELED) for key in keys}
        note = f"speaker dependent: fold {fold} of {FOLDS}"
        if left := [key for key, split in splits.items() if split == UNLABELED]:
            note += f", which lacks {len(left)} of {len(entries)} ids: they are unlabeled ({listed(left)})"
    splits |= dict.fromkeys(held_out(entries, splits, settings.valid), VALID)
    return splits, [
        f"{note}; valid = {settings.valid:g} of the training clips of each class, by hash of the id"
    ]


# ------------------------------------------------------------------------------------------------------ audio
def _audio(source: Source, utterances: Sequence[str]) -> FeatureSequences | None:
    path = source.named(AUDIO)
    if path is None:
        return None
    tree = source.tree(path)
    if not isinstance(tree, Mapping):
        raise FormatError(f"{path}: contains a {type(tree).__name__}; expected a dict by id")
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
