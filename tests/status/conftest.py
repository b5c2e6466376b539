"""The project that the tests of this room change copies of."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.tiny_project import make_project


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project of DVC in which everything is up to date."""
    return make_project(tmp_path_factory.mktemp("once") / "project")
