"""Small models of the sound alone, which fine-tune no text encoder."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS

from models.audio_only.model import AudioOnly
from models.core.method import REGRESSION, Task
from models.core.pooled import TextlessSettings

TINY: dict[str, Any] = {"hidden": 96, "dropout": 0.0}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> AudioOnly:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return AudioOnly(TextlessSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


tiny_finetuned = tiny
