"""Predictions of a whole split, while a method learns and after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from models.core.batch import Batch
from models.core.method import Output
from pipeline.datasets.splits import Split, ordered_batches

EVALUATION_BATCH = 64  # clips a forward


@torch.no_grad()
def predict(forward: Callable[[Batch], Output], split: Split) -> np.ndarray:
    """Predictions, (clips,) or (clips, C) float32 in the split's order, of a method in evaluation mode."""
    batches = ordered_batches(split.lengths, EVALUATION_BATCH)
    found = torch.cat([forward(split.batch(rows)).prediction.float().cpu() for rows in batches])
    predictions = torch.empty_like(found)
    predictions[torch.cat(batches)] = found
    return predictions.numpy()
