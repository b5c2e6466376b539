"""The tiny method and its training set."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.tiny_set import write_tiny_set

from models import METHODS, MethodEntry


@pytest.fixture
def tiny_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "tiny", MethodEntry("made.tiny_set"))


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("assembled") / "tiny")
