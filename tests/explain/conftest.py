"""The sample corpus as a project, with runs that have learnt what is planted in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from made.planted_sample import PlantedSample, make_planted_sample


@pytest.fixture(scope="package")
def made_planted(tmp_path_factory: pytest.TempPathFactory, project: Path) -> PlantedSample:
    return make_planted_sample(tmp_path_factory.mktemp("planted"), project / "data" / "sample")


@pytest.fixture
def planted(made_planted: PlantedSample) -> Iterator[PlantedSample]:
    """With its project as the current folder."""
    before = Path.cwd()
    os.chdir(made_planted.folder)
    try:
        yield made_planted
    finally:
        os.chdir(before)
