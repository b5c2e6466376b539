"""How loud sound is from block to block: where it may be cut, and where speech begins and ends.

A block is 20 ms. It is loud where its level is 10 dB above the quietest blocks of its stretch, or less than
20 dB below the loudest: in steady noise, or where nobody pauses, every block is loud.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.waveform import SAMPLE_RATE

BLOCK = SAMPLE_RATE // 50  # samples
PAUSE = SAMPLE_RATE // 10  # samples over which loudness is taken to find a pause
MARGIN = SAMPLE_RATE // 5  # samples
QUIETEST, LOUDEST = 5, 95  # percentiles of the levels
ABOVE_DB, BELOW_DB = 10.0, 20.0


def stretches(sound: np.ndarray, window: int) -> list[tuple[int, int]]:
    """Sound as stretches of at most `window` samples that follow each other, cut at pauses.

    A cut is at the quietest tenth of a second of the last third of each window.
    """
    cuts = [0]
    while len(sound) - cuts[-1] > window:
        begin = cuts[-1] + window * 2 // 3
        cuts.append(begin + _quietest(sound[begin : cuts[-1] + window]))
    return list(zip(cuts, [*cuts[1:], len(sound)], strict=True))


def spoken_parts(sound: np.ndarray, max_pause_s: float) -> list[tuple[int, int]]:
    """Sound without its longer pauses: samples from the first to the last loud block of each part.

    A part has a fifth of a second more on each side; `max_pause_s` is at least twice that.
    """
    loud = np.flatnonzero(loud_blocks(sound))
    if not len(loud):
        return []
    before = np.flatnonzero(np.diff(loud) - 1 > max_pause_s * SAMPLE_RATE / BLOCK)
    begins = loud[np.append(0, before + 1)] * BLOCK - MARGIN
    ends = (loud[np.append(before, -1)] + 1) * BLOCK + MARGIN
    return list(zip(begins.clip(0).tolist(), ends.clip(max=len(sound)).tolist(), strict=True))


def pause_in_middle(sound: np.ndarray) -> int:
    """The sample of the middle third at which sound is best cut in two."""
    third = len(sound) // 3
    return third + _quietest(sound[third : 2 * third])


def loud_blocks(sound: np.ndarray) -> np.ndarray:
    """Which blocks of a stretch are loud, (n_samples // BLOCK,) bool."""
    levels = 10 * np.log10(np.maximum(_power(sound, BLOCK), 1e-20))
    if not len(levels):
        return np.zeros(0, np.bool_)
    quiet, loud = np.percentile(levels, [QUIETEST, LOUDEST])
    return np.asarray(levels >= min(quiet + ABOVE_DB, loud - BELOW_DB))


def speech_within(start_s: float, end_s: float, loud: np.ndarray) -> tuple[float, float]:
    """From the first to the last loud block of a part of a stretch; the part itself where none is loud."""
    first = int(start_s * SAMPLE_RATE / BLOCK + 1e-6)
    last = int(np.ceil(end_s * SAMPLE_RATE / BLOCK - 1e-6))
    found = first + np.flatnonzero(loud[first:last])
    if not len(found):
        return start_s, end_s
    return (
        max(start_s, float(found[0]) * BLOCK / SAMPLE_RATE),
        min(end_s, float(found[-1] + 1) * BLOCK / SAMPLE_RATE),
    )


def _quietest(sound: np.ndarray) -> int:
    """The sample in the middle of the quietest tenth of a second."""
    return int(_power(sound, PAUSE).argmin()) * PAUSE + PAUSE // 2


def _power(sound: np.ndarray, block: int) -> np.ndarray:
    """Mean square of each whole block, (n,) float64."""
    power = np.square(sound, dtype=np.float64)
    return np.asarray(power[: len(power) // block * block].reshape(-1, block).mean(axis=1))
