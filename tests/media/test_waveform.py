"""Sound: the truth is the tones and noise that the clips were made of, and librosa's own resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made.media_factory import make_clip, tone

from pipeline.core.errors import AbsentError, ClipError
from pipeline.media.decode import waveform
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()


def pitch(samples: np.ndarray, rate: int) -> float:
    """Frequency of the largest peak of the spectrum, Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return float(np.argmax(spectrum) * rate / (1 << 18))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of AAC beside video in MP4."""
    sound = tone(300, 2, 16_000) * np.linspace(0.2, 1, 32_000, dtype=np.float32)
    return make_clip(
        tmp_path_factory.mktemp("spoken") / "spoken.mp4",
        times=[i / 25 for i in range(50)],
        video_codec="libx264",
        sound=sound,
        audio_codec="aac",
    )


@pytest.mark.parametrize("source", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("target", [16_000, 22_050])
def test_tone_stays_where_it_was(tmp_path: Path, source: int, target: int) -> None:
    path = make_clip(tmp_path / "tone.wav", sound=tone(440, 1, source), rate=source, audio_codec="pcm_s16le")
    y = waveform(path, LIMITS, sample_rate=target)
    assert y.dtype == np.float32
    assert len(y) == target
    assert pitch(y, target) == pytest.approx(440, abs=0.5)
    middle = slice(target // 10, -target // 10)
    np.testing.assert_allclose(y[middle], tone(440, 1, target)[middle], atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2, 6, 8, 16])
@pytest.mark.parametrize("codec", ["pcm_s16le", "wavpack"])  # interleaved, and a plane a channel
def test_mono_is_the_mean_of_the_channels(tmp_path: Path, codec: str, channels: int) -> None:
    sound = np.stack([tone(300 + 100 * k, 0.5, 16_000, level=0.5) for k in range(channels)])
    path = make_clip(tmp_path / "sound.mkv", sound=sound, audio_codec=codec)
    y = waveform(path, LIMITS, sample_rate=16_000)
    np.testing.assert_allclose(y, sound.mean(axis=0), atol=1e-4 if codec == "pcm_s16le" else 8e-3)  # 8 bits


def test_as_librosa_resamples(tmp_path: Path) -> None:
    librosa = pytest.importorskip("librosa")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000).astype(np.float32)
    path = make_clip(tmp_path / "noise.wav", sound=noise, rate=44_100, audio_codec="pcm_s16le")
    expected, _ = librosa.load(path, sr=22_050)
    np.testing.assert_allclose(waveform(path, LIMITS, sample_rate=22_050), expected, atol=1e-5)


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "flac"])
def test_late_sound_comes_late(tmp_path: Path, codec: str) -> None:
    path = make_clip(
        tmp_path / ("late.mp4" if codec == "aac" else "late.mkv"),
        times=[i / 25 for i in range(50)],
        video_codec="libx264" if codec == "aac" else "ffv1",
        sound=np.concatenate([np.zeros(1600, np.float32), tone(400, 0.5, 16_000, level=0.8)]),
        sound_from_s=0.3,
        audio_codec=codec,
    )
    y = waveform(path, LIMITS, sample_rate=22_050)
    onset = np.flatnonzero(np.abs(y) > 0.2)[0] / 22_050
    assert onset == pytest.approx(0.4, abs=0.01 if codec == "aac" else 0.001)
    assert not y[: int(0.29 * 22_050)].any()
    early = waveform(path, LIMITS, sample_rate=22_050, end_s=0.2)
    assert early.shape == (4410,)
    assert not early.any()


def test_gap_becomes_silence(tmp_path: Path) -> None:
    y = np.full(8 * 1024, 0.5, np.float32)
    path = make_clip(tmp_path / "gap.mkv", sound=y, sound_gap=(0.256, 0.5), audio_codec="pcm_s16le")
    heard = waveform(path, LIMITS, sample_rate=16_000)
    expected = np.concatenate([y[:4096], np.zeros(8000, np.float32), y[4096:]])
    np.testing.assert_allclose(heard, expected, atol=1e-3)


@pytest.mark.parametrize("rate", [16_000, 22_050])
@pytest.mark.parametrize("name", ["spoken", "long.mkv"])
def test_window_of_sound_is_a_slice_of_the_whole(spoken: Path, tmp_path: Path, name: str, rate: int) -> None:
    path, atol = spoken, 1e-3  # AAC after a seek
    if name != "spoken":
        noise = np.random.default_rng(1).uniform(-0.5, 0.5, 6 * 48_000).astype(np.float32)
        path, atol = make_clip(tmp_path / name, sound=noise, rate=48_000, audio_codec="flac"), 1e-5
    whole = waveform(path, LIMITS, sample_rate=rate)
    for start, end in [(0.0, 0.5), (0.1234, 0.777), (1.5, None), (3.3, 4.4)]:
        first, last = round(start * rate), round((end or 99) * rate)
        if first >= len(whole):
            with pytest.raises(ClipError, match="no sound between"):
                waveform(path, LIMITS, sample_rate=rate, start_s=start, end_s=end)
            continue
        window = waveform(path, LIMITS, sample_rate=rate, start_s=start, end_s=end)
        assert window.shape == whole[first:last].shape
        np.testing.assert_allclose(window, whole[first:last], atol=atol)


@pytest.mark.shared
def test_silent_and_absent_sound(shared: Path) -> None:
    awkward = shared / "clips/awkward"
    assert np.abs(waveform(awkward / "silent_audio.mp4", LIMITS, sample_rate=16_000)).max() < 1e-3
    for name in ("noaudio_track.mp4", "av1_video.mkv"):
        with pytest.raises(AbsentError, match="no audio track"):
            waveform(awkward / name, LIMITS, sample_rate=16_000)
    notes: list[str] = []
    y = waveform(awkward / "truncated_faststart.mp4", LIMITS, sample_rate=16_000, notes=notes)
    assert 1.3 < len(y) / 16_000 < 1.7
    assert notes[0].startswith("file is cut off: audio up to 1.")
