"""Small WSA-BERT models."""

from __future__ import annotations

from typing import Any

import torch
from made.tiny_batch import DIMS
from made.tiny_mird import shift_words
from made.tiny_models import tiny_bert

from models.core.method import REGRESSION, Task
from models.wsa_bert.model import WSABERT, WSABERTSettings

TINY: dict[str, Any] = {"gate_dropout": 0.0, "dropout": 0.0}


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> WSABERT:
    """A small model in training mode, without dropout unless asked; its words are shifted."""
    torch.manual_seed(seed)
    method = WSABERT(WSABERTSettings(**{**TINY, **settings}), DIMS if dims is None else dims, task)
    shift_words(method.gate)
    return method


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> WSABERT:
    """The same with a BERT of 120 words (the bundled tokenizer's [CLS] and [SEP] among them), no dropout."""
    torch.manual_seed(0)
    config = WSABERTSettings(**{"text": "finetune", **TINY, **settings})
    bert = tiny_bert(pooler=config.pool == "cls", vocab_size=120, num_hidden_layers=2)
    method = WSABERT(config, DIMS, task, {"text": bert})
    shift_words(method.gate)
    return method
