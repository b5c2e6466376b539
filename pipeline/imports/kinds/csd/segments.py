"""What of a computational sequence belongs to a clip: frames, words, and means of frames over words.

Symbols: T frames of a video or clip, W words of a clip, D columns; all times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from pipeline.formats.text import text_of
from pipeline.imports.checks import PAUSE, matrix
from pipeline.imports.contract import FeatureSequences
from pipeline.imports.kinds.csd.files import Csd

_INSTANT_S = 1e-6  # a frame without length still is at its time


class Segment(NamedTuple):
    """A labelled part of a video.

    Attributes
    ----------
    clip, video : ids
    start_s, end_s : in the video
    label : None where the file has NaN
    key : the entry `video[segment]` of sequences that are cut already; None = cut the video's
    position : order in the video
    """

    clip: str
    video: str
    start_s: float
    end_s: float
    label: float | None
    key: str | None
    position: int


def sequences_of(
    file: Csd,
    modality: str,
    segments: Mapping[str, Segment],
    words: Mapping[str, list[dict[str, Any]]] | None = None,
) -> FeatureSequences:
    """The frames of each clip as they are; or a row for each of its words, the mean of the frames over it."""
    entry_of = lru_cache(maxsize=1)(file.entry)  # clips of a video follow each other

    def part(clip: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Features (T, D) and intervals (T, 2) in the video's time; None where there are none."""
        segment = segments[clip]
        if segment.key is not None and segment.key in file:
            entry = entry_of(segment.key)
            kept = np.arange(len(entry.intervals))
        elif segment.video in file:
            entry = entry_of(segment.video)
            starts, ends = entry.intervals[:, 0], _ends(entry.intervals)
            begun = starts < segment.end_s  # a comparison with NaN is false
            kept = np.flatnonzero(begun & (ends > segment.start_s))
        else:
            return None
        if not len(kept):
            return None
        first, last = int(kept[0]), int(kept[-1]) + 1
        rows = np.asarray(entry.features[first:last]).reshape(last - first, -1)
        return matrix(rows[kept - first], file.width, f"{file.path}: clip {clip}"), entry.intervals[kept]

    def rows_of(clip: str) -> np.ndarray | None:
        found = part(clip)
        if words is None or found is None:
            return None if found is None else found[0]
        spans = np.array([[word["start_s"], word["end_s"]] for word in words[clip]]) + segments[clip].start_s
        return pooled(*found, spans) if words[clip] else None

    def times_of(clip: str) -> np.ndarray | None:
        if words is not None:
            return np.array([(word["start_s"] + word["end_s"]) / 2 for word in words[clip]])
        found = part(clip)
        return None if found is None else found[1].mean(axis=1) - segments[clip].start_s

    return FeatureSequences(file.columns(modality), rows_of, list(segments), padded=False, times=times_of)


def _ends(intervals: np.ndarray) -> np.ndarray:
    return np.maximum(intervals[:, 1], intervals[:, 0] + _INSTANT_S)


def pooled(features: np.ndarray, intervals: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Means of frames over words, weighted by the seconds that frame and word share.

    Parameters
    ----------
    features : (T, D); values that are not finite enter no mean
    intervals : (T, 2) of the frames; NaN = shares time with no word
    words : (W, 2)

    Returns
    -------
    (W, D) float64; NaN where a word has frames, but none with a finite value in this column; zeros where no
    frame overlaps
    """
    shared = np.minimum(_ends(intervals), _ends(words)[:, None]) - np.maximum(intervals[:, 0], words[:, :1])
    shared = np.where(shared > 0, shared, 0.0)  # NaN is not above 0
    finite = np.isfinite(features)
    sums = shared @ np.where(finite, features, 0.0)
    weights = shared @ finite.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = np.where(weights > 0, sums / weights, np.nan)
    means[~(shared > 0).any(axis=1)] = 0.0
    return means


def words_of(file: Csd, segment: Segment) -> list[dict[str, Any]]:
    """Words whose middle lies in the clip, pauses left out, with times from the clip's start."""
    key = segment.key if segment.key is not None and segment.key in file else segment.video
    if key not in file:
        return []
    entry = file.entry(key)
    middles = entry.intervals.mean(axis=1)
    inside = (middles >= segment.start_s) & (middles < segment.end_s)
    texts = np.asarray(entry.features[()]).reshape(len(middles), -1)[:, 0]
    length = segment.end_s - segment.start_s
    words = []
    for index in np.flatnonzero(inside | (np.isfinite(middles) & (key == segment.key))):
        text = text_of(texts[index]).strip()
        if text and text != PAUSE:
            start, end = np.clip(entry.intervals[index] - segment.start_s, 0.0, length)
            words.append({"text": text, "start_s": float(start), "end_s": float(end), "score": 1.0})
    return words
