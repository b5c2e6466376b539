"""Shapley values of the modalities: how much each moves a prediction away from the mean one.

With v(S) what a method predicts of a clip that has the modalities S alone, and N those that it has:

    φ_m = Σ_{S ⊆ N∖{m}}  |S|! (|N|−|S|−1)! / |N|!  ·  (v(S ∪ {m}) − v(S))

Shapley, "A value for n-person games", 1953. Every S is computed, none is drawn: 2^M − 1 passes, seven of
three modalities, for all clips of a batch together. The φ of a clip add up to v(N) − v(∅).

v(∅) is no pass: most methods refuse a clip that has nothing. It is the run's *mean prediction of its training
clips* (of classes the mean probability), what one would guess of a clip that one knows nothing of. Methods
that do score an empty clip have the same, so that the values of methods can be compared.

Shapes: B clips, M modalities of the method, K numbers a clip: 1 score, or C probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.core.batch import Batch
from models.core.method import Method
from pipeline.core.errors import FormatError, first_line
from pipeline.evaluation.removal import present_in, take, without
from pipeline.training.runs import TrainedRun

TRAIN_PREDICTIONS = "train.predictions.parquet"


@dataclass(frozen=True)
class Shapley:
    """The values of a batch.

    Attributes
    ----------
    values : modality -> (B, K), NaN where the clip has not the modality: it has no value there, not even 0
    prediction : (B, K) v(N); that of a clip that has none of the modalities is the baseline
    baseline : (K,) v(∅)
    """

    values: dict[str, np.ndarray]
    prediction: np.ndarray
    baseline: np.ndarray


def shapley(method: Method, batch: Batch, baseline: np.ndarray) -> Shapley:
    """Exact values of the modalities that the clips of a batch have; the method is in evaluation mode."""
    names = tuple(method.dims)
    present = present_in(batch, names).numpy() if names else np.zeros((0, len(batch.clip_ids)), np.bool_)
    worth = [np.broadcast_to(baseline, (len(batch.clip_ids), len(baseline)))]  # of the subset of these bits
    for subset in range(1, 2 ** len(names)):
        left_out = [name for place, name in enumerate(names) if not subset >> place & 1]
        worth.append(scores(method, without(batch, left_out), baseline))
    values = {}
    for place, name in enumerate(names):
        value = np.zeros_like(worth[-1])
        for subset in (one for one in range(len(worth)) if not one >> place & 1):
            size = subset.bit_count()
            share = factorial(size) * factorial(len(names) - size - 1) / factorial(len(names))
            value += share * (worth[subset | 1 << place] - worth[subset])
        # the formula over all M gives an absent modality 0, and the others what that over N gives them
        values[name] = np.where(present[place][:, None], value, np.nan)
    prediction = worth[-1] if names else scores(method, batch, baseline)
    return Shapley(values, prediction, baseline)


@torch.inference_mode()
def scores(method: Method, batch: Batch, baseline: np.ndarray) -> np.ndarray:
    """v of the clips as they are, (B, K) float64: a score, or probabilities; of an empty clip the
    baseline."""
    names = tuple(method.dims)
    count = len(batch.clip_ids)
    has = present_in(batch, names).any(dim=0) if names else torch.ones(count, dtype=torch.bool)
    found = np.tile(np.asarray(baseline, np.float64), (count, 1))
    if not has.any():
        return found
    if not has.all():
        batch = take(batch, has.nonzero()[:, 0].to(batch.labeled.device))
    prediction = method(batch).prediction.float()
    shares = method.task.probabilities(prediction) if method.task.classes else prediction[:, None]
    found[has.numpy()] = shares.double().cpu().numpy()
    return found


def baseline_of(run: TrainedRun) -> np.ndarray:
    """v(∅) of a run, (K,) float64; FormatError where its predictions of the training split cannot be read."""
    path: Path = run.folder / TRAIN_PREDICTIONS
    column = "probability" if run.task.classes else "prediction"
    try:
        found = pq.read_table(path, columns=[column])[column]
        values = np.array(found.to_pylist(), np.float64).reshape(len(found), -1)
        if not len(values) or not np.isfinite(values).all():
            raise ValueError("no finite predictions")
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise FormatError(
            f"{path}: no training predictions ({first_line(error)}); contributions are measured from "
            "their mean, so train again"
        ) from error
    mean: np.ndarray = values.mean(axis=0)
    return mean
