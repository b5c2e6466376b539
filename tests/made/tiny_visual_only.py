"""Small models of the face alone, which fine-tune no text encoder."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS

from models.core.method import REGRESSION, Task
from models.core.pooled import TextlessSettings
from models.visual_only.model import VisualOnly

TINY: dict[str, Any] = {"hidden": 96, "dropout": 0.0}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> VisualOnly:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return VisualOnly(TextlessSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


tiny_finetuned = tiny
