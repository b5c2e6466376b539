"""Small MMML models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.mmml.model import MMML, MMMLSettings

TINY: dict[str, Any] = {
    "width": 24,
    "heads": 2,
    "fusion_layers": 1,
    "feedforward": 32,
    "dropout": 0.0,
    "predictor_widths": (32,),
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> MMML:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return MMML(MMMLSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> MMML:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = MMMLSettings(**{"text": "finetune", **TINY, **settings})
    return MMML(config, DIMS, task, {"text": tiny_bert()})
