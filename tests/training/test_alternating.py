"""Estimators with an optimiser of their own, and unlabeled clips: what the loop does with both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made import tiny_set
from made.tiny_set import Tiny, TinyOutput, TinySettings, write_tiny_set
from made.tiny_training import contents, run
from torch import Tensor, nn

from models import METHODS, MethodEntry
from models.core.batch import Batch, Reading
from models.core.method import Output

STEPS = 3


class Guessing(Tiny):
    """Tiny with a guesser of the label from the hidden states, which the model itself does not learn from."""

    def build(self, backbones: dict[str, nn.Module]) -> None:
        super().build(backbones)
        self.guesser = nn.Linear(16, 1)
        self.log: list[Any] = []

    def reading(self) -> Reading:
        return replace(super().reading(), unlabeled=2)

    def estimator_steps(self) -> int:
        return STEPS

    def estimator_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.guesser.parameters()), "lr": 0.01}]

    def estimator_loss(self, batch: Batch, output: Output) -> Tensor:
        assert isinstance(output, TinyOutput)
        error = self.guesser(output.hidden.detach()).squeeze(-1) - batch.label.nan_to_num(0)
        self.log.append(("estimators", self.snapshot()))
        return error[batch.labeled].square().mean()

    def losses(self, batch: Batch, output: Output, terms: Any) -> dict[str, Tensor]:
        self.log.append(("model", self.snapshot(), batch))
        return super().losses(batch, output, terms)

    def snapshot(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.named_parameters()}


def same(first: dict[str, Tensor], second: dict[str, Tensor], part: str) -> bool:
    names = [name for name in first if name.startswith("guesser.") == (part == "guesser")]
    return all(torch.equal(first[name], second[name]) for name in names)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Guessing]:
    """The methods that training builds."""
    monkeypatch.setitem(METHODS, "tiny", MethodEntry("made.tiny_set"))
    built: list[Guessing] = []

    def build(*arguments: Any) -> Guessing:
        built.append(Guessing(*arguments))
        return built[-1]

    build.Config = TinySettings  # type: ignore[attr-defined]
    monkeypatch.setattr(tiny_set, "Tiny", build)
    return built


@pytest.mark.parametrize("unlabeled", [0, 7])
def test_estimators_step_first_and_alone(
    unlabeled: int, made: list[Guessing], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_set(tmp_path / "set", {**tiny_set.COUNTS, "unlabeled": unlabeled})
    run(folder, tmp_path, {"training": {"epochs": 2}})
    log = made[0].log
    cycle = STEPS + 1
    assert [entry[0] for entry in log] == (["estimators"] * STEPS + ["model"]) * (len(log) // cycle)
    for number in range(1, len(log)):
        before, after = log[number - 1], log[number]
        moved = "guesser" if before[0] == "estimators" else "model"  # what the step between them was
        still = "model" if moved == "guesser" else "guesser"
        assert not same(before[1], after[1], moved)
        assert same(before[1], after[1], still)
    for _, _, batch in log[STEPS::cycle]:
        labeled = int(batch.labeled.sum())
        assert len(batch.clip_ids) == labeled * (3 if unlabeled else 1)
        assert batch.labeled[:labeled].all()
        assert batch.label[labeled:].isnan().all()
        assert all(name.startswith("unlabeled") for name in batch.clip_ids[labeled:])
    assert ("no clips in unlabeled" in capsys.readouterr().err) == (unlabeled == 0)


def test_estimators_survive_a_resumed_run(made: list[Guessing], tmp_path: Path) -> None:
    folder = write_tiny_set(tmp_path / "set")
    run(folder, tmp_path / "whole", {"training": {"epochs": 4}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.training.loop.checkpoint.SAVE_EVERY_S", 0.0)
        patch.setattr("pipeline.training.loop.checkpoint.SAVE_SHARE", 1e9)
        losses = Guessing.losses

        def failing(self: Guessing, batch: Batch, output: Output, terms: Any) -> dict[str, Tensor]:
            if sum(entry[0] == "model" for entry in self.log) == 20:  # in the third epoch of 8 batches
                raise KeyboardInterrupt
            return losses(self, batch, output, terms)

        patch.setattr(Guessing, "losses", failing)
        with pytest.raises(KeyboardInterrupt):
            run(folder, tmp_path / "killed", {"training": {"epochs": 4}})
    summary = run(folder, tmp_path / "killed", {"training": {"epochs": 4}})
    assert summary["resumed_at"] == 2
    runs = [contents(tmp_path / name / "runs" / "tiny-tiny-7") for name in ("whole", "killed")]
    assert runs[0] == runs[1]
