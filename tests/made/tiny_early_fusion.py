"""Small models of early fusion."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.core.pooled import PooledSettings
from models.early_fusion.model import EarlyFusion

TINY: dict[str, Any] = {"hidden": 24, "dropout": 0.0}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> EarlyFusion:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return EarlyFusion(PooledSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> EarlyFusion:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = PooledSettings(**{"text": "finetune", **TINY, **settings})
    return EarlyFusion(config, {m: DIMS[m] for m in ("audio", "visual")}, task, {"text": tiny_bert()})
