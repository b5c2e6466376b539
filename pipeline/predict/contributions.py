"""What one run makes of one clip: its prediction, what each modality contributed to it, and its own weights.

*Contribution* of a modality, alike for all methods: the prediction minus that of the same clip without the
modality (leave one out), in units of the label, or in probability. They need not add up to anything.

*Internals* are what a method weighs within itself, see `internals` of its class.

Symbols: C classes; of a regression an array of scores has one value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from models.core.method import Output
from pipeline.core.errors import MsaError
from pipeline.predict.inputs import ClipInputs, batch_of
from pipeline.training.trained import TrainedRun

Internals = dict[str, dict[str, float]]
"""name -> modality -> share in [0, 1]"""


@dataclass(frozen=True)
class Outcome:
    """What one run says of one clip.

    Attributes
    ----------
    scores : (1,) the score, or (C,) probabilities
    without : modality -> the same of the clip without it; None where it is all that the clip has
    internals : empty where the method shows none
    """

    scores: np.ndarray
    without: dict[str, np.ndarray | None]
    internals: Internals = field(default_factory=dict)


def outcome(run: TrainedRun, inputs: ClipInputs) -> Outcome:
    """Predict a clip that has something of what the run reads, and again without each modality.

    Raises
    ------
    MsaError : a prediction is not finite
    """
    batch = batch_of(run, inputs)
    output = run.forward(batch)
    lacking: dict[str, np.ndarray | None] = {}
    for modality in inputs.present:
        rest = inputs.without(modality)
        lacking[modality] = _scores(run, run.forward(batch_of(run, rest))) if rest.present else None
    with torch.inference_mode():
        internals = run.method.internals(batch, output)
    own = {
        name: {part: share for part, share in shares.items() if part in (*inputs.present, "shared")}
        for name, shares in internals.items()
    }
    return Outcome(_scores(run, output), lacking, {name: shares for name, shares in own.items() if shares})


def _scores(run: TrainedRun, output: Output) -> np.ndarray:
    """(1,) or (C,) float64 of the one clip."""
    prediction = output.prediction.float()
    scores = run.task.probabilities(prediction)[0] if run.task.classes else prediction[:1]
    if not scores.isfinite().all():
        raise MsaError(f"{run.folder}: its prediction is not finite; train again with a lower rate")
    return scores.cpu().double().numpy()
