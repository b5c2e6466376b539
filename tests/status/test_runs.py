"""`msa-cli runs` over real trainings of a small set: wanted, there, in the middle, old, and not wanted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made.tiny_set import write_tiny_set
from made.workspace import SMALL, Workspace

from pipeline.core.files import one_writer
from pipeline.params.params import load_params
from pipeline.status.runs import STATES, RunRow, list_runs
from pipeline.training.loop import checkpoint, train

SEEDS = [1, 2]
TRAIN = ("stage", "train", "misr", "sample", "--device", "cpu", "--workers", "1")
Cli = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """A project with two runs of MISR, three epochs each."""
    folder = tmp_path_factory.mktemp("runs") / "project"
    write_tiny_set(folder / "data/assembled/sample")
    shutil.copy(project / "params.yaml", folder)
    workspace = Workspace(folder)
    small = {**SMALL, "training": {"epochs": 3}}
    workspace.edit(models_run=["misr"], seeds=SEEDS, models__misr__corpora__sample=small)
    workspace.run("msa-cli", *TRAIN)
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "project"))
    return Workspace(tmp_path / "project")


def listed() -> dict[int, RunRow]:
    """By seed."""
    rows = list_runs(load_params())
    assert {(row.method, row.dataset) for row in rows} == {("misr", "sample")}
    assert all(row.state in STATES for row in rows)
    return {row.seed: row for row in rows}


def states() -> dict[int, str]:
    return {seed: f"{row.state}: {row.note}" if row.note else row.state for seed, row in listed().items()}


def save_results(folder: Path, *seeds: int) -> None:
    """metrics.json as evaluate writes it, of runs that are there."""
    entries = []
    for seed in seeds:
        config = json.loads((folder / f"runs/misr-sample/{seed}/config.json").read_text())
        alike = {name: config[name] for name in ("method", "dataset", "seed", "epoch", "feature_set")}
        entries.append({**alike, "test": {"acc7": 0.25, "mae": 1.5 + seed}, "valid": {"mae": 1.0}})
    metrics = {"mae": {"mean": 2.0, "sd": 0.5}, "valid_mae": {"mean": 1.0, "sd": 0.0}, "runs": entries}
    path = folder / "results/sample/misr/metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics))


def test_trained_and_evaluated(here: Workspace) -> None:
    assert states() == {1: "trained", 2: "trained"}
    save_results(here.folder, 1)
    assert states() == {1: "evaluated", 2: "trained"}
    row = listed()[1]
    config = json.loads((here.folder / "runs/misr-sample/1/config.json").read_text())
    log = json.loads((here.folder / "logs/train-misr-sample-1.json").read_text())
    assert (row.epoch, row.epochs, row.valid_loss) == (config["epoch"], 3, config["valid_loss"])
    assert row.seconds == log["seconds"] > 0
    assert row.test == {"mae": 2.5}  # the chief metrics, of which there is a mean


def test_missing_and_not_wanted(here: Workspace) -> None:
    here.edit(seeds=[2, 3])
    save_results(here.folder, 1, 2)
    assert states() == {2: "evaluated", 3: "missing", 1: "not wanted"}
    assert listed()[3] == RunRow("misr", "sample", 3, "missing")
    shutil.rmtree(here.folder / "runs")
    assert states() == {2: "missing: its results exist", 3: "missing", 1: "not wanted"}
    assert listed()[2].test == {"mae": 3.5}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models__misr__base__weights__prior": 0.9}, "weights.prior"),
        ({"models__misr__corpora__sample__width": 32}, "width"),
        ({"train__precision": "bf16"}, "precision"),
    ],
)
def test_stale_settings(here: Workspace, change: dict[str, Any], words: str) -> None:
    here.edit(**change)
    assert states() == dict.fromkeys(SEEDS, f"stale: with other {words}")


def test_stale_features_and_files(here: Workspace) -> None:
    (here.folder / "runs/misr-sample/2/model.safetensors").unlink()
    assert states()[2] == "stale: model.safetensors is missing"
    stats = here.folder / "data/assembled/sample/stats.json"
    stats.write_text(stats.read_text().replace("f" * 64, "a" * 64))
    assert states() == dict.fromkeys(SEEDS, "stale: with other features")


def test_results_of_an_earlier_run(here: Workspace) -> None:
    save_results(here.folder, 1)
    path = here.folder / "results/sample/misr/metrics.json"
    path.write_text(path.read_text().replace("f" * 64, "a" * 64))
    assert states()[1] == "trained: its results are from an earlier training"


def test_running_and_unfinished(here: Workspace, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(checkpoint, "SAVE_SHARE", float("inf"))
    loss, seen = train.valid_loss, []

    def killing(*arguments: Any) -> float:
        if arguments[-1] == 3:
            seen.append(states()[3])
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(train, "valid_loss", killing)
    here.edit(seeds=[*SEEDS, 3])
    assert cli(*TRAIN)[0] != 0
    assert seen == ["running: epoch 2 of 3"]
    assert states() == {1: "trained", 2: "trained", 3: "unfinished: epoch 2 of 3"}
    monkeypatch.setattr(train, "valid_loss", loss)
    assert cli(*TRAIN)[0] == 0
    assert states() == dict.fromkeys((*SEEDS, 3), "trained")
    with one_writer(here.folder / "runs/misr-sample/3"):
        assert states()[3] == "trained"


def test_foreign_and_damaged_files_are_no_runs(here: Workspace) -> None:
    for name, text in {
        "runs/misr-sample/1/config.json": "{",
        "runs/misr-sample/2/config.json": "[1]",
        "runs/other/9/config.json": "{}",
        "results/sample/misr/metrics.json": "\0",
        "results/sample/cmir/metrics.json": '{"runs": [{}, 1], "mae": 1}',
        ".state/x/progress.json": '{"run": 1}',
    }.items():
        (here.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (here.folder / name).write_text(text)
    shutil.copytree(here.folder / "runs/misr-sample/1", here.folder / "runs/misr-sample/copy")
    assert states() == dict.fromkeys(SEEDS, "stale: config.json cannot be read")


def test_command(here: Workspace, cli: Cli) -> None:
    save_results(here.folder, 1, 2)
    code, output = cli("runs")
    heading, _, *rows = [line.split() for line in output.splitlines() if line.strip()]
    assert code == 0
    assert heading == ["method", "set", "seed", "state", "epoch", "valid", "loss", "mae", "seconds"]
    assert [row[:4] for row in rows] == [["misr", "sample", str(seed), "evaluated"] for seed in SEEDS]
    assert [row[6] for row in rows] == ["2.5000", "3.5000"]
    code, output = cli("runs", "--json")
    assert code == 0 and [row["test"] for row in json.loads(output)] == [{"mae": 2.5}, {"mae": 3.5}]


def test_what_evaluate_writes(here: Workspace, cli: Cli) -> None:
    code, said = cli("stage", "evaluate", "misr", "sample", "--device", "cpu")
    assert code == 0, said
    assert states() == dict.fromkeys(SEEDS, "evaluated")
    metrics = json.loads((here.folder / "results/sample/misr/metrics.json").read_text())
    for entry in metrics["runs"]:
        row = listed()[entry["seed"]]
        assert {"mae", "corr"} <= row.test.keys() < entry["test"].keys()
        assert row.test == {name: entry["test"][name] for name in row.test}
        assert row.epoch == entry["epoch"]
