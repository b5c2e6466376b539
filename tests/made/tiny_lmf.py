"""Small LMF models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.lmf.model import LMF, LMFSettings

TINY: dict[str, Any] = {
    "hidden": {"text": 8, "audio": 6, "visual": 6},
    "dropout": {"text": 0.0, "audio": 0.0, "visual": 0.0},
    "rank": 3,
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> LMF:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return LMF(LMFSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> LMF:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = LMFSettings(**{"text": "finetune", **TINY, **settings})
    return LMF(config, DIMS, task, {"text": tiny_bert()})
