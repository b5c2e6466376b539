"""librosa33 against the naive way: each feature from the waveform, librosa's defaults, pyin over C2-C7.

And its first columns against each other: F0 alone, and the whole of the 33 columns, in times real time.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest

from pipeline.features.audio.librosa33 import Librosa33
from pipeline.params.encoders import Librosa33Params
from pipeline.params.params import MediaLimits

RATE, SECONDS, ROUNDS = 22_050, 8, 3


def speech() -> np.ndarray:
    """Recorded speech where MSA_SHARED has it, a gliding voice in syllables elsewhere; (n,) float32."""
    for path in sorted(Path(os.environ.get("MSA_SHARED", "none")).glob("audio/*jfk.flac")):
        return librosa.load(path, sr=RATE, duration=SECONDS)[0]
    seconds = np.arange(SECONDS * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(150 + 50 * np.sin(4.4 * seconds)) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * (np.sin(12.6 * seconds) > -0.3)
    return (0.2 * voice + np.random.default_rng(0).normal(0, 0.002, len(voice))).astype(np.float32)


def naive(y: np.ndarray) -> np.ndarray:
    f0, voiced, _ = librosa.pyin(
        y, fmin=librosa.note_to_hz("C2"), fmax=librosa.note_to_hz("C7"), sr=RATE, hop_length=512
    )
    mfcc = librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=20, htk=True)
    chroma = librosa.feature.chroma_cqt(y=y, sr=RATE)
    return np.concatenate([np.log(np.where(voiced, f0, 1.0))[None], mfcc, chroma]).T


def cpu_seconds(function: Callable[[np.ndarray], np.ndarray], y: np.ndarray) -> float:
    """CPU time of this process: neighbours on the machine do not count."""
    begin = time.process_time()
    function(y)
    return time.process_time() - begin


@pytest.mark.benchmark
def test_twice_as_fast_with_the_same_values() -> None:
    y = speech()
    ours = Librosa33("librosa33", Librosa33Params(), MediaLimits()).features
    a, b = naive(y), ours(y)  # also compiles what librosa compiles at its first call

    np.testing.assert_allclose(b[:, 1:], a[:, 1:], atol=1e-4)
    both = (a[:, 0] > 0) & (b[:, 0] > 0)
    agreement = (np.abs(np.expm1(b[both, 0] - a[both, 0])) < 0.01).mean()
    same_voicing = ((a[:, 0] > 0) == (b[:, 0] > 0)).mean()
    assert both.mean() > 0.2
    assert agreement > 0.99

    pairs = [(cpu_seconds(naive, y), cpu_seconds(ours, y)) for _ in range(ROUNDS)]  # interleaved
    slow, fast = np.median(pairs, axis=0)
    ratio = float(np.median([s / f for s, f in pairs]))
    print(
        f"\nlibrosa33, {SECONDS} s of speech: naive {slow:.3f} s, ours {fast:.3f} s of CPU, {ratio:.1f}x; "
        f"f0 agrees on {agreement:.1%} of {both.sum()} frames voiced in both, voicing on {same_voicing:.1%}"
    )
    assert ratio >= 2


@pytest.mark.benchmark
def test_times_real_time_and_yin_against_pyin() -> None:
    """CPU time on one core: F0 alone by YIN costs at most a quarter of pYIN; other columns are the same."""
    y = speech()
    encoders = {
        f0: Librosa33("librosa33", Librosa33Params.model_validate({"f0": f0}), MediaLimits())
        for f0 in ("pyin", "yin", "zcr", "praat")
        if f0 != "praat" or importlib.util.find_spec("parselmouth")
    }
    for encoder in encoders.values():
        encoder.features(y)  # compiles what librosa compiles at its first call
    costs = {
        f0: [(cpu_seconds(encoder._first_column, y), cpu_seconds(encoder.features, y)) for _ in range(ROUNDS)]
        for f0, encoder in encoders.items()
    }
    median = {f0: np.median(cost, axis=0) for f0, cost in costs.items()}
    print(f"\nlibrosa33 on one core, {SECONDS} s of speech:")
    for f0, (alone, whole) in median.items():
        print(
            f"  {f0:5} F0 alone {1000 * alone:7.1f} ms ({SECONDS / alone:7.0f}x real time), "
            f"33 columns {1000 * whole:7.1f} ms ({SECONDS / whole:5.0f}x real time)"
        )
    alone, whole = (median["pyin"] / median["yin"]).tolist()
    print(f"  yin against pyin: F0 alone {alone:.1f}x, 33 columns {whole:.1f}x as fast")
    assert alone >= 4
    assert SECONDS / median["pyin"][1] >= 1  # faster than it is spoken
