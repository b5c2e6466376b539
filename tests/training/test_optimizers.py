"""Learning-rate schedules against torch's own, and by their definitions."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from models.core.method import Training
from pipeline.training.loop.optimizers import rate_factor


def settings(schedule: str, warmup: float = 0.1) -> Training:
    return Training.model_validate({"lr_backbone": 0, "lr_other": 1, "schedule": schedule, "warmup": warmup})


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_learning_rate_is_torchs_warm_up_and_decay(schedule: str) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    after: dict[str, LRScheduler] = {
        "cosine": CosineAnnealingLR(optimizer, T_max=90),
        "linear": LinearLR(optimizer, 1.0, 0.0, total_iters=90),
        "constant": ConstantLR(optimizer, 1.0),
    }
    optimizer.param_groups[0]["lr"] = 1.0
    rising = LinearLR(optimizer, 1 / 10, 1.0, total_iters=9)
    theirs = SequentialLR(optimizer, [rising, after[schedule]], milestones=[10])
    for step in range(100):
        lr = optimizer.param_groups[0]["lr"]
        assert rate_factor(step, 100, settings(schedule)) == pytest.approx(lr, abs=1e-6)
        optimizer.step()
        theirs.step()


def test_ramp_rises_to_the_very_end() -> None:
    assert [rate_factor(step, 4, settings("ramp")) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_short_runs() -> None:
    assert rate_factor(0, 1, settings("cosine", 0.0)) == 1.0
    assert [rate_factor(step, 2, settings("cosine", 0.9)) for step in range(2)] == [0.5, 1.0]
