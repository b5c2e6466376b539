"""A folder of UR-FUNNY's six pickles, made up: four punchlines and the sentences before them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

FOLDS = {"train": [101, 102], "dev": [103], "test": [104]}
LABELS = {101: 1, 102: 0, 103: 1, 104: 0}
WORDS = {
    101: [["hello", "all"], ["so", "I", "said"], ["it", "broke"]],
    102: [["then"], ["nobody", "came"]],
    103: [["that", "was", "me"]],
    104: [["one", "two"], ["three"]],
}
"""Sentences of each id, the punchline last"""
VOCABULARY = sorted({word for sentences in WORDS.values() for sentence in sentences for word in sentence})


def value(key: int, sentence: int, word: int, column: int) -> float:
    """A made-up value that says where it belongs."""
    return key + sentence / 10 + word / 100 + column / 100_000


def features(key: int, sentence: int, width: int) -> list[list[float]]:
    """Nested lists, as the pickles have them."""
    words = WORDS[key][sentence]
    return [[value(key, sentence, word, column) for column in range(width)] for word in range(len(words))]


def glove() -> np.ndarray:
    """A vector a word of the vocabulary."""
    return np.random.default_rng(0).normal(size=(len(VOCABULARY), 300))


def intervals(key: int, sentence: int) -> list[list[float]]:
    """Words of half a second from second 10 x sentence on."""
    return [[10 * sentence + i / 2, 10 * sentence + (i + 1) / 2] for i in range(len(WORDS[key][sentence]))]


def language(key: int) -> dict[str, Any]:
    """The record of an id in language_sdk.pkl."""
    *context, punchline = WORDS[key]
    last = len(context)
    indexes = [[VOCABULARY.index(word) for word in words] for words in WORDS[key]]
    return {
        "punchline_embedding_indexes": indexes[-1],
        "context_embedding_indexes": indexes[:-1],
        "punchline_sentence": " ".join(punchline),
        "context_sentences": [" ".join(words) for words in context],
        "punchline_intervals": intervals(key, last),
        "context_intervals": [intervals(key, i) for i in range(last)],
    }


def record(key: int, width: int) -> dict[str, Any]:
    """The record of an id in a pickle of features."""
    last = len(WORDS[key]) - 1
    return {
        "punchline_features": features(key, last, width),
        "context_features": [features(key, i, width) for i in range(last)],
    }


def make(folder: Path, protocol: int = 4, **changed: Any) -> Path:
    """Write the pickles; `changed` replaces the content of some, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "data_folds": FOLDS,
        "language_sdk": {key: language(key) for key in WORDS},
        "openface_features_sdk": {key: record(key, 371) for key in WORDS},
        "covarep_features_sdk": {key: record(key, 81) for key in WORDS},
        "humor_label_sdk": LABELS,
        "word_embedding_list": [row.tolist() for row in glove()],
        **changed,
    }
    for name, tree in content.items():
        if tree is not None:
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(tree, protocol=protocol))
    return folder
