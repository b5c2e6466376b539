"""Corruptions of sound: 16 kHz mono, float64, shape (n_samples,); full scale is 1.

Noise is drawn once a clip and made louder or softer for each level, so that all levels hear the same noise.
What it adds may lie beyond full scale; nothing is normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VOICES = 6  # that babble is made of


def power(sound: np.ndarray) -> float:
    """Mean square over the whole clip."""
    return float(np.mean(np.square(sound, dtype=np.float64)))


def at_snr(noise: np.ndarray, sound: np.ndarray, snr_db: float) -> np.ndarray:
    """The noise as loud as the ratio asks: n √(P_s / (P_n 10^(SNR/10))), both powers measured.

    A silent sound, or silent noise, gets none.
    """
    of_noise = power(noise)
    if of_noise == 0:
        return np.zeros_like(noise)
    return noise * np.sqrt(power(sound) / (of_noise * 10 ** (snr_db / 10)))


def babble(voices: Sequence[np.ndarray], places: Sequence[float], n_samples: int) -> np.ndarray:
    """Voices that speak at once, equally loud (root mean square 1), repeated or cut to (n_samples,).

    Parameters
    ----------
    voices : sounds that are not silent
    places : in [0, 1), where in each voice its part begins
    """
    total = np.zeros(n_samples)
    for voice, place in zip(voices, places, strict=True):
        start = int(place * len(voice))
        total += np.resize(np.roll(voice, -start), n_samples) / np.sqrt(power(voice))
    return total


def span(n: int, share: float, place: float) -> tuple[int, int]:
    """First of n steps and one past the last of a span of this share of them; it grows within itself.

    `place` in [0, 1) is where it lies among all places that there are: 0 is the very beginning.
    """
    length = round(share * n)
    start = int(place * (n - length + 1))
    return start, start + length


def muted(sound: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The sound with a span of zeros."""
    quiet = sound.copy()
    quiet[start:stop] = 0
    return quiet
