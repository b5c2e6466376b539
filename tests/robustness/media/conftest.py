"""Projects of small real files, and runs on them."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from made.media_corpus import (
    Letters,
    Loudness,
    make_media_corpus,
    trained,
)
from made.tiny_audio_only import TINY

from pipeline.features.encoder import Encoder
from pipeline.params.params import Params
from pipeline.robustness.media import extract
from pipeline.robustness.media import heard as hearing
from pipeline.training.runs import TrainedRun


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    project = tmp_path_factory.mktemp("media")
    return project, make_media_corpus(project)


@pytest.fixture
def media_project(
    made: tuple[Path, Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Params]:
    """A copy to work in."""
    shutil.copytree(made[0] / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path, made[1]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows are made in this process; gives the names of those that were, as they come."""
    names: list[str] = []

    def run(make, tasks, **how):  # type: ignore[no-untyped-def]
        work = make()
        for task in tasks:
            found = work(task)
            names.extend(row.clip_id for row in (found if isinstance(found, list) else ()))
            yield task, found

    monkeypatch.setattr(extract.local, "run", run)
    for module, encoder in ((extract, Loudness), (hearing, Letters)):
        monkeypatch.setattr(module, "build_encoder", partial(built, encoder))
    return names


def built(encoder: type[Encoder], modality: str, *given: Any) -> Encoder:
    return encoder(*given)


@pytest.fixture
def run(media_project: tuple[Path, Params]) -> TrainedRun:
    return trained("audio_only", TINY)
