"""The interval around a predicted score: how far the same runs were off on their validation clips.

Split conformal prediction (evaluation/calibration.py), of the mean over the runs. It holds the label of a
clip that is like the validation clips at LEVEL; they chose the runs' epochs, and a new speaker or camera is
not like them, so that it may hold less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.vocabulary import VALID
from pipeline.evaluation.calibration import half_width
from pipeline.training.runs import TrainedRun

LEVEL = 0.9


def half_width_of(runs: Sequence[TrainedRun]) -> float | None:
    """In label units; None of classes, or where the runs have too few validation clips, or not the same."""
    if runs[0].task.classes:
        return None
    try:
        tables = [
            pq.read_table(run.folder / f"{VALID}.predictions.parquet").sort_by("clip_id") for run in runs
        ]
    except (OSError, pa.ArrowException):
        return None
    first = tables[0]
    if any(table["clip_id"] != first["clip_id"] or table["label"] != first["label"] for table in tables):
        return None
    mean = np.mean([table["prediction"].to_numpy() for table in tables], axis=0)
    width = half_width(np.abs(mean - first["label"].to_numpy()), LEVEL)
    return width if math.isfinite(width) else None
