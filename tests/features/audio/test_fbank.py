"""fbank: Kaldi's bands by NumPy from their definition, against the real torchaudio where it imports."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made.media_factory import make_clip, tone

from pipeline.core.errors import AbsentError, ClipError, MissingDependencyError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.features.audio.fbank import Fbank
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row
from pipeline.media.decode import waveform
from pipeline.params.encoders import FbankParams
from pipeline.params.params import MediaLimits

KALDI = "torchaudio.compliance.kaldi"


def mel(hertz: np.ndarray | float) -> Any:
    return 1127 * np.log(1 + np.asarray(hertz) / 700)


def kaldi_fbank(sound: np.ndarray, bands: int) -> np.ndarray:
    """Kaldi's feature-fbank.cc and mel-computations.cc, Hann window, no dither; (n, bands), float64."""
    sound = sound.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(sound, 400)[::160]
    windows = windows - windows.mean(axis=1, keepdims=True)
    before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
    emphasised = (windows - 0.97 * before) * np.hanning(400)
    power = np.abs(np.fft.rfft(emphasised, 512)) ** 2
    edges = np.linspace(mel(20), mel(8_000), bands + 2)
    at = mel(np.arange(257) * SAMPLE_RATE / 512)
    rising = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.minimum(rising, falling).clip(0)
    triangles[:, 256] = 0  # Kaldi has no triangle reach the last bin
    return np.log(np.maximum(power @ triangles.T, np.finfo(np.float32).eps))


def stand_in(waveform: torch.Tensor, **options: Any) -> torch.Tensor:
    assert options.pop("num_mel_bins") in (80, 128) and options == {
        "sample_frequency": 16_000,
        "frame_length": 25.0,
        "frame_shift": 10.0,
        "window_type": "hanning",
        "dither": 0.0,
    }
    return torch.from_numpy(kaldi_fbank(waveform[0].numpy(), 80)).float()


def built(bands: int = 128) -> Fbank:
    encoder = build_encoder("audio", "fbank", FbankParams(bands=bands), MediaLimits())  # type: ignore[arg-type]
    assert isinstance(encoder, Fbank)
    return encoder


def wav(folder: Path, y: np.ndarray) -> Clip:
    file = folder / f"{len(y)}.wav"
    return Clip("a", make_clip(file, sound=y, rate=SAMPLE_RATE, audio_codec="pcm_s16le"))


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)


# ------------------------------------------------------------------------------------------------- a stand-in
def test_columns_and_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, KALDI, SimpleNamespace(fbank=stand_in))
    encoder = built(80)
    encoder.load()
    encoded = encoder.encode(wav(tmp_path, tone(300, 1.0, SAMPLE_RATE)))
    assert encoded.features.shape == (98, encoder.dim) == (98, 80)
    assert encoded.features.dtype == np.float32 and encoder.column_names[79] == "mel_79"
    np.testing.assert_allclose(encoded.times, (np.arange(98) * 160 + 199.5) / SAMPLE_RATE, atol=1e-6)
    assert (encoder.frame_rate, built().dim, encoded.note) == (100, 128, "")
    silent = encoder.encode(wav(tmp_path, np.zeros(8_000, np.float32)))
    assert silent.note.startswith("silent") and np.isfinite(silent.features).all()


def test_clips_that_give_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, KALDI, SimpleNamespace(fbank=stand_in))
    encoder = built(80)
    encoder.load()
    mute = Clip("mute", make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04]))
    for clip in (Clip("text only"), mute):
        with pytest.raises(AbsentError):
            encoder.encode(clip)
    assert encode_row(encoder, EncodingTask(mute, "s")).status == "absent"
    for samples in (1, 399):
        with pytest.raises(ClipError, match=rf"{samples} samples of sound .* less than one frame \(400"):
            encoder.encode(wav(tmp_path, noise(samples)))
    assert len(encoder.encode(wav(tmp_path, noise(400))).features) == 1


def refuses(encoder: Fbank) -> None:
    for needs_it in (lambda: encoder.load(), lambda: encoder.fingerprint):
        with pytest.raises(MissingDependencyError, match=r"needs torchaudio \(.*\[torchaudio\].*lib/\*\.so"):
            needs_it()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, KALDI, None)
    refuses(built())


def test_one_for_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libcudart.so.13: cannot open shared object file")

    encoder = built()
    stub = SimpleNamespace(import_module=broken)
    monkeypatch.setattr("pipeline.features.audio.extras.importlib", stub)
    refuses(encoder)


# ----------------------------------------------------------------------------------------------- the real one
@pytest.fixture
def real() -> Fbank:
    try:
        import torchaudio.compliance.kaldi  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"torchaudio does not import here: {error}")
    encoder = built()
    encoder.load()
    return encoder


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("kind", ["noise", "tone", "soft"])
def test_real_bands_are_kaldis(real: Fbank, tmp_path: Path, bands: int, kind: str) -> None:
    sound = {"noise": noise(20_000), "tone": tone(440, 1.0, SAMPLE_RATE), "soft": noise(5_000) / 500}[kind]
    encoder = built(bands)
    encoder.load()
    clip = wav(tmp_path, sound)
    assert clip.path is not None
    found = encoder.encode(clip).features
    expected = kaldi_fbank(waveform(clip.path, MediaLimits(), sample_rate=SAMPLE_RATE), bands)
    assert found.shape == expected.shape
    loud = expected > expected.max() - 14  # 60 dB; what is below is float32's rounding in the FFT
    np.testing.assert_allclose(found[loud], expected[loud], atol=0.01)
    assert loud.any(axis=1).all() and np.median(np.abs(found - expected)[loud]) < 1e-3


def test_real_bytes_and_provenance(real: Fbank, tmp_path: Path) -> None:
    clip = wav(tmp_path, noise(9_000))
    first = real.encode(clip).features.tobytes()
    real.encode(wav(tmp_path, noise(30_000)))
    assert real.encode(clip).features.tobytes() == first
    assert real.provenance["libraries"]["torchaudio"].startswith("2.")
    assert real.fingerprint != built(80).fingerprint
    assert np.isfinite(real.encode(wav(tmp_path, np.zeros(16_000, np.float32))).features).all()
