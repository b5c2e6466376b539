"""Optimisers and learning-rate schedules that `training` in params.yaml chooses from."""

from __future__ import annotations

import math
from typing import Any

import torch

from models.core.method import Training


def open_optimizer(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    """The optimiser that `training.optimizer` names; fused, which makes its step several times faster."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, fused=True)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, fused=True)


def rate_factor(step: int, steps: int, settings: Training) -> float:
    """Share of the full learning rate in a step (from 0) of a run, counted as `schedule_every` says.

    It rises linearly over the first `warmup` share of the steps. Then `cosine` falls along half a cosine and
    `linear` along a line, both towards 0; `constant` stays. `ramp` rises linearly to the very end.
    """
    if settings.schedule == "ramp":
        return (step + 1) / steps
    rising = round(settings.warmup * steps)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / (steps - rising)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0 if settings.schedule == "constant" else 1 - done
