"""librosa33: known tones, librosa's own definitions, the frame grid, and clips that are short or silent."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
from made.media_factory import make_clip, tone

from pipeline.core.errors import AbsentError, ClipError, MissingDependencyError, ParamsError
from pipeline.features.audio.librosa33 import Librosa33
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.media.decode import waveform
from pipeline.params.encoders import Librosa33Params
from pipeline.params.params import MediaLimits

RATE, HOP = 22_050, 512
F0, MFCC, CHROMA = slice(0, 1), slice(1, 21), slice(21, 33)
LIMITS = MediaLimits()


@pytest.fixture(scope="module")
def encoder() -> Librosa33:
    built = build_encoder("audio", "librosa33", Librosa33Params(), LIMITS)
    assert isinstance(built, Librosa33)
    built.load()
    return built


def harmonic(hertz: float, seconds: float) -> np.ndarray:
    """A voice-like tone: ten harmonics falling by 1 / n, shape (n,), float32."""
    return sum(tone(n * hertz, seconds, RATE, 0.3 / n) for n in range(1, 11))


def speech_like(seconds: float) -> np.ndarray:
    """Gliding harmonic tone in syllables, a little noise between them."""
    n = round(seconds * RATE)
    time = np.arange(n) / RATE
    phase = 2 * np.pi * np.cumsum(150 + 50 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 2 * time) > -0.3)
    return (0.2 * voice + np.random.default_rng(0).normal(0, 0.002, n)).astype(np.float32)


def wav(folder: Path, y: np.ndarray, rate: int = RATE) -> Path:
    return make_clip(folder / "clip.wav", sound=y, rate=rate, audio_codec="pcm_s16le")


def test_columns_and_grid(encoder: Librosa33, tmp_path: Path) -> None:
    names = encoder.column_names
    assert len(names) == len(set(names)) == encoder.dim == 33
    assert (names[0], names[1], names[20], names[21], names[32]) == (
        "f0_log",
        "mfcc_0",
        "mfcc_19",
        "chroma_0",
        "chroma_11",
    )
    assert encoder.frame_rate == pytest.approx(43.07, abs=0.005)
    encoded = encoder.encode(Clip("a", wav(tmp_path, speech_like(1.0))))
    assert encoded.features.shape == (1 + RATE // HOP, 33)
    assert encoded.features.dtype == np.float32
    assert encoded.times is not None
    np.testing.assert_allclose(encoded.times, np.arange(44) * 512 / 22_050, atol=1e-6)
    assert encoded.note == ""


@pytest.mark.parametrize("hertz", [110, 200, 330])
def test_f0_of_a_tone(encoder: Librosa33, hertz: float) -> None:
    f0 = encoder.features(harmonic(hertz, 1.0))[4:-4, 0]
    assert (f0 > 0).all()
    np.testing.assert_allclose(np.exp(f0), hertz, rtol=0.01)


def by(f0: str, **settings: object) -> Librosa33:
    params = Librosa33Params.model_validate({"f0": f0, **settings})
    built = build_encoder("audio", f"librosa33-{f0}", params, LIMITS)
    assert isinstance(built, Librosa33)
    if f0 == "praat":
        pytest.importorskip("parselmouth")
    built.load()
    return built


@pytest.mark.parametrize("f0", ["yin", "praat"])
@pytest.mark.parametrize("hertz", [110, 200, 330])
def test_f0_of_a_tone_by_others(f0: str, hertz: float) -> None:
    encoder = by(f0)
    column = encoder.features(harmonic(hertz, 1.0))[4:-4, 0]
    np.testing.assert_allclose(np.exp(column), hertz, rtol=0.01)
    assert encoder.column_names[0] == "f0_log"


def test_only_the_first_column_differs(encoder: Librosa33) -> None:
    y = speech_like(1.5)
    expected = encoder.features(y)
    for f0 in ("yin", "zcr"):
        features = by(f0).features(y)
        np.testing.assert_array_equal(features[:, 1:], expected[:, 1:])
        assert not np.array_equal(features[:, 0], expected[:, 0])
        assert by(f0).fingerprint != encoder.fingerprint


def test_yin_and_zcr_as_librosa_defines_them() -> None:
    y = speech_like(1.0)
    yin = librosa.yin(y, fmin=65.4, fmax=500.0, sr=RATE, frame_length=2048, hop_length=HOP)
    np.testing.assert_allclose(by("yin").features(y)[:, 0], np.log(yin), rtol=1e-5)
    zcr = by("zcr")
    np.testing.assert_array_equal(
        zcr.features(y)[:, 0], librosa.feature.zero_crossing_rate(y, hop_length=HOP)[0].astype(np.float32)
    )
    assert zcr.column_names[0] == "zcr"
    tones = zcr.features(tone(441, 1.0, RATE))[8:-8, 0]
    np.testing.assert_allclose(tones, 2 * 441 / RATE, rtol=0.03)  # a sine crosses zero twice a period


def test_every_frame_has_a_pitch_by_yin() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert (by("yin").features(noise)[:, 0] > 0).all()
    assert np.isfinite(by("yin").features(0 * noise)).all()


def test_praat_knows_what_has_no_voice() -> None:
    encoder = by("praat")
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert (encoder.features(noise)[:, 0] == 0).mean() > 0.8
    assert (encoder.features(0 * noise)[:, 0] == 0).all()
    half = np.concatenate([0 * noise[: RATE // 2], harmonic(150, 0.5)])
    voiced = np.flatnonzero(encoder.features(half)[:, 0])
    assert voiced[0] * HOP / RATE == pytest.approx(0.5, abs=0.04)
    for n_samples in (512, 1023, 2047, 22_050):
        assert encoder.features(harmonic(150, 1.0)[:n_samples]).shape == (1 + n_samples // HOP, 33)
    assert encoder.provenance["libraries"]["praat-parselmouth"]


def test_praat_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    encoder = build_encoder("audio", "praat", Librosa33Params(f0="praat"), LIMITS)
    for needs_it in (lambda: encoder.load(), lambda: encoder.fingerprint):
        with pytest.raises(MissingDependencyError, match=r"msa-pipeline\[praat\].*f0: pyin"):
            needs_it()


def test_ranges_that_only_some_need() -> None:
    build_encoder("audio", "a", Librosa33Params(f0="zcr", f0_min=600, hop_length=16_384), LIMITS)
    build_encoder("audio", "a", Librosa33Params(f0="yin", hop_length=16_384), LIMITS)
    with pytest.raises(ParamsError, match="f0_min is 600"):
        build_encoder("audio", "a", Librosa33Params(f0="yin", f0_min=600), LIMITS)


def test_unvoiced_is_zero_and_mains_hum_is_no_voice(encoder: Librosa33) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert (encoder.features(noise)[:, 0] == 0).mean() > 0.8
    for hertz in (50, 60):
        hum = tone(hertz, 1.0, RATE, 0.01) + noise / 1000
        assert (encoder.features(hum)[4:-4, 0] == 0).all()


def test_chroma_of_a4_is_a(encoder: Librosa33) -> None:
    chroma = encoder.features(tone(440, 4.0, RATE))[20:-20, CHROMA]
    assert (chroma.argmax(axis=1) == 9).all()
    np.testing.assert_allclose(chroma[:, 9], 1, atol=1e-6)


@pytest.mark.parametrize("seconds", [3.5, 4.321])
def test_as_librosa_defines_them(encoder: Librosa33, seconds: float) -> None:
    y = speech_like(seconds)
    features = encoder.features(y)
    mfcc = librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=20, htk=True)
    chroma = librosa.feature.chroma_cqt(y=y, sr=RATE)
    assert features.shape[0] == mfcc.shape[1] == 1 + len(y) // HOP
    np.testing.assert_allclose(features[:, MFCC], mfcc.T, atol=1e-4)
    np.testing.assert_allclose(features[:, CHROMA], chroma.T, atol=1e-4)


def test_short_chroma_is_near_librosas(encoder: Librosa33) -> None:
    y = speech_like(1.0)
    with warnings.catch_warnings(action="ignore"):
        chroma = librosa.feature.chroma_cqt(y=y, sr=RATE)
    np.testing.assert_allclose(encoder.features(y)[:, CHROMA], chroma.T, atol=0.05)


@pytest.mark.parametrize("n_samples", [512, 513, 1023, 1024, 2047, 6615, 22_050, 70_559])
def test_short_clips_neither_warn_nor_fail(encoder: Librosa33, n_samples: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        features = encoder.features(speech_like(4.0)[:n_samples])
    assert features.shape == (1 + n_samples // HOP, 33)
    assert np.isfinite(features).all()


def test_less_than_a_frame_is_an_error(encoder: Librosa33) -> None:
    with pytest.raises(ClipError, match=r"511 samples .* less than one frame \(512 samples\)"):
        encoder.features(np.zeros(511, np.float32))


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_is_a_good_row_with_a_note(encoder: Librosa33, tmp_path: Path, level: float) -> None:
    noise = np.random.default_rng(0).normal(0, 1, RATE).astype(np.float32) * level
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        encoded = encoder.encode(Clip("a", wav(tmp_path, noise)))
    assert encoded.note.startswith("silent (RMS -")
    assert np.isfinite(encoded.features).all()
    if level == 0:
        assert (encoded.features[:, F0] == 0).all()
        assert (encoded.features[:, CHROMA] == 0).all()


def test_window_is_a_cut_of_the_waveform(encoder: Librosa33, tmp_path: Path) -> None:
    path = wav(tmp_path, speech_like(3.0))
    whole = waveform(path, LIMITS, sample_rate=RATE)
    window = encoder.encode(Clip("a", path, start_s=0.5, end_s=2.25))
    np.testing.assert_array_equal(window.features, encoder.features(whole[11_025:49_612]))
    assert window.times is not None
    assert window.times[0] == 0


def test_same_input_same_bytes(encoder: Librosa33, tmp_path: Path) -> None:
    clip = Clip("a", wav(tmp_path, speech_like(1.0), rate=44_100))
    assert encoder.encode(clip).features.tobytes() == encoder.encode(clip).features.tobytes()


def test_absent_and_cut_off(encoder: Librosa33, tmp_path: Path) -> None:
    for clip in (Clip("text only"), Clip("a", make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04]))):
        with pytest.raises(AbsentError):
            encoder.encode(clip)
    whole = make_clip(
        tmp_path / "whole.mkv", times=[i / 25 for i in range(50)], sound=speech_like(2), rate=RATE
    )
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert encoder.encode(Clip("a", cut)).note.startswith("file is cut off: audio up to ")


@pytest.mark.parametrize(("key", "settings"), [
    ("sample_rate", {"sample_rate": 8_000}),
    ("f0_min", {"f0_min": 20.0}),
    ("f0_min", {"f0_min": 400.0, "f0_max": 300.0}),
    ("hop_length", {"sample_rate": 9_000, "hop_length": 1024}),
])  # fmt: skip
def test_settings_that_do_not_fit(key: str, settings: dict[str, float]) -> None:
    with pytest.raises(ParamsError, match=rf"audio\.mine\.{key} is "):
        Librosa33("mine", Librosa33Params(**settings), LIMITS)


def test_fingerprint_follows_params_and_not_the_name() -> None:
    plain = Librosa33("a", Librosa33Params(), LIMITS)
    assert plain.fingerprint == Librosa33("b", Librosa33Params(), LIMITS).fingerprint
    assert plain.fingerprint != Librosa33("a", Librosa33Params(hop_length=256), LIMITS).fingerprint
    assert set(plain.provenance["libraries"]) == set(plain.LIBRARIES)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["grid/bbaf2n.mpg", "speech/zh_pexels_funasr.mp4", "awkward/very_short_0.32s.mp4"]
)
def test_real_clips(encoder: Librosa33, shared: Path, name: str) -> None:
    path = shared / "clips" / name
    encoded = encoder.encode(Clip("a", path))
    y = waveform(path, LIMITS, sample_rate=RATE)
    assert len(encoded.features) == 1 + len(y) // HOP
    assert np.isfinite(encoded.features).all()
    if "short" not in name:
        voiced = encoded.features[:, 0] > 0
        assert 0.15 < voiced.mean() < 0.95
        assert 70 < np.exp(np.median(encoded.features[voiced, 0])) < 320


@pytest.mark.shared
def test_silent_real_clip(encoder: Librosa33, shared: Path) -> None:
    assert "silent" in encoder.encode(Clip("a", shared / "clips/awkward/silent_audio.mp4")).note
