"""The studies in experiments/: each is a DVC project of its own, whose params and commands are valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from typer.main import get_command

from models import METHODS
from pipeline.cli.app import app
from pipeline.params.params import load_params

PROJECT = Path(__file__).parents[2]
STUDIES = sorted(file.parent for file in PROJECT.glob("experiments/*/dvc.yaml"))

pytestmark = pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)


def test_params_are_valid(study: Path) -> None:
    params = load_params(study / "params.yaml")
    for name in params.models_run:
        config = METHODS[name].load().Config
        for dataset in params.datasets_run:
            config.model_validate(params.model(name, dataset))


def test_it_is_a_project_of_its_own(study: Path) -> None:
    params, stages = load_params(study / "params.yaml"), Repo(str(study)).index.stages
    assert {Path(stage.path) for stage in stages} == {study / "dvc.yaml"}
    trained = [stage.name for stage in stages if stage.name.startswith("train@")]
    assert len(trained) == len(params.models_run) * len(params.datasets_run)
    for name in ("models", "pipeline", "constraints.txt"):
        assert (study / name).resolve() == PROJECT / name


def test_every_stage_calls_a_command_that_is_there(study: Path) -> None:
    commands: Any = get_command(app)
    for stage in Repo(str(study)).index.stages:
        program, *words = str(stage.cmd).split()
        if program == "python":
            assert (study / words[0]).is_file()
            continue
        command = commands
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        options = {name for option in command.params for name in option.opts}
        assert program == "msa-cli" and {word for word in words if word.startswith("-")} <= options
