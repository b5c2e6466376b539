"""Small TFN models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.tfn.model import TFN, TFNSettings

TINY: dict[str, Any] = {
    "hidden": {"text": 8, "audio": 6, "visual": 6},
    "text_width": 6,
    "dropout": {"text": 0.0, "audio": 0.0, "visual": 0.0},
    "fusion_dropout": 0.0,
    "fusion_width": 16,
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> TFN:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return TFN(TFNSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> TFN:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = TFNSettings(**{"text": "finetune", **TINY, **settings})
    return TFN(config, DIMS, task, {"text": tiny_bert()})
