"""Small models of the constant, some number as if it were fitted."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS

from models.constant.model import Constant, ConstantSettings
from models.core.method import REGRESSION, Task

TINY: dict[str, Any] = {}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> Constant:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    method = Constant(ConstantSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)
    torch.nn.init.normal_(method.value)
    return method


tiny_finetuned = tiny
