"""Small MulT models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.mult.model import MulT, MulTSettings

TINY: dict[str, Any] = {
    "width": 8,
    "heads": 2,
    "layers": 1,
    "kernels": {"text": 3, "audio": 1, "visual": 2},
    "attention_dropout": {"text": 0.0, "audio": 0.0, "visual": 0.0},
    "text_dropout": 0.0,
    "embedding_dropout": 0.0,
    "output_dropout": 0.0,
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> MulT:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return MulT(MulTSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> MulT:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = MulTSettings(**{"text": "finetune", **TINY, **settings})
    return MulT(config, DIMS, task, {"text": tiny_bert()})
