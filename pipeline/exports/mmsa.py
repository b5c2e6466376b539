"""MMSA's pickle: what thuiar/MMSA and its kin (Self-MM, ALMT, KuDA, LNLN ...) train on.

    {train: D, valid: D, test: D}
    D: id, raw_text, text (n, L, D), text_bert (n, 3, L), audio (n, T, D), vision (n, T, D), audio_lengths,
       vision_lengths, annotations, classification_labels, regression_labels, regression_labels_T/_A/_V

Sequences are padded with zeros behind to one length for all splits; a clip without a modality has zeros, and
the length 1, because MMSA packs every sequence. `text_bert` has BERT's token ids, mask and segment ids; it is
written where each clip has as many tokens of MMSA's BERT as rows of text features, for they share one length.
Without lengths is what has a row a word in all modalities (`align: words`), which MMSA calls aligned.

Clips that are only in other splits (unlabeled, test_ood, context) are left out.
"""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models.core.backbones import Tokenizer, load_tokenizer
from pipeline.api.clips import LoadedClips
from pipeline.api.sets import LoadedSet
from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import TEST, TRAIN, VALID

KIND_OF_FILES = "MMSA's pickle"
EXPORTED = (TRAIN, VALID, TEST)
STACKS = {"text": "text", "audio": "audio", "visual": "vision"}
SUFFIXES = {"label": "", "label_text": "_T", "label_audio": "_A", "label_visual": "_V"}
ANNOTATIONS = ("Negative", "Neutral", "Positive")
BERT = {  # by language, a model with the vocabulary of MMSA's BERT (bert-base-uncased, bert-base-chinese)
    "en": ("minilm", None),
    "zh": ("google-bert/bert-base-chinese", "8f23c25b06e129b6c986331a13d8d025a92cf0ea"),
}


def write(found: LoadedSet, folder: Path) -> list[str]:
    """`aligned.pkl` or `unaligned.pkl`; MsaError of a classification, which these files do not have."""
    stats = found.stats
    if stats["task"] != "regression":
        raise MsaError(
            f"{stats['dataset']}: has the classes {', '.join(stats['class_names'])}, but MMSA's pickle has "
            "scores; export it --as hf, webdataset or csv"
        )
    aligned = any("align" in entry for entry in stats["modalities"].values())
    steps = {
        stream: max((len(frames[stream]) for name in EXPORTED for frames in found[name].values()), default=0)
        for stream in stats["modalities"]
    }
    if aligned:
        steps = dict.fromkeys(steps, max(steps.values()))
    tokens, reason = _tokens(found)
    content = {name: _split(found[name], steps, aligned) for name in EXPORTED}
    for name in EXPORTED if tokens else ():
        content[name]["text_bert"] = _text_bert([tokens[clip] for clip in found[name]], steps["text"])
    with (folder / f"{'aligned' if aligned else 'unaligned'}.pkl").open("wb") as file:
        pickle.dump(content, file, protocol=4)
    notes = [] if tokens else [f"without text_bert, so train with use_bert false: {reason}"]
    others = {name: len(clips) for name, clips in found.items() if name not in EXPORTED and clips}
    notes += [f"omitted: {count} clips of {name}" for name, count in others.items()]
    shapes = [f"{STACKS[name]} {count} x {len(found[TRAIN].columns(name))}" for name, count in steps.items()]
    scaled = "features are scaled already (normalize in params.yaml): leave need_normalized false"
    return [f"{', '.join(shapes)}; {scaled}", *notes]


def _split(clips: LoadedClips, steps: dict[str, int], aligned: bool) -> dict[str, Any]:
    """D, without text_bert."""
    facts = [clips.facts[clip] for clip in clips]
    labels = np.array([fact["label"] for fact in facts], np.float32)
    signs = np.sign(labels).astype(np.int64) + 1
    found: dict[str, Any] = {
        "id": np.array(list(clips), dtype=np.str_),
        "raw_text": np.array([fact["transcript"] or "" for fact in facts], dtype=np.str_),
        "annotations": np.array([ANNOTATIONS[sign] for sign in signs], dtype=np.str_),
        "classification_labels": signs,
    }
    for column, suffix in SUFFIXES.items():
        values = [fact[column] for fact in facts]
        if column == "label" or (values and None not in values):
            found[f"regression_labels{suffix}"] = np.array(values, np.float32)
    for stream, key in STACKS.items():
        if stream in steps:
            padded, lengths = clips.padded(stream)
            block = np.zeros((len(clips), steps[stream], len(clips.columns(stream))), np.float32)
            block[:, : padded.shape[1]] = padded
            found[key] = block
            if stream != "text" and not aligned:
                found[f"{key}_lengths"] = np.maximum(lengths, 1)
    return found


def _tokens(found: LoadedSet) -> tuple[dict[str, np.ndarray], str]:
    """BERT's token ids of each clip, as many as its text features have rows; none, and why."""
    entry = found.stats["modalities"].get("text")
    if entry is None:
        return {}, "the set has no text features"
    longest = entry["provenance"]["params"].get("max_length", entry["max_steps"])
    tokens: dict[str, np.ndarray] = {}
    for split in EXPORTED:
        for clip, frames in found[split].items():
            fact, rows = found[split].facts[clip], len(frames["text"])
            if fact["language"] not in BERT:
                return {}, f"MMSA has no BERT for the language {fact['language']} of clip {clip}"
            try:
                tokenizer = _tokenizer(*BERT[fact["language"]])
            except MsaError as error:
                return {}, str(error)
            ids = tokenizer.encode([fact["transcript"] or ""], longest)[0][
                : entry["max_steps"] if rows else 0
            ]
            if len(ids) != rows:
                return {}, f"clip {clip} has {len(ids)} BERT tokens and {rows} rows of text features"
            tokens[clip] = ids
    return tokens, ""


@cache
def _tokenizer(model: str, revision: str | None) -> Tokenizer:
    return load_tokenizer(model, revision)


def _text_bert(tokens: list[np.ndarray], steps: int) -> np.ndarray:
    """(n, 3, L): ids, mask and segment ids."""
    found = np.zeros((len(tokens), 3, steps), np.int64)
    for place, ids in zip(found, tokens, strict=True):
        place[0, : len(ids)], place[1, : len(ids)] = ids, 1
    return found
