"""Which word each step of a text belongs to, so that all of a word's pieces are hit together.

A word is what media/words.py calls one: between spaces, of Chinese a character. Tokens and rows of features
get the numbers of their words in the places of ids and of values; so what cuts a sentence, or puts the
utterances before a clip end to end, does the same with the numbers.

    fine-tuned   the run's tokenizer says which characters a token stands for
    frozen       data/features says it of the encoder's rows; with `align: words` every row is a word
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from models.core.backbones import Tokenizer
from models.core.batch import Reading, Tokens
from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import CONTEXT, TEST
from pipeline.datasets.assembly.aligned import WORDS
from pipeline.datasets.splits import Split
from pipeline.datasets.training_set import TrainingSet, read_stats
from pipeline.media.words import spans
from pipeline.params.params import Params
from pipeline.robustness.media.sets import FEATURES, set_with
from pipeline.store.store import FeatureStore
from pipeline.training.loop.missing import contexts

NO_WORD = -1  # number of a step that is of no word: special tokens, padding


def text_folders(params: Params) -> dict[str, Path]:
    """The folder of the text features that each training set is made of."""
    return {name: FEATURES / chosen.text for name, chosen in params.assemble.items()}


def word_of(text: str, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The word that each token ends in, (n,) int64; of a lone space the next; NO_WORD of special tokens.

    Parameters
    ----------
    start, end : (n,) characters of each token; -1 of special tokens
    """
    ends = np.array([last for _, last in spans(text)], np.int64)
    found = np.searchsorted(ends, np.maximum(end - 1, start), "right").clip(max=len(ends) - 1)
    return np.where(start < 0, NO_WORD, found)


class WordNumbers(Tokenizer):
    """Gives, in place of the id of each token, one more than the number of its word; 0 of special tokens."""

    def encode(
        self, texts: list[str], max_length: int, keep: Literal["first", "last"] = "first"
    ) -> list[np.ndarray]:
        if not texts:
            return []
        self._tokenizer.truncation_side = "right" if keep == "first" else "left"
        tokens = self._tokenizer(
            texts,
            truncation=True,
            max_length=max_length,
            padding=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        self._tokenizer.truncation_side = "right"
        found = []
        for text, offsets, special in zip(
            texts, tokens["offset_mapping"], tokens["special_tokens_mask"], strict=True
        ):
            start, end = np.array(offsets, np.int64).reshape(-1, 2).T
            start = np.where(np.array(special, bool), -1, start)
            found.append(word_of(text, start, end) + 1)
        return found


def numbered_split(assembled: Path, reading: Reading, features: Path | None) -> Split:
    """The test split of a set as a run reads it, of which `word_numbers` makes use.

    Parameters
    ----------
    features : the folder of the text features that the set is made of

    Raises
    ------
    MsaError : nothing says which words the rows of its text features are
    """
    reading = replace(reading, waveform=0, absent=True)
    if reading.tokenizer is not None:
        numbers = WordNumbers(reading.tokenizer._tokenizer)
        reading = replace(reading, tokenizer=numbers, modalities=())
        return TrainingSet.load(assembled, reading, only=(TEST,)).splits[TEST]
    reading = replace(reading, modalities=("text",))
    with set_with(assembled, {"text": _row_numbers(assembled, features)}) as folder:
        return TrainingSet.load(folder, reading, only=(TEST,)).splits[TEST]


def word_numbers(split: Split, rows: Tensor) -> dict[str, np.ndarray]:
    """The words of some clips and of what was said before them, (B, T) int64 from 0 on; NO_WORD of no word.

    By `text` and `context text`, as what is drawn for them.
    """
    found = {}
    for prefix, inputs in contexts(split.batch(rows)).items():
        part = inputs.tokens or inputs.text
        assert part is not None
        values = part.ids if isinstance(part, Tokens) else part.values[..., 0]
        found[f"{prefix}text"] = in_order(torch.where(part.mask, values.long() - 1, NO_WORD).cpu().numpy())
    return found


def in_order(numbers: np.ndarray) -> np.ndarray:
    """Numbers of words (B, T), which differ where the next word begins, as 0, 1, 2 ... of each row."""
    found = np.full(numbers.shape, NO_WORD)
    for row, own in zip(found, numbers, strict=True):
        said = own[own != NO_WORD]
        row[own != NO_WORD] = np.cumsum(np.diff(said, prepend=said[:1]) != 0)
    return found


def _row_numbers(assembled: Path, features: Path | None) -> dict[str, np.ndarray]:
    """In every column of the text rows of each clip, one more than the number of the row's word, or 0.

    No two words of a split have one number.
    """
    entry = read_stats(assembled)["modalities"]["text"]
    lengths, texts = _text_rows(assembled)
    if entry.get("align") == WORDS:
        of_clips = {clip_id: np.arange(length) for clip_id, length in lengths.items()}
    else:
        of_clips = _stored_words(entry, features, lengths, texts)
    found, first = {}, 1
    for clip_id, words in of_clips.items():
        numbers = np.where(words == NO_WORD, 0, words + first)
        first = max(first, int(numbers.max(initial=0)) + 1)
        found[clip_id] = np.repeat(numbers[:, None], entry["dim"], axis=1).astype(np.float32)
    return found


def _stored_words(
    entry: Mapping[str, Any],
    features: Path | None,
    lengths: Mapping[str, int],
    texts: Mapping[str, str],
) -> dict[str, np.ndarray]:
    """The word of each text row of the clips, from the features that the set is made of."""
    found = {}
    for row in [] if features is None else FeatureStore(features).stream():
        if row.clip_id in lengths and row.char_start is not None and row.char_end is not None:
            words = word_of(texts.get(row.clip_id, ""), row.char_start, row.char_end)
            if len(words) <= entry["max_steps"] or entry["shorten"] == "cut":
                found[row.clip_id] = words[: entry["max_steps"]]
    unlike = [clip_id for clip_id, length in lengths.items() if len(found.get(clip_id, ())) != length]
    if unlike:
        raise MsaError(
            f"text unit word: the words of the text features of {len(unlike)} of {len(lengths)} test clips "
            f"are unknown (first {unlike[0]!r}; looked for in {features}): imported features do not name "
            "them, pooled steps span several words, and others need their text stage's output there; use "
            "--text-unit piece"
        )
    return found


def _text_rows(assembled: Path) -> tuple[dict[str, int], dict[str, str]]:
    """How many text rows each clip of the test and context splits has, where it has some; what is said."""
    lengths: dict[str, int] = {}
    texts: dict[str, str] = {}
    for file in (assembled / f"{split}.parquet" for split in (TEST, CONTEXT)):
        if file.exists():
            table = pq.read_table(file, columns=["clip_id", "transcript", "text"])
            clip_ids = table["clip_id"].to_pylist()
            counts = pc.list_value_length(table["text"]).to_pylist()
            lengths |= {i: count for i, count in zip(clip_ids, counts, strict=True) if count}
            texts |= {
                i: text or "" for i, text in zip(clip_ids, table["transcript"].to_pylist(), strict=True)
            }
    return lengths, texts
