"""A step of training: its terms and their weights, precision, gradients, optimisers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made.tiny_set import Tiny
from made.tiny_training import run
from safetensors.torch import load_file

from pipeline.core.errors import ParamsError
from pipeline.datasets.training_set import TrainingSet
from pipeline.params.params import TrainParams
from pipeline.training.loop.curves import read_table
from pipeline.training.runs import open_runs

pytestmark = pytest.mark.usefixtures("tiny_method")


# --------------------------------------------------------------------------------------------- the terms
def test_total_is_the_weighted_sum_with_the_schedule(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def schedule(self: Tiny, term: str, progress: float) -> float:
        seen.append(progress)
        return 3.0 if term == "spread" else 1.0

    monkeypatch.setattr(Tiny, "schedule", schedule)
    run(assembled, tmp_path, {"weights": {"prediction": 2.0, "spread": 0.5}, "training": {"epochs": 2}})
    for row in read_table(tmp_path / "runs" / "tiny-tiny-7" / "curves.tsv"):
        assert row["total"] == pytest.approx(2 * row["prediction"] + 1.5 * row["spread"], rel=1e-6)
    assert sorted(set(seen)) == pytest.approx([i / 16 for i in range(16)])


def test_weight_0_is_not_computed(assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, losses = [], Tiny.losses

    def spy(self: Tiny, batch: Any, output: Any, terms: Any) -> Any:
        asked.append((set(terms), self.active_terms))
        return losses(self, batch, output, terms)

    monkeypatch.setattr(Tiny, "losses", spy)
    run(assembled, tmp_path, {"weights": {"spread": 0}, "training": {"epochs": 1}})
    assert all(terms == active == {"prediction"} for terms, active in asked)
    assert "spread" not in read_table(tmp_path / "runs" / "tiny-tiny-7" / "curves.tsv")[0]
    with pytest.raises(ParamsError, match="all weights are 0"):
        run(assembled, tmp_path, {"weights": {"prediction": 0, "spread": 0}})


def test_bf16_is_for_the_forward_passes_of_training_alone(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half: dict[str, set[bool]] = {"training": set(), "evaluation": set(), "losses": set()}
    forward, losses = Tiny.forward, Tiny.losses

    def spy_forward(self: Tiny, batch: Any) -> Any:
        half["training" if self.training else "evaluation"].add(torch.is_autocast_enabled("cpu"))
        return forward(self, batch)

    def spy_losses(self: Tiny, batch: Any, output: Any, terms: Any) -> Any:
        half["losses"].add(torch.is_autocast_enabled("cpu"))
        assert output.prediction.dtype == torch.float32
        assert (output.prediction != output.prediction.bfloat16()).all()  # nor is the head's
        return losses(self, batch, output, terms)

    monkeypatch.setattr(Tiny, "forward", spy_forward)
    monkeypatch.setattr(Tiny, "losses", spy_losses)
    run(assembled, tmp_path, {"training": {"epochs": 2}}, train_params=TrainParams(precision="bf16"))
    assert half == {"training": {True}, "evaluation": {False}, "losses": {False}}

    (opened,) = open_runs([tmp_path / "runs" / "tiny-tiny-7"])
    valid = TrainingSet.load(assembled, only=("valid",)).splits["valid"]
    saved = pq.read_table(opened.folder / "valid.predictions.parquet")["prediction"].to_numpy()
    assert len(np.unique(saved)) == len(saved)
    found = opened.forward(valid.batch(torch.arange(len(valid)))).prediction
    np.testing.assert_allclose(found.numpy(), saved, rtol=1e-6)
    assert half["evaluation"] == {False}


def test_gradients_are_clipped_unless_that_is_switched_off(assembled: Path, tmp_path: Path) -> None:
    """One step of plain SGD moves the weights by the learning rate times the gradient, at most the norm."""

    def moved(clip: float | None) -> float:
        out = tmp_path / "runs" / "tiny-tiny-7"
        step = {"optimizer": "sgd", "epochs": 1, "batch_size": 512, "warmup": 0.0, "schedule": "constant"}
        weights = []
        for rate in (0.0, 1e-3):
            settings = {"weights": {"prediction": 1000.0}, "training": step | {"lr_other": rate}}
            run(assembled, tmp_path, settings, train_params=TrainParams(gradient_clip=clip))
            found = load_file(out / "model.safetensors")
            weights.append(torch.cat([found[name].double().flatten() for name in sorted(found)]))
        return float((weights[1] - weights[0]).norm()) / 1e-3

    free = moved(None)
    assert free > 20
    assert moved(10.0) == pytest.approx(10, rel=1e-3)
    assert moved(2 * free) == pytest.approx(free, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_other_optimizers_learn(optimizer: str, assembled: Path, tmp_path: Path) -> None:
    settings = {"optimizer": optimizer, "momentum": 0.9, "weight_decay": 0.01, "epochs": 6, "warmup": 0.0}
    run(assembled, tmp_path, {"training": settings})
    curves = read_table(tmp_path / "runs" / "tiny-tiny-7" / "curves.tsv")
    assert curves[-1]["prediction"] < curves[0]["prediction"]
