"""Small models of the text alone."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.text_only.model import TextOnly, TextOnlySettings

TINY: dict[str, Any] = {"dropout": 0.0}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> TextOnly:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return TextOnly(TextOnlySettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> TextOnly:
    """The same with a BERT of 40 words and no dropout, wide enough to learn texts by heart."""
    torch.manual_seed(0)
    config = TextOnlySettings(**{"text": "finetune", **TINY, **settings})
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return TextOnly(config, {}, task, {"text": tiny_bert(**sizes)})
