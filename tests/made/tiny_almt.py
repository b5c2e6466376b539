"""Small ALMT models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.almt.model import ALMT, ALMTSettings
from models.core.method import REGRESSION, Task

TINY: dict[str, Any] = {
    "max_steps": 24,
    "num_tokens": 3,
    "width": 16,
    "heads": 2,
    "head_dim": 8,
    "feedforward": 16,
    "hyper_head_dim": 4,
    "fusion_layers": 1,
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> ALMT:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return moved(ALMT(ALMTSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task))


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> ALMT:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = ALMTSettings(**{"text": "finetune", **TINY, **settings})
    return moved(ALMT(config, DIMS, task, {"text": tiny_bert()}))


def moved(method: ALMT) -> ALMT:
    """The hyper-modality as after some steps: a LayerNorm of the ones it starts from is 0, and its weight has
    no gradient.
    """
    torch.nn.init.normal_(method.hyper_tokens)
    return method
