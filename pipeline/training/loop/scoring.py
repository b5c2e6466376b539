"""Predictions of a whole split, while a method learns and after it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pipeline.datasets.splits import Split, ordered_batches

EVALUATION_BATCH = 64  # clips a forward outside of training


@torch.no_grad()
def predict(method: nn.Module, split: Split) -> np.ndarray:
    """Predictions, (clips,) or (clips, C) float32 in the split's order.

    In fp32, whatever the precision of the training: in bf16 many clips would share a prediction.
    """
    method.eval()
    batches = ordered_batches(split.lengths, EVALUATION_BATCH)
    found = torch.cat([method(batch).prediction.float().cpu() for batch in split.batches(batches)])
    predictions = torch.empty_like(found)
    predictions[torch.cat(batches)] = found
    return predictions.numpy()
