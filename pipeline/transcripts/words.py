"""Words (media/words.py says what one is): where they are in a text, and features pooled over each.

Word times are seconds from the clip's start, [start_s, end_s).

Symbols: n frames or tokens of a clip, w words, D columns.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core.errors import ClipError


def locate(words: Sequence[str], text: str) -> np.ndarray:
    """Where the words of a word table are in the transcript, looked for in order.

    Parameters
    ----------
    words : as they are spoken; case and composition of accents do not matter
    text : in NFC

    Returns
    -------
    shape (w, 2), int64: first and one past the last character; where one word holds another, the first match
        after the word before is taken

    Raises
    ------
    ClipError : a word is not in the text after the one before it
    """
    found = np.empty((len(words), 2), np.int64)
    # character by character, so that places in the folded text are places in the text
    folded = [character.casefold() for character in text]
    lengths = np.cumsum([0, *(len(part) for part in folded)])
    haystack, at = "".join(folded), 0
    for i, word in enumerate(words):
        needle = unicodedata.normalize("NFC", word).strip().casefold()
        begin = haystack.find(needle, at)
        if begin < 0:
            raise ClipError(
                f"word {i + 1} of its word times, {word!r}, is not in its transcript from there on"
            )
        at = begin + len(needle)
        found[i] = np.searchsorted(lengths, begin, "right") - 1, np.searchsorted(lengths, at, "left")
    return found


def times_of(words: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """`start_s` and `end_s` of each word, shape (w, 2), float64."""
    return np.array([[word["start_s"], word["end_s"]] for word in words], np.float64).reshape(-1, 2)


def pool_frames(features: np.ndarray, real: np.ndarray, times: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Mean of the real frames whose centre lies in each word; zeros where a word has frames, but no real one.

    A word in which no frame's centre lies (shorter than the distance of frames, or outside the track) takes
    the frame whose centre is nearest to its middle, the earlier of two.

    Parameters
    ----------
    features : (n, D), n >= 1
    real : (n,) bool
    times : (n,) centres, seconds, not decreasing
    words : (w, 2) seconds, each [start, end)

    Returns
    -------
    (w, D) float32
    """
    times = np.asarray(times, np.float64)
    first, last = (np.searchsorted(times, words[:, side], "left") for side in (0, 1))
    empty = np.flatnonzero(last <= first)
    middle = words[empty].mean(axis=1)
    right = np.searchsorted(times, middle, "left").clip(1, max(len(times) - 1, 1))
    left = right - 1
    right = right.clip(max=len(times) - 1)
    nearest = np.where(times[right] - middle < middle - times[left], right, left)
    first[empty], last[empty] = nearest, nearest + 1
    return _means(features, real, first, last)


def pool_tokens(features: np.ndarray, starts: np.ndarray, ends: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Mean of the tokens that share a character with each word.

    A word in whose characters no token lies (the tokenizer dropped them) takes the token before it, or the
    first. Words after the last token, which the text encoder cut off, get no row.

    Parameters
    ----------
    features : (n, D) states
    starts, ends : (n,) characters of each token; -1 for special tokens, which no word has
    words : (w, 2) characters, not decreasing

    Returns
    -------
    (up to w, D) float32; empty where no token is left
    """
    kept = np.flatnonzero((starts >= 0) & (ends > starts))
    if not len(kept):
        return np.zeros((0, features.shape[1]), np.float32)
    starts, ends = starts[kept], np.maximum.accumulate(ends[kept])
    words = words[words[:, 0] < ends[-1]]
    first = np.searchsorted(ends, words[:, 0], "right")
    last = np.searchsorted(starts, words[:, 1], "left")
    empty = last <= first
    first[empty] = (first[empty] - 1).clip(0)
    last[empty] = first[empty] + 1
    return _means(features[kept], np.ones(len(kept), np.bool_), first, last)


def _means(features: np.ndarray, real: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Mean over the real rows first..last - 1 of each word, shape (w, D) float32; zero without a real row."""
    if not len(first):
        return np.zeros((0, features.shape[1]), np.float32)
    # reduceat sums from each cut to the next: with first and last in turn, every other sum is a word. The row
    # of zeros at the end lets a word reach it.
    padded = np.concatenate(
        [np.where(real[:, None], features, np.float64(0)), np.zeros((1, features.shape[1]))]
    )
    cuts = np.stack([first, last], axis=1).reshape(-1)
    sums = np.add.reduceat(padded, cuts, axis=0)[::2]
    count = np.add.reduceat(np.append(real, False).astype(np.int64), cuts)[::2]
    return (sums / np.maximum(count, 1)[:, None]).astype(np.float32)
