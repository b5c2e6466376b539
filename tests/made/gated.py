"""What the tests of methods with words and frames share: clips for references, sizes on BERT-base."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from made.tiny_batch import DIMS, random_batch
from torch import nn

from models.core.batch import Batch
from models.core.method import REGRESSION, Method

CLS, SEP = 101, 102  # of the bundled tokenizer


def clips_of(batch: Batch) -> list[dict[str, np.ndarray | None]]:
    """The real steps of each clip by modality, None where it has none; token ids are left out."""
    parts = {name: getattr(batch, name) for name in DIMS if getattr(batch, name) is not None}
    return [
        {
            name: part.values[row][part.mask[row]].numpy() if part.present[row] else None
            for name, part in parts.items()
        }
        for row in range(len(batch.clip_ids))
    ]


def weights_of(method: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in method.named_parameters()}


def spoken_batch(dtype: torch.dtype = torch.float64) -> Batch:
    """Token ids between [CLS] and [SEP], of texts of different lengths; a clip has no audio."""
    batch = random_batch(3, dtype=dtype, vocabulary=40, absent={(1, "audio")})
    assert batch.tokens is not None
    for row, length in enumerate((6, 4, 3)):
        mask = torch.arange(6) < length
        batch.tokens.mask[row] = mask
        batch.tokens.ids[row] = (batch.tokens.ids[row].clamp(min=1) * mask).long()
        batch.tokens.ids[row, 0], batch.tokens.ids[row, length - 1] = CLS, SEP
    return batch


def sized(method: type[Method], **dims: int) -> Any:
    """The method on BERT-base, without memory."""
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        bert = BertModel(BertConfig(), add_pooling_layer=False)
        return method(method.Config(text="finetune"), dims, REGRESSION, {"text": bert})


def counted(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
