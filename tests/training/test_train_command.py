"""`python -m pipeline.training.loop.train`: a run on a machine that has the learning libraries alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made.tiny_misr import TINY
from made.tiny_set import write_tiny_set
from typer.testing import CliRunner

from pipeline.params.run import read_run
from pipeline.training.loop.train import main

# what such a machine may lack; Python runs this file first when its folder is on the path
HIDING = """
import sys
hidden = "yaml ruamel typer rich dvc dvclive scmrepo av librosa cv2 mediapipe matplotlib".split()
hidden += ["scipy", "sklearn"]
for name in [*hidden, *sys.modules]:
    if name.split(".")[0] in hidden:
        sys.modules[name] = None
"""


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    settings = {**TINY, "training": {"epochs": 2, "lr_other": 1e-3}}
    folders = {"assembled": write_tiny_set(tmp_path / "set"), "pretrained": tmp_path / "none"}
    return {
        "method_name": "misr",
        "dataset": "tiny",
        "seed": 3,
        "method_params": settings,
        "train_params": {"precision": "fp32"},
        "out": str(tmp_path / "runs" / "misr-tiny-3"),
        **{name: str(folder) for name, folder in folders.items()},
    }


def command(config: dict[str, Any], here: Path) -> subprocess.CompletedProcess[str]:
    (here / "run.json").write_text(json.dumps(config), encoding="utf-8")
    (here / "hiding").mkdir(exist_ok=True)
    (here / "hiding" / "sitecustomize.py").write_text(HIDING, encoding="utf-8")
    project = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here / "hiding"), str(project)])}
    arguments = [
        sys.executable,
        "-m",
        "pipeline.training.loop.train",
        "--config",
        "run.json",
        "--device",
        "cpu",
    ]
    return subprocess.run(arguments, cwd=here, env=environment, capture_output=True, text=True, check=False)


def test_a_run_from_its_json(config: dict[str, Any], tmp_path: Path) -> None:
    done = command(config, tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    kept = json.loads((tmp_path / "runs" / "misr-tiny-3" / "config.json").read_text())
    assert summary["epochs"] == 2
    assert kept["valid_loss"] == summary["valid_loss"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": None}, "key 'seed' is missing"),
        ({"seed": "first"}, "seed is 'first': Input should be a valid integer"),
        ({"seed": -1}, "seed is -1: Input should be greater than or equal to 0"),
        ({"method_params": [3]}, r"method_params is \[3\]: Input should be a valid dictionary"),
        ({"outt": "runs"}, "name 'outt' is not known, did you mean 'out'"),
        ({"train_params": {"precision": "fp8"}}, r"train_params\.precision is 'fp8'"),
        ({"method_params": {"widht": 3}}, "did you mean 'width'"),
        ({"assembled": "nowhere"}, "nowhere: not an assembled set"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    change: dict[str, Any],
    message: str,
    config: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = {name: value for name, value in {**config, **change}.items() if value is not None}
    (tmp_path / "run.json").write_text(json.dumps(changed), encoding="utf-8")
    arguments = ["train", "--config", str(tmp_path / "run.json"), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match=message):  # its text goes to stderr, and the exit status is 1
        main()


def test_the_stage_writes_that_json(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.cli.stages import app

    monkeypatch.chdir(project)
    out = tmp_path / "run.json"
    arguments = ["train", "misr", "sample", "--seed", "7", "--write-config", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    run = read_run(out)
    assert (run.seed, run.out, run.title) == (7, Path("runs/misr-sample/7"), "misr-sample-7")
    assert run.method_params["weights"]["invariance"] == 1.0
