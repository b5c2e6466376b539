"""opensmile: the encoder's frame by a stand-in, and openSMILE itself where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made.media_factory import make_clip, tone

from pipeline.core.errors import AbsentError, ClipError, MissingDependencyError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.features.audio.opensmile import COLUMNS, OpenSmile
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.params.encoders import OpenSmileParams
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()


def built() -> OpenSmile:
    encoder = build_encoder("audio", "egemaps", OpenSmileParams(), LIMITS)
    assert isinstance(encoder, OpenSmile)
    return encoder


def wav(folder: Path, y: np.ndarray) -> Path:
    return make_clip(folder / "clip.wav", sound=y, rate=SAMPLE_RATE, audio_codec="pcm_s16le")


class StandIn:
    """Takes openSMILE's place: remembers what it was asked, and counts frames as it does."""

    FeatureSet = SimpleNamespace(eGeMAPSv02="set")
    FeatureLevel = SimpleNamespace(LowLevelDescriptors="level")

    def __init__(self, columns: tuple[str, ...] = COLUMNS):
        self.columns = list(columns)
        self.asked: list[Any] = []

    def Smile(self, **options: str) -> StandIn:
        self.asked.append(options)
        return self

    def process_signal(self, y: np.ndarray, rate: int) -> pd.DataFrame:
        self.asked.append((len(y), rate))
        frames = len(y) // 160 - 4
        return pd.DataFrame(np.arange(frames * 25.0).reshape(frames, 25), columns=self.columns)


def test_columns_and_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = StandIn()
    monkeypatch.setitem(sys.modules, "opensmile", library)
    encoder = built()
    encoder.load()
    encoded = encoder.encode(Clip("a", wav(tmp_path, tone(220, 2.0, SAMPLE_RATE)), start_s=0.5, end_s=1.5))
    assert library.asked == [{"feature_set": "set", "feature_level": "level"}, (SAMPLE_RATE, SAMPLE_RATE)]
    assert len(set(encoder.column_names)) == encoder.dim == 25
    assert encoded.features.shape == (96, 25) and encoded.features.dtype == np.float32
    assert encoded.times is not None
    np.testing.assert_allclose(encoded.times[[0, 95]], [0.01, 0.96])
    assert encoder.frame_rate == 100
    assert "silent" in encoder.encode(Clip("a", wav(tmp_path, np.zeros(SAMPLE_RATE, np.float32)))).note


def test_clips_that_give_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", StandIn(("other", *COLUMNS[1:])))
    encoder = built()
    encoder.load()
    with pytest.raises(AbsentError):
        encoder.encode(Clip("text only"))
    with pytest.raises(AbsentError):
        encoder.encode(Clip("mute", make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04])))
    with pytest.raises(ClipError, match=r"959 samples .* window \(960\)"):
        encoder.encode(Clip("short", wav(tmp_path, tone(220, 959 / SAMPLE_RATE, SAMPLE_RATE))))
    with pytest.raises(ClipError, match="other columns than eGeMAPSv02"):
        encoder.encode(Clip("a", wav(tmp_path, tone(220, 1.0, SAMPLE_RATE))))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    for needs_it in (lambda encoder: encoder.load(), lambda encoder: encoder.fingerprint):
        with pytest.raises(MissingDependencyError, match=r"msa-pipeline\[opensmile\].*Research License"):
            needs_it(built())


# ----------------------------------------------------------------------------------------------- the real one
@pytest.fixture
def real() -> OpenSmile:
    pytest.importorskip("opensmile")
    encoder = built()
    encoder.load()
    return encoder


def test_real_columns_pitch_and_times(real: OpenSmile, tmp_path: Path) -> None:
    voice = sum(tone(n * 200, 1.0, SAMPLE_RATE, 0.3 / n) for n in range(1, 11))
    encoded = real.encode(Clip("a", wav(tmp_path, voice)))
    assert encoded.features.shape == (96, 25)
    pitch = encoded.features[10:-10, COLUMNS.index("F0semitoneFrom27.5Hz_sma3nz")]
    np.testing.assert_allclose(27.5 * 2 ** (pitch / 12), 200, rtol=0.01)
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[11_190:11_210] = 0.9  # at 0.7 s
    encoded = real.encode(Clip("a", wav(tmp_path, click)))
    loudness = encoded.features[:, 0] - encoded.features[:, 0].min()
    assert encoded.times is not None
    assert (loudness * encoded.times).sum() / loudness.sum() == pytest.approx(0.7, abs=0.005)
    assert real.provenance["libraries"]["opensmile"]


def test_real_bytes_and_shortest(real: OpenSmile, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    clip = Clip("a", wav(tmp_path, noise))
    assert real.encode(clip).features.tobytes() == real.encode(clip).features.tobytes()
    assert np.isfinite(real.encode(Clip("a", wav(tmp_path, noise[:960]))).features).all()
    assert np.isfinite(real.encode(Clip("a", wav(tmp_path, 0 * noise))).features).all()
