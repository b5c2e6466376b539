"""A clip under corruptions, as encoders get it: exact, keyed by clip and seed, alike at all levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from made import media_factory

from pipeline.core.errors import ClipError
from pipeline.features.encoder import Clip
from pipeline.media.decode import frames, waveform
from pipeline.params.params import MediaLimits
from pipeline.robustness.conditions import UNTOUCHED, Condition, conditions
from pipeline.robustness.media.decoded import DecodedClip
from pipeline.robustness.media.kinds import DRAWN, MEDIA_LEVELS
from pipeline.robustness.media.pictures import Box
from pipeline.robustness.media.sounds import power
from pipeline.robustness.media.spoil import SILENT, SpoiltClip, choose_voices, spoil
from pipeline.robustness.streams import stream

LIMITS = MediaLimits()
RATE = 16_000
TIMES = np.arange(20) / 10
SPEECH = 0.2 * np.sin(2 * np.pi * 200 * np.arange(2 * RATE) / RATE) * np.linspace(0.2, 1, 2 * RATE)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    path = tmp_path_factory.mktemp("spoil") / "clip.mkv"
    return Clip("a$_$1", media_factory.make_clip(path, times=TIMES, sound=SPEECH.astype(np.float32)))


def no_voice(clip: Clip) -> np.ndarray:
    raise AssertionError("nobody asked for a voice")


def spoilt(clip: Clip, condition: Condition, **known: object) -> Clip:
    task = SpoiltClip(clip, "set", "test", **known)  # type: ignore[arg-type]
    found, note = spoil(task, DecodedClip(clip, LIMITS), condition, no_voice)
    assert note == ""
    return found


def heard(clip: Clip, rate: int = RATE) -> np.ndarray:
    assert clip.path is not None
    return waveform(clip.path, LIMITS, sample_rate=rate).astype(np.float64)


def shown(clip: Clip) -> list[np.ndarray]:
    assert clip.path is not None
    return [frame.image for frame in frames(clip.path, LIMITS)]


def numbers(clip: Clip) -> list[int]:
    """What each picture shows."""
    return [media_factory.read_index(image) for image in shown(clip)]


@pytest.mark.parametrize("snr_db", MEDIA_LEVELS["white"])
def test_white_noise_reaches_the_encoder_as_it_was_drawn(clip: Clip, snr_db: float) -> None:
    noise = heard(spoilt(clip, Condition("white", "audio", snr_db, 3))) - heard(clip)
    drawn = stream("white", "set", "test", "a$_$1", "audio", 3).standard_normal(2 * RATE)
    expected = np.sqrt(power(heard(clip)) / (power(drawn) * 10 ** (snr_db / 10)))
    np.testing.assert_allclose(noise, drawn * expected, atol=1e-6)
    assert 10 * np.log10(power(heard(clip)) / power(noise)) == pytest.approx(snr_db, abs=1e-4)


def test_noise_at_another_rate_is_the_same_noise(clip: Clip) -> None:
    """Of 16 kHz nothing but what lies below 7 kHz may be compared: filters end there."""
    condition = Condition("white", "audio", 0.0, 0)
    noise = heard(spoilt(clip, condition), 48_000) - heard(clip, 48_000)
    drawn = heard(spoilt(clip, condition)) - heard(clip)
    low = slice(200, 14_000)  # half a hertz a bin
    fast, slow = np.fft.rfft(noise)[low] / 3, np.fft.rfft(drawn)[low]
    assert np.abs(fast - slow).max() < 1e-2 * np.abs(slow).max()


def test_a_gap_lies_where_its_draw_says_at_every_rate(clip: Clip) -> None:
    spans = {}
    for level in (0.25, 0.5, 1.0):
        for rate in (RATE, 8_000):
            quiet = heard(spoilt(clip, Condition("mute", "audio", level, 0)), rate)
            loudest = np.abs(quiet).reshape(200, -1).max(axis=1)  # of 10 ms
            silent = np.flatnonzero(loudest < 0.005)
            assert len(silent) == pytest.approx(level * 200, abs=2)
            spans[level, rate] = silent.min(), silent.max()
    place = stream("mute", "set", "test", "a$_$1", "audio", 0).random()
    for rate in (RATE, 8_000):
        (start, stop), (wider, later) = spans[0.25, rate], spans[0.5, rate]
        assert wider <= start and stop <= later
        assert start == pytest.approx(150 * place, abs=2)


def test_babble_is_of_those_that_can_be_heard(clip: Clip) -> None:
    voices = {name: np.sin(np.arange(500) * (2 + i)) for i, name in enumerate("bcdefghij")}
    voices["c"] = np.zeros(500)

    def speech_of(clip: Clip) -> np.ndarray:
        if clip.clip_id == "e":
            raise ClipError("broken")
        return voices[clip.clip_id]

    chosen = tuple((Clip(name), 0.1 * i) for i, name in enumerate(voices))
    task = SpoiltClip(clip, "set", "test", voices={2: chosen})
    found, note = spoil(task, DecodedClip(clip, LIMITS), Condition("babble", "audio", 5.0, 2), speech_of)
    assert note == "babble of b, d, f, g, h, i"
    noise = heard(found) - heard(clip)
    assert 10 * np.log10(power(heard(clip)) / power(noise)) == pytest.approx(5, abs=1e-3)
    rolled = [np.roll(voices[n], -int(0.1 * i * 500)) for i, n in enumerate(voices) if n in "bdfghi"]
    expected = sum(np.resize(one, 2 * RATE) / np.sqrt(power(one)) for one in rolled)
    assert np.corrcoef(noise, expected)[0, 1] == pytest.approx(1, abs=1e-6)
    deaf = SpoiltClip(clip, "set", "test", voices={0: ((Clip("e"), 0.0), (Clip("c"), 0.0))})
    with pytest.raises(ClipError, match="no voices for babble"):
        spoil(deaf, DecodedClip(clip, LIMITS), Condition("babble", "audio", 5.0, 0), speech_of)


def test_voices_are_of_as_many_videos_and_no_more_than_there_are() -> None:
    videos: Sequence[Sequence[str]] = [[f"{video}{i}" for i in range(3)] for video in "abcdefghijklmnop"]
    chosen = choose_voices(np.random.default_rng(0), videos)
    assert len({name[0] for name, _ in chosen}) == len(chosen) == 12
    assert all(0 <= place < 1 for _, place in chosen)
    assert len(choose_voices(np.random.default_rng(0), videos[:3])) == 3
    assert choose_voices(np.random.default_rng(0), []) == ()
    assert chosen == choose_voices(np.random.default_rng(0), videos)
    assert chosen != choose_voices(np.random.default_rng(1), videos)


def test_silence_gets_no_noise_and_a_note(tmp_path: Path) -> None:
    path = media_factory.make_clip(tmp_path / "silent.mkv", sound=np.zeros(RATE, np.float32))
    clip = Clip("a", path)
    for kind in ("white", "babble"):
        task = SpoiltClip(clip, "set", "test")
        found, note = spoil(task, DecodedClip(clip, LIMITS), Condition(kind, "audio", 0.0, 0), no_voice)
        assert note == SILENT
        assert not heard(found).any()


def test_a_picture_stands_for_its_share_of_the_clip(clip: Clip) -> None:
    for level, frozen in ((0.25, 5), (0.5, 10)):
        place = stream("freeze", "set", "test", "a$_$1", "video", 1).random()
        start = int(place * (20 - frozen + 1))
        expected = [start if start <= i < start + frozen else i for i in range(20)]
        assert numbers(spoilt(clip, Condition("freeze", "visual", level, 1))) == expected


def test_faces_are_covered_where_they_are(clip: Clip) -> None:
    """In each picture at its own place; without a face nothing is changed."""
    faces = [None if i % 3 == 0 else Box(i, 2 * i // 2, 20, 16) for i in range(20)]
    clean = shown(clip)
    for kind, level in (("eyes", 1.0), ("mouth", 1.0), ("occlude", 0.25)):
        found = shown(spoilt(clip, Condition(kind, "visual", level, 0), faces=faces))
        across, down = stream("occlude", "set", "test", "a$_$1", "video", 0).random(2)
        for image, before, face in zip(found, clean, faces, strict=True):
            if face is None:
                assert np.array_equal(image, before)
                continue
            left, top, width, height = {
                "eyes": (0, 3, 20, 5),  # rows 20-50 % of 16
                "mouth": (0, 10, 20, 5),  # rows 60-95 %
                "occlude": (int(across * 11), int(down * 9), 10, 8),
            }[kind]
            expected = before.copy()
            expected[
                face.top + top : face.top + top + height, face.left + left : face.left + left + width
            ] = 0
            assert np.array_equal(image, expected)


@pytest.mark.parametrize("kind", ["blur", "lowres"])
def test_pictures_lose_detail_level_by_level(clip: Clip, kind: str) -> None:
    def detail(clip: Clip) -> float:
        return float(np.square(np.diff(shown(clip)[5].astype(float), axis=1)).mean())

    found = [detail(clip), *(detail(spoilt(clip, condition)) for condition in conditions(kind))]
    assert found == sorted(found, reverse=True)
    assert len(set(found[1:])) == 4  # the mildest blur is of 0.2 pixels here


@pytest.mark.parametrize("kind", [*MEDIA_LEVELS])
def test_chance_decides_by_clip_and_draw(kind: str) -> None:
    made = conditions(kind, draws=(0, 1, 2))
    assert {one.draw for one in made} == ({0, 1, 2} if kind in DRAWN else {0})
    assert {one.hits for one in made} == {(made[0].case,)}
    assert [one.level for one in made if one.draw == 0] == [*MEDIA_LEVELS[kind]]


def test_a_draw_is_the_same_in_any_order_and_another_for_another_clip(clip: Clip) -> None:
    first, second = Condition("white", "audio", 10.0, 0), Condition("white", "audio", 10.0, 1)
    decoded = DecodedClip(clip, LIMITS)
    task = SpoiltClip(clip, "set", "test")
    forth = [heard(spoil(task, decoded, one, no_voice)[0]) for one in (first, second)]
    back = [heard(spoil(task, decoded, one, no_voice)[0]) for one in (second, first)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forth, back, strict=True))
    assert not np.array_equal(*forth)
    other = heard(spoilt(Clip("a$_$2", clip.path), first))
    assert not np.array_equal(other, forth[0])


def test_clean_is_the_clip_itself(clip: Clip) -> None:
    assert spoilt(clip, UNTOUCHED) is clip
