"""What a method learns from all clips at once: when, of which, and that a killed run ends alike."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from made.tiny_prepared import Prepared
from made.tiny_set import write_tiny_set
from safetensors.torch import load_file

from models import METHODS, MethodEntry
from models.constant.model import Constant
from models.core.batch import Batch
from models.core.method import Method
from models.ridge.model import Ridge
from pipeline.params.params import TrainParams, load_params
from pipeline.params.run import RunConfig
from pipeline.training.loop.curves import read_table
from pipeline.training.loop.train import train

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("assembled") / "tiny")


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "prepared", MethodEntry("made.tiny_prepared"))


def run(assembled: Path, here: Path, name: str = "prepared", **options: Any) -> dict[str, Any]:
    config = RunConfig(
        method_name=name,
        dataset="tiny",
        seed=7,
        method_params=options.pop("params", {}),
        train_params=TrainParams(),
        assembled=assembled,
        pretrained=here / "pretrained",
        out=here / "run",
    )
    return train(config, device="cpu", state_root=here / "state", logs=here / "logs", **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def ids(assembled: Path, split: str) -> list[str]:
    found: list[str] = pq.read_table(assembled / f"{split}.parquet")["clip_id"].to_pylist()
    return found


def test_once_before_the_first_step_with_all_clips_of_train_and_valid(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (assembled / "test.parquet").rename(tmp_path / "test.parquet")  # not even opened
    told: list[Any] = []
    forward, calibrate = Prepared.losses, Prepared.calibrate

    def prepare(self: Prepared, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        told.append([sorted(clip for batch in part for clip in batch.clip_ids) for part in (train, valid)])

    def losses(self: Prepared, *rest: Any) -> Any:
        told.append("step")
        return forward(self, *rest)

    def choose(self: Prepared, valid: Iterable[Batch]) -> None:
        batches = list(valid)
        told.append(sorted(clip for batch in batches for clip in batch.clip_ids))
        calibrate(self, batches)

    monkeypatch.setattr(Prepared, "prepare", prepare)
    monkeypatch.setattr(Prepared, "losses", losses)
    monkeypatch.setattr(Prepared, "calibrate", choose)
    try:
        run(assembled, tmp_path, params={"training": {"epochs": 2}})
    finally:
        (tmp_path / "test.parquet").rename(assembled / "test.parquet")
    of_train, of_valid = ids(assembled, "train"), ids(assembled, "valid")
    epoch = ["step"] * math.ceil(len(of_train) / 8)
    assert told == [[of_train, of_valid], *epoch, of_valid, *epoch, of_valid]


def test_killed_and_resumed_is_undisturbed(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(assembled, whole)
    monkeypatch.setattr("pipeline.training.loop.checkpoint.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("pipeline.training.loop.checkpoint.SAVE_SHARE", math.inf)

    def kill(epoch: int, _loss: float) -> None:
        if epoch == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(assembled, killed, watch=kill)
    torch.manual_seed(99)
    assert run(assembled, killed)["resumed_at"] == 5
    assert contents(killed / "run") == contents(whole / "run")
    moved = load_file(whole / "run" / "model.safetensors")
    assert moved["chosen"] != 0 and moved["start"] != 0


@pytest.mark.parametrize(("name", "kind"), [("constant", Constant), ("ridge", Ridge)])
@pytest.mark.parametrize("classes", [(), ("bad", "middling", "good")])
def test_what_is_fitted_before_stays_to_the_byte(
    name: str, kind: type[Method], classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings of params.yaml: one epoch at the rate 0."""
    fitted: list[dict[str, torch.Tensor]] = []
    prepare = kind.prepare

    def spied(self: Method, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        prepare(self, train, valid)
        fitted.append({key: value.clone() for key, value in self.state_dict().items()})

    monkeypatch.setattr(kind, "prepare", spied)
    settings = load_params(PARAMS).model(name, "sample")
    run(write_tiny_set(tmp_path / "set", classes=classes), tmp_path, name, params=settings)
    (before,) = fitted
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(after[key].numpy().tobytes() == value.numpy().tobytes() for key, value in before.items())
    (row,) = read_table(tmp_path / "run" / "curves.tsv")
    assert row["lr"] == 0 and row["valid_loss"] < (1.2 if classes else 1.6)
