"""Small MISR models, and what their tests vary."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.misr.model import MISR
from models.misr.settings import MISRSettings

TINY: dict[str, Any] = {
    "num_tokens": 3,
    "width": 16,
    "heads": 2,
    "head_dim": 8,
    "feedforward": 16,
    "max_steps": 24,
}
MISSING = {
    "complete": (),
    "one clip without audio": {(1, "audio")},
    "no clip has both text and visual": {(0, "text"), (1, "text"), (2, "visual"), (3, "visual")},
    "no clip has audio": {(clip, "audio") for clip in range(4)},
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> MISR:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    config = MISRSettings(**{"dropout": 0.0, **TINY, **settings})
    return MISR(config, DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> MISR:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    settings = {"dropout": 0.0, **TINY, **settings}
    return MISR(MISRSettings(text="finetune", **settings), DIMS, task, {"text": tiny_bert()})
