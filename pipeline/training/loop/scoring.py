"""Predictions of a whole split, while a method learns and after it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from models.core.batch import Batch
from pipeline.datasets.splits import Split, ordered_batches

EVALUATION_BATCH = 64  # clips a forward outside of training


@torch.no_grad()
def predict(method: nn.Module, split: Split) -> np.ndarray:
    """Predictions, (clips,) or (clips, C) float32 in the split's order.

    In fp32, whatever the precision of the training: in bf16 many clips would share a prediction.
    """
    method.eval()
    orders = ordered_batches(split.lengths, EVALUATION_BATCH)
    found = torch.cat([method(batch).prediction.float().cpu() for batch in split.batches(orders)])
    predictions = torch.empty_like(found)
    predictions[torch.cat(orders)] = found
    return predictions.numpy()


def whole(split: Split) -> Iterator[Batch]:
    """All clips of a split, once."""
    return split.batches(ordered_batches(split.lengths, EVALUATION_BATCH))
