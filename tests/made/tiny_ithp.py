"""Small ITHP models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.ithp.model import ITHP, ITHPSettings

TINY: dict[str, Any] = {
    "widths": {"audio": 8, "visual": 6},
    "hidden": 10,
    "level_dropout": 0.0,
    "shift_dropout": 0.0,
    "dropout": 0.0,
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> ITHP:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return ITHP(ITHPSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> ITHP:
    """The same with a BERT of 120 words (the bundled tokenizer's [CLS] and [SEP] among them) and no dropout,
    wide enough to learn texts by heart.
    """
    torch.manual_seed(0)
    config = ITHPSettings(**{"text": "finetune", **TINY, **settings})
    sizes = {"vocab_size": 120, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return ITHP(config, DIMS, task, {"text": tiny_bert(**sizes)})
