"""An hour of sound, six times what may be decoded: a row with a reason, and most of it is never read."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.long_sound import HOUR, count_decoded, state_no_length, write_hour
from made.tiny_audio import save_all
from made.tiny_speech import save_tiny_whisper

from pipeline.core.vocabulary import FAILED
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row
from pipeline.params.encoders import AudioEncoder, FbankParams, TransformerAudio, WhisperAudio
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hour(tmp_path_factory.mktemp("long") / "hour.wav")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AudioEncoder]:
    root = tmp_path_factory.mktemp("models")
    return {
        "whisper": WhisperAudio(model=str(save_tiny_whisper(root / "whisper"))),
        "hf_audio": TransformerAudio(model=str(save_all(root)["hubert"])),
        "fbank": FbankParams(),
    }


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("kind", ["whisper", "hf_audio", "fbank"])
def test_it_is_a_row_with_a_reason(
    kind: str,
    stated: bool,
    settings: dict[str, AudioEncoder],
    hour: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not stated:
        state_no_length(monkeypatch)
    decoded = count_decoded(monkeypatch)
    encoder = build_encoder("audio", kind, settings[kind], LIMITS)  # refused before its weights are read
    row = encode_row(encoder, EncodingTask(Clip("a", hour), ""))
    assert (row.status, row.features) == (FAILED, None)
    assert row.error.startswith("hour.wav: longer (") and "than media.max_seconds=600" in row.error
    assert (f"({HOUR:.2f} s)" in row.error) == stated
    assert sum(decoded) == 0 if stated else 600 < sum(decoded) < 602
