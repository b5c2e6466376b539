"""Small MISA models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.misa.model import MISA, MISASettings

TINY: dict[str, Any] = {"width": 8, "feedforward": 16, "fusion_dropout": 0.0, "dropout": 0.0}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> MISA:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return MISA(MISASettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> MISA:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = MISASettings(**{"text": "finetune", **TINY, **settings})
    return MISA(config, DIMS, task, {"text": tiny_bert()})
