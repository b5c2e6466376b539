"""No command and no stage imports a heavy library unless it computes with it; each is run for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.made_mmsa import make
from made.workspace import Workspace, make_workspace

HEAVY = ("torch", "transformers", "librosa", "mediapipe", "dvc", "optuna", "ray")
SPARED = ("matplotlib", "mediapipe.tasks", "pandas", "sklearn", "torch._dynamo", "torch.distributed.tensor")
AT_ONCE = (*HEAVY, *SPARED, "numpy", "pyarrow", "scipy", "av", "cv2")
PROGRAM = f"""
import json, sys
from pipeline.cli.app import main
found = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["msa-cli", *words]
    try:
        code = main() or 0
    except SystemExit as done:
        code = done.code or 0
    assert code == 0, (words, code)
    found.append([name for name in {AT_ONCE} if sys.modules.get(name)])
print("\\n" + json.dumps(found))
"""

PREPARED = (
    "import foreign --name brought --no-run",
    "stage ingest sample",
    "stage transcribe sample",
    "stage text sample minilm",
    "stage audio sample librosa33",
    "stage visual sample facemesh",
    "stage assemble sample",
    "stage train misr sample",
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
    "claims",
    "doctor",
    "explain",
    "extract",
    "fetch",
    "import",
    "ingest",
    "predict",
    "robust",
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
    results = made.folder / "results" / "sample" / "misr" / "predictions.parquet"
    table = pq.read_table(results)  # all clips are of one video, on which nothing can be tested
    videos = pa.array([f"video {i}" for i in range(len(table))])
    pq.write_table(table.drop_columns("video_id").append_column("video_id", videos), results)
    made.run("git", "add", ".")
    made.run("git", "commit", "-qm", "small")
    return made


def run(workspace: Workspace, *commands: str) -> set[str]:
    """Libraries that a process has imported after these commands of `msa-cli`."""
    return run_each(workspace, *commands)[-1]


def run_each(workspace: Workspace, *commands: str) -> list[set[str]]:
    """Libraries that a process has imported after each of these commands."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([command.split() for command in commands])],
        cwd=workspace.folder,
        env=workspace.environment() | {"MSA_WORKERS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{commands}:\n{done.stdout}{done.stderr}"
    return [set(names) for names in json.loads(done.stdout.splitlines()[-1])]


def test_light_commands_and_stages(workspace: Workspace) -> None:
    for command, opened in zip(LIGHT, run_each(workspace, *LIGHT), strict=True):
        assert opened & {*HEAVY, *SPARED} <= {"matplotlib"}, command  # report draws


@pytest.mark.parametrize("command", COMPUTING)
def test_learning_from_frozen_features_takes_torch_alone(workspace: Workspace, command: str) -> None:
    assert run(workspace, command) & {*HEAVY, "matplotlib"} == {"torch"}


def test_a_pretrained_encoder_and_the_mesh_open_what_they_compute_with_alone(workspace: Workspace) -> None:
    """With the weights loaded, the graph made, the features written."""
    clip = sorted((workspace.folder / "data" / "sample").rglob("*.mp4"))[0]
    opened = run(workspace, f"extract --video {clip} --text Good. --out features")
    assert {"torch", "transformers", "librosa", "mediapipe"} <= opened
    assert not opened & set(SPARED)


def test_help_imports_nothing_at_all(workspace: Workspace) -> None:
    assert run(workspace, "--help", *(f"{command} --help" for command in HELP)) == set()


def test_doctor_imports_what_it_examines_alone(workspace: Workspace) -> None:
    assert not run(workspace, "doctor") & {"dvc", "optuna"}
