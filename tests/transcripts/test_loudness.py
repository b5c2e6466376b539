"""Where sound is loud: ends of words, pauses that are cut out, and cuts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from made.media_factory import tone
from made.tiny_speech import speech

from pipeline.core.waveform import SAMPLE_RATE as RATE
from pipeline.transcripts.loudness import loud_blocks, speech_within, spoken_parts, stretches


def test_words_end_where_speech_ends() -> None:
    """Two tones in faint noise, a second and a half of pause between them, whose words touch in the pause."""
    rng = np.random.default_rng(0)
    for noise_dbfs in (-90, -60, -45):
        sound = rng.normal(0, 10 ** (noise_dbfs / 20), 5 * RATE)
        for begin, end in ((0.5, 1.5), (3.0, 4.2)):
            sound[round(begin * RATE) : round(end * RATE)] += tone(220, end - begin, RATE)
        loud = loud_blocks(sound.astype(np.float32))
        assert speech_within(0.0, 2.4, loud) == pytest.approx((0.5, 1.5))
        assert speech_within(2.4, 5.0, loud) == pytest.approx((3.0, 4.2))
        assert speech_within(1.0, 1.31, loud) == (1.0, 1.31)  # inside of speech nothing moves
        assert speech_within(1.7, 2.7, loud) == (1.7, 2.7)  # nor where there is none
    steady = loud_blocks(rng.normal(0, 0.1, RATE).astype(np.float32))
    assert steady.all() and speech_within(0.13, 0.79, steady) == (0.13, 0.79)
    assert speech_within(0.0, 0.01, loud_blocks(np.zeros(100, np.float32))) == (0.0, 0.01)


def test_longer_pauses_are_cut_out() -> None:
    """Tones of 1, 2 and 40 s in faint noise, after pauses of 2, 2 and 0.5 s."""
    one, two, long = (tone(220, seconds, RATE) for seconds in (1, 2, 40))
    pause, short = np.zeros(2 * RATE), np.zeros(RATE // 2)
    sound = np.concatenate([pause, one, pause, two, short, long]).astype(np.float32)
    sound += np.random.default_rng(0).normal(0, 1e-3, len(sound)).astype(np.float32)
    parts = spoken_parts(sound, 1.0)
    assert parts == [(28_800, 51_200), (76_800, len(sound))]  # 1.8 to 3.2 s, 4.8 s to the end
    assert len(spoken_parts(sound, 0.4)) == 3 and len(spoken_parts(sound, 3.0)) == 1
    assert spoken_parts(sound[:100], 1.0) == []


def test_stretches_end_in_pauses() -> None:
    sound = speech(100.0)
    parts = stretches(sound, 30 * RATE)
    assert parts[0][0] == 0 and parts[-1][1] == len(sound)
    assert all(after[0] == before[1] for before, after in itertools.pairwise(parts))
    assert all(0 < end - begin <= 30 * RATE for begin, end in parts)
    assert all(np.abs(sound[end - 800 : end + 800]).max() < 0.01 for _, end in parts[:-1])
    assert stretches(sound[:RATE], 30 * RATE) == [(0, RATE)]
