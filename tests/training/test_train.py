"""Training: same bytes for one seed, killed or not; the right epoch; errors that name their cause."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import tiny_set
from made.tiny_set import Tiny, write_tiny_set
from made.tiny_training import contents, run

import pipeline.training.loop.device
import pipeline.training.loop.train
from models import METHODS, MethodEntry
from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.curves import read_table
from pipeline.training.loop.train import train

pytestmark = pytest.mark.usefixtures("tiny_method")

# what `python -c` runs: the same training as `run`, in a process of its own
SCRIPT = """
import os, signal, sys
from pathlib import Path
{before}
from models import METHODS, MethodEntry
METHODS["tiny"] = MethodEntry("made.tiny_set")
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train
{after}
here = Path(sys.argv[1])
run = here / "runs" / "tiny-tiny-7"
whole = dict(method_name="tiny", dataset="tiny", seed=7, method_params={{}}, train_params=TrainParams())
train(RunConfig(**whole, assembled=Path(sys.argv[2]), pretrained=here / "pretrained", out=run),
      device="cpu", state_root=here / "state", logs=here / "logs")
"""


def python(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    tests = Path(tiny_set.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def undisturbed(assembled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a whole run with seed 7."""
    here = tmp_path_factory.mktemp("undisturbed")
    METHODS["tiny"] = MethodEntry("made.tiny_set")
    run(assembled, here)
    del METHODS["tiny"]
    return here / "runs" / "tiny-tiny-7"


