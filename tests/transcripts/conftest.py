"""The tiny random Whisper that recognition is tried with."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.tiny_speech import save_tiny_whisper


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("models") / "whisper-tiny-random")
