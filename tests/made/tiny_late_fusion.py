"""Small models of late fusion, all heads weighed alike."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.late_fusion.model import LateFusion, LateFusionSettings

TINY: dict[str, Any] = {
    "weighting": "mean",
    "hidden": 96,
    "dropout": {"text": 0.0, "audio": 0.0, "visual": 0.0},
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> LateFusion:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return LateFusion(LateFusionSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> LateFusion:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = LateFusionSettings(**{"text": "finetune", **TINY, **settings})
    return LateFusion(config, {m: DIMS[m] for m in ("audio", "visual")}, task, {"text": tiny_bert()})
