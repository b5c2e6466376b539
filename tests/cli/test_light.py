"""No command and no stage imports a heavy library unless it computes with it; each is run for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made.made_mmsa import make
from made.workspace import Workspace, make_workspace

HEAVY = ("torch", "transformers", "librosa", "mediapipe", "dvc", "optuna", "ray")
AT_ONCE = (*HEAVY, "numpy", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "av", "cv2")
PROGRAM = f"""
import json, sys
from pipeline.cli.app import main
found = {{}}
for words in json.loads(sys.argv[1]):
    sys.argv = ["msa-cli", *words]
    try:
        code = main() or 0
    except SystemExit as done:
        code = done.code or 0
    assert code == 0, (words, code)
print("\\n" + json.dumps([name for name in {AT_ONCE} if sys.modules.get(name)]))
"""

PREPARED = (
    "import foreign --name brought --no-run",
    "stage ingest sample",
    "stage transcribe sample",
    "stage text sample minilm",
    "stage audio sample librosa33",
    "stage visual sample facemesh",
    "stage assemble sample",
    "stage train misr sample --seed 1",
    "stage train misr sample --seed 2",
    "stage evaluate misr sample",
)
LIGHT = (
    "info data/features/sample/visual-facemesh",
    "info runs/misr-sample/1",
    "ingest mmsa data/sample --name again --no-run",
    "import foreign --name again_brought --no-run",
    "validate sample",
    "validate brought",
    "report",
    "runs",
    "compare HEAD",
    "significance misr-sample/1 --against misr-sample/2 --resamples 100",
    "table misr 4 --print",
    "stage ingest sample",
    "stage transcribe sample",
    "stage import brought",
    "stage text sample minilm",
    "stage audio sample librosa33",
    "stage visual sample facemesh",
    "stage assemble sample",
    "stage train misr sample --seed 1 --write-config run.json",
    "stage report",
)
HELP = (
    "doctor",
    "extract",
    "fetch",
    "import",
    "ingest",
    "noise",
    "predict",
    "runs",
    "stage train",
    "tune",
    "validate",
    "why",
)
COMPUTING = (  # frozen features: no transformers; curves that are not live: no DVCLive, which imports DVC
    "stage train misr sample --seed 1",
    "stage evaluate misr sample",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Workspace:
    """A small project in which every stage has run once."""
    made = make_workspace(tmp_path_factory.mktemp("light"), project)
    made.edit(models_run=["misr"], seeds=[1, 2], models__misr__corpora__sample__training__epochs=1)
    make(made.folder / "foreign")
    run(made, *PREPARED)
    made.run("git", "add", ".")
    made.run("git", "commit", "-qm", "small")
    return made


def run(workspace: Workspace, *commands: str) -> set[str]:
    """Libraries that a process has imported after these commands of `msa-cli`."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([command.split() for command in commands])],
        cwd=workspace.folder,
        env=workspace.environment() | {"MSA_WORKERS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{commands}:\n{done.stdout}{done.stderr}"
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", LIGHT)
def test_light_commands_and_stages(workspace: Workspace, command: str) -> None:
    assert not run(workspace, command) & set(HEAVY)


@pytest.mark.parametrize("command", COMPUTING)
def test_learning_from_frozen_features_takes_torch_alone(workspace: Workspace, command: str) -> None:
    assert run(workspace, command) & {*HEAVY, "matplotlib"} == {"torch"}


def test_help_imports_nothing_at_all(workspace: Workspace) -> None:
    assert run(workspace, "--help", *(f"{command} --help" for command in HELP)) == set()


def test_doctor_imports_what_it_examines_alone(workspace: Workspace) -> None:
    assert not run(workspace, "doctor") & {"dvc", "optuna"}
