"""Small MMIM models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.mmim.model import MMIM, MMIMSettings

TINY: dict[str, Any] = {"hidden": 5, "width": 6, "fused_width": 12, "dropout": 0.0}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> MMIM:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return MMIM(MMIMSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> MMIM:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = MMIMSettings(**{"text": "finetune", **TINY, **settings})
    return MMIM(config, DIMS, task, {"text": tiny_bert()})
