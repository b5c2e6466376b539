"""Small KuDA models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.kuda.model import KuDA, KuDASettings

TINY: dict[str, Any] = {
    "steps": 4,
    "width": 16,
    "layers": 1,
    "heads": 2,
    "head_dim": 6,
    "feedforward": 12,
    "dropout": 0.0,
    "predictor_widths": (9, 8),
}
PRETRAINING: dict[str, Any] = {
    "adapters": "pretrained",  # though none has been: frozen at random
    "width": 8,
    "max_steps": 24,
    "layers": 3,
    "heads": 2,
    "dropout": 0.0,
    "adapter_layers": 1,
    "adapter_heads": 2,
    "adapter_dropout": 0.0,
}


def settings_of(pretraining: dict[str, Any] | None = None, **settings: Any) -> KuDASettings:
    """Small sizes, no dropout."""
    shape = {**PRETRAINING, **(pretraining or {})}
    return KuDASettings.model_validate({**TINY, **settings, "pretraining": shape})


def tiny(seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: Any) -> KuDA:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return KuDA(settings_of(**settings), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: Any) -> KuDA:
    """The same with a BERT of 40 words, four layers and no dropout."""
    torch.manual_seed(0)
    config = settings_of(text="finetune", **settings)
    return KuDA(config, DIMS, task, {"text": tiny_bert(num_hidden_layers=4)})
