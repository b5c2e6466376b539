"""Small models of ridge, not fitted."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.ridge.model import Ridge, RidgeSettings

TINY: dict[str, Any] = {}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> Ridge:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return Ridge(RidgeSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> Ridge:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = RidgeSettings(**{"text": "finetune", **TINY, **settings})
    return Ridge(config, {m: DIMS[m] for m in ("audio", "visual")}, task, {"text": tiny_bert()})
