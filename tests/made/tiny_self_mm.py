"""Small Self-MM models, some epochs on: clip0 to clip31 have labels of their own for each modality."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.self_mm.model import SelfMM
from models.self_mm.settings import SelfMMSettings

TINY: dict[str, Any] = {
    "hidden": {"audio": 5, "visual": 6},
    "sequence_width": {"audio": 5, "visual": 6},
    "width": {"fused": 12, "text": 8, "audio": 6, "visual": 7},
    "dropout": {"fused": 0.0, "text": 0.0, "audio": 0.0, "visual": 0.0},
}
CLIPS = 32


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> SelfMM:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return later(SelfMM(SelfMMSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task))


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> SelfMM:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = SelfMMSettings(**{"text": "finetune", **TINY, **settings})
    return later(SelfMM(config, DIMS, task, {"text": tiny_bert()}))


def later(method: SelfMM) -> SelfMM:
    """With labels that are not the multimodal ones, as in the first epoch, whose unimodal losses are 0."""
    if method.memory is not None:
        truth = torch.linspace(-3, 3, CLIPS)
        method.memory.open([f"clip{row}" for row in range(CLIPS)], truth)
        for number, labels in enumerate(method.memory.labels):
            labels.copy_(truth.roll(7 * number + 5))
    return method