# ------------------------------------------------------------------------------------------ same bytes
def test_a_set_on_the_disk_gives_the_same_bytes(
    assembled: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.datasets.training_set.IN_MEMORY", -1)
    run(assembled, tmp_path)
    assert contents(tmp_path / "runs" / "tiny-tiny-7") == contents(undisturbed)


def test_one_seed_gives_the_same_bytes(assembled: Path, undisturbed: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(assembled, tmp_path)
    found = contents(tmp_path / "runs" / "tiny-tiny-7")
    assert found == contents(undisturbed)
    tables = {"curves.tsv", "train.predictions.parquet", "valid.predictions.parquet"}
    assert set(found) == {"model.safetensors", "config.json", *tables}
    run(assembled, tmp_path, seed=8)
    other = contents(tmp_path / "runs" / "tiny-tiny-8")
    assert other["model.safetensors"] != found["model.safetensors"]
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_killed_and_resumed_is_undisturbed(assembled: Path, undisturbed: Path, tmp_path: Path) -> None:
    killed = SCRIPT.format(
        before="",
        after="""
from made import tiny_set
from pipeline.training.loop import checkpoint
checkpoint.SAVE_EVERY_S, checkpoint.SAVE_SHARE = 0.0, float("inf")
losses = tiny_set.Tiny.losses
def deadly(self, batch, output, terms):
    if self.passes == 37:  # of 8 an epoch: in the middle of the fifth
        os.kill(os.getpid(), signal.SIGKILL)
    return losses(self, batch, output, terms)
tiny_set.Tiny.losses = deadly
""",
    )
    first = python(killed, tmp_path, assembled)
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert not (tmp_path / "runs" / "tiny-tiny-7").exists()
    assert len(list((tmp_path / "state").glob("*/state.pt"))) == 1

    summary = run(assembled, tmp_path)
    assert summary["resumed_at"] == 4
    assert contents(tmp_path / "runs" / "tiny-tiny-7") == contents(undisturbed)
    assert list((tmp_path / "state").iterdir()) == []


def test_other_settings_or_fresh_do_not_continue(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.training.loop.checkpoint.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("pipeline.training.loop.checkpoint.SAVE_SHARE", math.inf)
    with pytest.raises(MsaError, match="epoch 4, batch 1"):
        run(assembled, tmp_path, {"explode_at": 25})
    assert len(list((tmp_path / "state").glob("*/state.pt"))) == 1
    assert run(assembled, tmp_path, {"explode_at": -2})["resumed_at"] == 0
    assert len(list((tmp_path / "state").glob("*/state.pt"))) == 1  # the other one's
    with pytest.raises(MsaError, match="epoch 4, batch 1"):
        run(assembled, tmp_path, {"explode_at": 25}, fresh=True)
    with pytest.raises(MsaError, match="epoch 7, batch 1"):  # goes on after the third epoch
        run(assembled, tmp_path, {"explode_at": 25})


def test_unreadable_state_is_started_over(
    assembled: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pipeline.training.loop.train.fingerprint", lambda identity: "here")
    (tmp_path / "state" / "here").mkdir(parents=True)
    (tmp_path / "state" / "here" / "state.pt").write_bytes(b"half a file")
    run(assembled, tmp_path)
    assert "cannot be read" in capsys.readouterr().err
    assert contents(tmp_path / "runs" / "tiny-tiny-7") == contents(undisturbed)


def test_runs_without_what_a_training_machine_may_lack(
    assembled: Path, undisturbed: Path, tmp_path: Path
) -> None:
    block = """
hidden = "yaml ruamel typer rich dvc dvclive av librosa cv2 mediapipe matplotlib scipy sklearn".split()
for name in [*hidden, *sys.modules]:
    if name.split(".")[0] in hidden:
        sys.modules[name] = None
"""
    done = python(SCRIPT.format(before=block, after=""), tmp_path, assembled)
    assert done.returncode == 0, done.stderr
    assert "epoch 10/12" in done.stderr
    assert contents(tmp_path / "runs" / "tiny-tiny-7") == contents(undisturbed)


class Live:
    """In place of DVCLive's."""

    def __init__(self, folder: str, **options: Any):
        self.step, self.steps, self.options = 0, dict[int, dict[str, float]](), options

    def log_metric(self, name: str, value: float) -> None:
        self.steps.setdefault(self.step, {})[name] = value

    def make_summary(self) -> None:
        self.saved = self.step

    def end(self) -> None:
        self.saved = -1


@pytest.mark.parametrize("asked", [True, False])
def test_curves_are_live_where_studio_is_asked_for(
    asked: bool, assembled: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Live] = []

    def live(folder: str, **options: Any) -> Live:
        opened.append(Live(folder, **options))
        return opened[-1]

    monkeypatch.setitem(sys.modules, "dvclive", SimpleNamespace(Live=live))
    monkeypatch.setenv("DVC_STUDIO_TOKEN", "a token" if asked else "")
    run(assembled, tmp_path)
    assert contents(tmp_path / "runs" / "tiny-tiny-7") == contents(undisturbed)
    assert len(opened) == asked
    for one in opened:
        rows = read_table(undisturbed / "curves.tsv")
        assert one.saved == -1
        assert list(one.steps) == [row["epoch"] for row in rows]
        assert [found["valid/loss"] for found in one.steps.values()] == [row["valid_loss"] for row in rows]
        assert set(one.steps[1]) == {"lr", "train/prediction", "train/spread", "train/total", "valid/loss"}


# -------------------------------------------------------------------------------------- the right epoch
def test_the_best_epoch_is_what_is_kept(undisturbed: Path) -> None:
    config = json.loads((undisturbed / "config.json").read_text())
    curves = read_table(undisturbed / "curves.tsv")
    maes = [row["valid_loss"] for row in curves]
    assert [row["epoch"] for row in curves] == list(range(1, 13))
    assert config["epoch"] == 1 + int(np.argmin(maes))
    table = pq.read_table(undisturbed / "valid.predictions.parquet").to_pandas()
    errors = (table["prediction"].astype(float) - table["label"].astype(float)).abs()
    assert math.fsum(errors) / len(errors) == min(maes) == config["valid_loss"]
    assert list(table["clip_id"]) == sorted(table["clip_id"])
    assert len(table) == tiny_set.COUNTS["valid"]
    assert maes[-1] < 0.6 * np.abs(table["label"]).mean()  # it has learnt something


def test_early_stopping_and_ties(assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([5.0, 4.0, 4.0, 4.5, 4.2, 3.0])
    monkeypatch.setattr("pipeline.training.loop.train.valid_loss", lambda *arguments: next(script))
    summary = run(assembled, tmp_path, {"training": {"patience": 3}})
    assert (summary["epoch"], summary["valid_loss"], summary["epochs"]) == (2, 4.0, 5)


# ------------------------------------------------------------------------------------ what can go wrong
def test_loss_that_is_not_finite_names_epoch_and_term(assembled: Path, tmp_path: Path) -> None:
    with pytest.raises(MsaError, match=r"epoch 2, batch 3 of 8: the loss spread is not finite.*lr_other"):
        run(assembled, tmp_path, {"explode_at": 11})
    assert not (tmp_path / "runs" / "tiny-tiny-7").exists()


def test_settings_are_named_as_in_params_yaml(assembled: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"models\.tiny\.base\.training\.epoch'.*did you mean 'epochs'"):
        run(assembled, tmp_path, {"training": {"epoch": 3}})
    with pytest.raises(ParamsError, match=r"models\.tiny\.base\.training\.warmup is 2.*tiny\.corpora"):
        run(assembled, tmp_path, {"training": {"warmup": 2}})
    with pytest.raises(ParamsError, match=r"'bert' is not known, .*\(there are: .*tiny"):
        train(
            RunConfig(
                method_name="bert",
                dataset="tiny",
                seed=1,
                method_params={},
                train_params=TrainParams(),
                assembled=assembled,
                pretrained=tmp_path,
                out=tmp_path / "out",
            ),
            device="cpu",
        )
    with pytest.raises(ParamsError, match="device 'gpu': expected auto, cpu"):
        run(assembled, tmp_path, device="gpu")


def test_splits_that_training_needs(tmp_path: Path) -> None:
    no_valid = write_tiny_set(tmp_path / "no_valid", {**tiny_set.COUNTS, "valid": 0})
    with pytest.raises(FormatError, match="no clips in valid"):
        run(no_valid, tmp_path)
    no_test = write_tiny_set(tmp_path / "no_test")
    (no_test / "test.parquet").unlink()  # training does not even open it
    assert run(no_test, tmp_path, {"training": {"epochs": 1}})["epochs"] == 1


def test_threads_are_fixed(assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, losses = set(), Tiny.losses

    def spy(self: Tiny, batch: Any, output: Any, terms: Any) -> Any:
        threads.add(torch.get_num_threads())
        return losses(self, batch, output, terms)

    monkeypatch.setattr(Tiny, "losses", spy)
    torch.set_num_threads(2)
    try:
        run(assembled, tmp_path, {"training": {"epochs": 1}})
    finally:
        torch.set_num_threads(1)
    assert threads == {pipeline.training.loop.device.CPU_THREADS}
