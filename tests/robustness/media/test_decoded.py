"""Media changed in memory: encoders get what they were changed to, and else what the file has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made import media_factory

from pipeline.core.errors import AbsentError, ClipError
from pipeline.features.encoder import Clip
from pipeline.media.decode import frames, waveform
from pipeline.params.params import MediaLimits
from pipeline.robustness.media import decoded as module
from pipeline.robustness.media.decoded import DecodedClip

LIMITS = MediaLimits()
TIMES = [0.0, 0.04, 0.1, 0.3, 0.34, 0.6, 0.8]  # of a variable rate
NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, 16_000).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in lossless RGB; the sound begins 50 ms late."""
    place = tmp_path_factory.mktemp("decoded") / "clip.mkv"
    return media_factory.make_clip(place, times=TIMES, sound=NOISE, sound_from_s=0.05)


def seen(clip: Clip, **how: object) -> list[tuple[np.float32, bytes]]:
    assert clip.path is not None
    found = frames(clip.path, LIMITS, start_s=clip.start_s, end_s=clip.end_s, **how)  # type: ignore[arg-type]
    return [(np.float32(frame.time_s), frame.image.tobytes()) for frame in found]


def heard(clip: Clip, rate: int, notes: list[str] | None = None) -> np.ndarray:
    assert clip.path is not None
    return waveform(clip.path, LIMITS, sample_rate=rate, start_s=clip.start_s, end_s=clip.end_s, notes=notes)


WINDOWS = [(None, None), (None, 0.5), (0.0, 0.7), (0.1, 0.75), (0.07, None)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("fps", [None, 10.0])
def test_unchanged_pictures_are_the_files(
    path: Path, window: tuple[float | None, float | None], fps: float | None
) -> None:
    clip = Clip("a", path, *window)
    same = DecodedClip(clip, LIMITS).with_pictures(lambda images: images)
    assert seen(same, fps=fps) == seen(clip, fps=fps)
    assert seen(same, fps=fps) == seen(clip, fps=fps)  # a second reading, of an encoder that needs two


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_unchanged_sound_is_the_files_bit_for_bit(path: Path, rate: int) -> None:
    clip, notes = Clip("a", path), list[str]()
    same = DecodedClip(clip, LIMITS).with_sound(lambda sound, rate: sound)
    assert np.array_equal(heard(same, rate, notes), heard(clip, rate))
    assert notes == []


@pytest.mark.parametrize("window", WINDOWS[1:4])  # which begin on a sample of both rates
def test_unchanged_sound_of_a_window_differs_at_its_edges_alone(
    path: Path, window: tuple[float | None, float | None]
) -> None:
    clip = Clip("a", path, *window)
    same = DecodedClip(clip, LIMITS).with_sound(lambda sound, rate: sound)
    assert np.array_equal(heard(same, 16_000), heard(clip, 16_000))  # the file's own rate
    found, expected = heard(same, 22_050), heard(clip, 22_050)
    assert abs(len(found) - len(expected)) <= 1
    inside = slice(400, min(len(found), len(expected)) - 400)
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-3)


def test_changes_reach_the_encoder(path: Path) -> None:
    def backwards(images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        return reversed(list(images))

    decoded = DecodedClip(Clip("a", path), LIMITS)
    shown = frames(decoded.with_pictures(backwards).path, LIMITS)  # type: ignore[arg-type]
    assert [media_factory.read_index(frame.image) for frame in shown] == [6, 5, 4, 3, 2, 1, 0]
    assert np.allclose(decoded.times, TIMES)
    halved = heard(decoded.with_sound(lambda sound, rate: sound / 2), 16_000)
    np.testing.assert_allclose(halved[800:], NOISE / 2, atol=5e-5)  # 16 bits
    assert not halved[:800].any()


def test_smaller_pictures_are_scaled_from_the_changed_ones(path: Path) -> None:
    """A picture of one colour keeps it at any size."""
    decoded = DecodedClip(Clip("a", path), LIMITS)
    red = np.array([200, 10, 10], np.uint8)
    clip = decoded.with_pictures(lambda images: (np.broadcast_to(red, one.shape).copy() for one in images))
    for frame in frames(clip.path, LIMITS, max_long_side=32):  # type: ignore[arg-type]
        assert frame.image.shape == (24, 32, 3) and frame.scale == 2
        assert np.abs(frame.image.astype(int) - red).max() <= 1


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_changes_see_pictures_upright(tmp_path: Path, rotation: int) -> None:
    path = media_factory.make_clip(
        tmp_path / "turned.mp4", times=[0, 0.1], video_codec="libx264", rotation=rotation
    )
    clip = Clip("a", path)
    shapes = []

    def noted(images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for image in images:
            shapes.append(image.shape)
            yield image

    assert seen(DecodedClip(clip, LIMITS).with_pictures(noted)) == seen(clip)
    assert set(shapes) == {(48, 64, 3) if rotation == 180 else (64, 48, 3)}


def test_a_long_clip_is_decoded_again_each_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    def counted(*args: object, **how: object) -> Iterator[object]:
        passes.append(1)
        return frames(*args, **how)  # type: ignore[arg-type]

    def passes_of(kept: int) -> int:
        passes.clear()
        monkeypatch.setattr(module, "KEPT_BYTES", kept)
        decoded = DecodedClip(Clip("a", path), LIMITS)
        for _ in range(2):
            assert seen(decoded.with_pictures(lambda images: images)) == seen(Clip("a", path))
        return len(passes)

    monkeypatch.setattr(module, "frames", counted)
    assert passes_of(1 << 30) == 1
    assert passes_of(3 * 64 * 48 * 3) == 3  # once more for the times


def test_what_a_clip_lacks_is_absent(tmp_path: Path) -> None:
    silent = media_factory.make_clip(tmp_path / "silent.mkv", times=[0, 0.1])
    deaf = media_factory.make_clip(tmp_path / "deaf.mkv", sound=NOISE)
    with pytest.raises(AbsentError, match="no audio track"):
        DecodedClip(Clip("a", silent), LIMITS).with_sound(lambda sound, rate: sound)
    with pytest.raises(AbsentError, match="no video track"):
        DecodedClip(Clip("a", deaf), LIMITS).with_pictures(lambda images: images)
    with pytest.raises(AbsentError, match="no media file"):
        DecodedClip(Clip("a"), LIMITS)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    with pytest.raises(ClipError, match=r"broken\.mp4"):
        _ = DecodedClip(Clip("a", broken), LIMITS).speech
