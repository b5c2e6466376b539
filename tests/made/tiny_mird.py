"""Small MIRD models, and what their tests vary."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_models import tiny_bert
from torch import nn

from models.core.gate import MultimodalAdaptationGate
from models.core.method import REGRESSION, Task
from models.mird.model import MIRD
from models.mird.settings import MIRDSettings

TINY: dict[str, Any] = {
    "width": 8,
    "token_width": 10,
    "regressor_width": 12,
    "estimator_hidden": 6,
    "frozen_width": 16,
    "frozen_heads": 2,
    "frozen_head_dim": 8,
    "frozen_feedforward": 16,
    "mag_dropout": 0.0,
    "pool_dropout": 0.0,
    "regressor_dropout": 0.0,
    "frozen_dropout": 0.0,
}
BERT = {"vocab_size": 120, "num_hidden_layers": 2, "max_position_embeddings": 64}
MISSING = {
    "complete": (),
    "one clip without audio": {(1, "audio")},
    "one clip without text": {(2, "text")},
    "no clip has both text and visual": {(0, "text"), (1, "text"), (2, "visual"), (3, "visual")},
    "no clip has audio": {(clip, "audio") for clip in range(4)},
    "no clip has text": {(clip, "text") for clip in range(4)},
}
ALONE: dict[str, Any] = {"private": False, "weights": {"reconstruction": 0, "information": 0}}
"""WSA-BERT, the last row of Table 4"""


VARIANTS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "frozen, first step": {"pool": "cls", "inject_layer": 1},
    "finetuned": {"text": "finetune"},
    "finetuned, pooler": {"text": "finetune", "pool": "cls", "inject_layer": 1},
    "two BERTs": {"text": "finetune", "text_encoder": "bert"},
    "all padding rebuilt": {"recon_mask": False, "decoder_steps": {"text": 8, "audio": 10, "visual": 9}},
    "WSA-BERT alone": ALONE,
}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> MIRD:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    method = MIRD(MIRDSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)
    shift_words(method.shared.mag)
    return method


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> MIRD:
    """The same with BERTs of 120 words (the bundled tokenizer's [CLS] and [SEP] among them), no dropout."""
    torch.manual_seed(0)
    config = MIRDSettings(**{"text": "finetune", **TINY, **settings})
    names = ("text", "private") if config.text_encoder == "bert" else ("text",)
    backbones = {name: tiny_bert(pooler=config.pool == "cls", **BERT) for name in names}
    method = MIRD(config, DIMS, task, backbones)
    shift_words(method.shared.mag)
    return method


def shift_words(gate: MultimodalAdaptationGate) -> None:
    """Words are shifted as after a few steps: at the start none is, and some gradients are 0."""
    for linear in gate.project.values():
        assert isinstance(linear, nn.Linear)
        linear.reset_parameters()


def variant(name: str) -> tuple[MIRD, dict[str, int | None]]:
    """One of VARIANTS, and what `random_batch` needs for it."""
    settings = VARIANTS[name]
    finetuned = "text" in settings
    method = tiny_finetuned(**settings) if finetuned else tiny(**settings)
    return method, {"vocabulary": 40 if finetuned else None}
