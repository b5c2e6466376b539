"""Methods that remember steps: a killed training ends as if undisturbed, and what is saved can be opened."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made.tiny_set import write_tiny_set
from test_train import contents

from models import METHODS
from models.core.batch import Batch
from models.core.method import Method
from pipeline.datasets.training_set import TrainingSet
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.scoring import predict
from pipeline.training.loop.train import train
from pipeline.training.runs import open_runs

CPU = torch.device("cpu")


def learn(name: str, assembled: Path, here: Path) -> dict[str, Any]:
    """Four epochs; the run lies in `here`/run."""
    settings = importlib.import_module(f"made.tiny_{name}").TINY
    training = {"epochs": 4, "batch_size": 16, "lr_other": 0.01, "lr_backbone": 0.0}
    run = RunConfig(
        method_name=name,
        dataset="tiny",
        seed=7,
        method_params={**settings, "training": training},
        train_params=TrainParams(),
        assembled=assembled,
        pretrained=here / "none",
        out=here / "run",
    )
    return train(run, device="cpu", state_root=here / "state", logs=here / "logs")


@pytest.mark.parametrize("name", ["mmim", "self_mm"])
def test_a_killed_training_is_as_if_undisturbed_and_its_run_opens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assembled = write_tiny_set(tmp_path / "set", steps=(2, 4))
    learn(name, assembled, tmp_path / "whole")
    method_class = METHODS[name].load()
    remember, steps = method_class.remember, 0

    def failing(self: Method, batch: Batch, output: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 10:  # in the third epoch of 4 batches
            raise KeyboardInterrupt
        remember(self, batch, output)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.training.loop.checkpoint.SAVE_EVERY_S", 0.0)
        patch.setattr("pipeline.training.loop.checkpoint.SAVE_SHARE", 1e9)
        patch.setattr(method_class, "remember", failing)
        with pytest.raises(KeyboardInterrupt):
            learn(name, assembled, tmp_path / "killed")
    summary = learn(name, assembled, tmp_path / "killed")
    assert (summary["resumed_at"], summary["epochs"]) == (2, 4)
    assert contents(tmp_path / "whole/run") == contents(tmp_path / "killed/run")

    (opened,) = open_runs([tmp_path / "whole/run"])
    valid = TrainingSet.load(assembled, opened.method.reading(), CPU, ("valid",)).splits["valid"]
    saved = pq.read_table(tmp_path / "whole/run/valid.predictions.parquet").to_pydict()
    assert saved["clip_id"] == valid.clip_ids
    np.testing.assert_array_equal(np.float32(saved["prediction"]), predict(opened.method, valid))
