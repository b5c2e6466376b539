"""Small CmIR models, and what their tests vary."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert

from models.cmir.model import CmIR
from models.cmir.settings import CmIRSettings
from models.core.method import REGRESSION, Task

TINY: dict[str, Any] = {
    "width": 16,
    "layers": 1,
    "heads": 2,
    "head_dim": 8,
    "feedforward": 16,
    "d_x": 16,
    "d_z": 8,
    "hidden": 24,
    "predictor_width": 16,
    "dropout": 0.0,
    "predictor_dropout": 0.0,
}
MISSING = {
    "complete": (),
    "one clip without audio": {(1, "audio")},
    "one clip has text alone": {(2, "audio"), (2, "visual"), (0, "text")},
    "no clip has audio": {(clip, "audio") for clip in range(4)},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "five environments and the clean one": {"environments": 5, "include_clean": True, "alpha": 0.5},
    "one environment a clip": {"env_mode": "assigned", "environments": 4},
    "means": {
        **dict.fromkeys(("inv_reduction", "dec_reduction", "rec_reduction"), "mean"),
        "include_clean": True,
    },
    "predicted from all views": {"predict_views": "all"},
    "predicted from one noisy view": {"predict_views": "all", "env_mode": "assigned"},
    "normalised halves": {"z_norm": "layernorm", "alpha_off": 0.7},
    "noisy frames": {"noise_site": "frame"},
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> CmIR:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    return CmIR(CmIRSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> CmIR:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    return CmIR(CmIRSettings(text="finetune", **{**TINY, **settings}), DIMS, task, {"text": tiny_bert()})
