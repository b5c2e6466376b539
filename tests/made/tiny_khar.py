"""Small KHaR models, and what their tests vary."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.khar.model import KHaR, KHaRSettings

TINY: dict[str, Any] = {
    "refined_width": 6,
    "expert_width": 10,
    "expert_dropout": 0.0,
    "fusion_width": 12,
    "bottleneck_width": 14,
    "latent_width": 8,
    "predictor_width": 9,
}
PRETRAINING: dict[str, Any] = {
    "adapters": "scratch",
    "width": 16,
    "max_steps": 24,
    "layers": 3,
    "heads": 2,
    "dropout": 0.0,
    "adapter_layers": 1,
    "adapter_heads": 2,
    "adapter_dropout": 0.0,
}
FROZEN = {"adapters": "pretrained"}
REFINEMENTS = ("moe", "mlp", "attention", "cnn")
FUSIONS = ("mib", "sum", "concat", "attention", "product")
MISSING = {
    "complete": (),
    "one clip without audio": {(1, "audio")},
    "no clip has both text and visual": {(0, "text"), (1, "text"), (2, "visual"), (3, "visual")},
    "no clip has audio": {(clip, "audio") for clip in range(4)},
}


def settings_of(
    task: Task = REGRESSION, pretraining: dict[str, Any] | None = None, **settings: Any
) -> KHaRSettings:
    """Small sizes, no dropout; κ is null for classes, as it must be."""
    kappa = {"kappa": None} if task.classes else {}
    shape = {**PRETRAINING, **(pretraining or {})}
    return KHaRSettings.model_validate({**TINY, **kappa, **settings, "pretraining": shape})


def tiny(seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: Any) -> KHaR:
    """A small model in training mode, without dropout unless asked; its adapters learn with the rest."""
    torch.manual_seed(seed)
    return KHaR(settings_of(task, **settings), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: Any) -> KHaR:
    """The same with a BERT of 40 words, four layers and no dropout."""
    torch.manual_seed(0)
    return KHaR(
        settings_of(task, text="finetune", **settings), DIMS, task, {"text": tiny_bert(num_hidden_layers=4)}
    )
