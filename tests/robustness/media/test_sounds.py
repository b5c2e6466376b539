"""Noise, babble and gaps against their definitions and the protocol's known answers."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.robustness.media.sounds import at_snr, babble, muted, power, span
from pipeline.robustness.streams import stream

RATE = 16_000
SINE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


@pytest.mark.parametrize(
    ("snr_db", "deviation"), [(20, 0.035355), (10, 0.111803), (5, 0.198818), (0, 0.353553), (-5, 0.628717)]
)
def test_noise_is_as_loud_as_the_ratio_asks(snr_db: float, deviation: float) -> None:
    assert power(SINE) == pytest.approx(0.125, abs=1e-12)
    drawn = stream("white", "mosi", "test", "a$_$1", "audio", 0).standard_normal(RATE)
    noise = at_snr(drawn, SINE, snr_db)
    assert np.sqrt(power(noise)) == pytest.approx(deviation, abs=1e-6)
    assert 10 * np.log10(power(SINE) / power(noise)) == pytest.approx(snr_db, abs=1e-6)
    np.testing.assert_allclose(noise / drawn, (noise / drawn)[0], rtol=1e-9)  # the same noise at every level


def test_without_a_signal_or_noise_nothing_is_added() -> None:
    assert not at_snr(np.ones(10), np.zeros(10), 0).any()
    assert not at_snr(np.zeros(10), np.ones(10), 0).any()


def test_babble_is_equally_loud_voices_repeated_and_cut() -> None:
    """Two voices written out by hand: [3, -3, 3] has the root mean square 3, [0, 4] that of √8."""
    voices = [np.array([3.0, -3.0, 3.0]), np.array([0.0, 4.0])]
    first = np.array([-1.0, 1.0, 1.0, -1.0])  # from its second sample on
    second = np.array([0.0, 2**0.5, 0.0, 2**0.5])
    np.testing.assert_allclose(babble(voices, [0.34, 0.0], 4), first + second)
    np.testing.assert_allclose(babble(voices[:1], [0.99], 2), [1.0, 1.0])  # cut


def test_spans_are_as_long_as_their_share_and_grow_within_themselves() -> None:
    assert span(100, 1.0, 0.7) == (0, 100)
    assert span(100, 0.25, 0.0) == (0, 25)
    assert span(100, 0.25, 0.999999) == (75, 100)
    for n in (7, 50, 33_333):
        for place in np.random.default_rng(0).random(50):
            (start, stop), (wider, later) = span(n, 0.25, place), span(n, 0.5, place)
            assert stop - start == round(0.25 * n)
            assert 0 <= wider <= start and stop <= later <= n


def test_a_gap_is_zeros_and_the_rest_is_as_it_was() -> None:
    quiet = muted(SINE, 100, 300)
    assert not quiet[100:300].any()
    assert np.array_equal(np.delete(quiet, slice(100, 300)), np.delete(SINE, slice(100, 300)))
    assert SINE[150] != 0
