"""What one run makes of one clip: its prediction, what each modality contributed to it, and its own weights.

*Contribution* of a modality, alike for all methods: the prediction minus that of the same clip without the
modality (leave one out), in units of the label, or in probability. They need not add up to anything.

*Internals*, as far as a method has them in what it gives:

    misr  `weight`      share of each modality in the fusion by certainty, ω of (2), a mean over tokens and
                        channels; sums to 1
    khar  `expert_<i>`  share of expert i in a modality's steps by the gates (4); sums to 1 a modality
    cmir  `invariant`   share of Z_inv in the squared length of both halves; the prediction reads Z_inv alone
    mird  `length`      share of z^S ("shared") and of each z^m in the squared length of all that is read

Symbols: C classes; of a regression an array of scores has one value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from pipeline.core.errors import MsaError
from pipeline.predict.inputs import ClipInputs, batch_of
from pipeline.training.runs import TrainedRun

Internals = dict[str, dict[str, float]]
"""name -> modality -> share in [0, 1]"""


@dataclass(frozen=True)
class Outcome:
    """What one run predicts of one clip.

    Attributes
    ----------
    run : its name
    scores : (1,) the score, or (C,) probabilities
    without : modality -> the same of the clip without it; None where it is all that the clip has
    internals : empty where the method shows none
    """

    run: str
    method: str
    scores: np.ndarray
    without: dict[str, np.ndarray | None]
    internals: Internals


def outcome(run: TrainedRun, inputs: ClipInputs, name: str) -> Outcome:
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
    show = SHOWN.get(run.config["method"])
    with torch.inference_mode():
        internals = show(run, batch, output) if show is not None else {}
    own = {
        name: {part: share for part, share in shares.items() if part in (*inputs.present, "shared")}
        for name, shares in internals.items()
    }
    shown = {name: shares for name, shares in own.items() if shares}
    return Outcome(name, run.config["method"], _scores(run, output), lacking, shown)


def _scores(run: TrainedRun, output: Output) -> np.ndarray:
    """(1,) or (C,) float64 of the one clip."""
    prediction = output.prediction.float()
    scores = run.task.probabilities(prediction)[0] if run.task.classes else prediction[:1]
    if not scores.isfinite().all():
        raise MsaError(f"{run.folder}: its prediction is not finite; train again with a lower rate")
    return scores.cpu().double().numpy()


# -------------------------------------------------------------------------------------------- of the methods
def _misr(run: TrainedRun, batch: Batch, output: Output) -> Internals:
    from models.misr.model import MISROutput, uncertainty_fusion

    assert isinstance(output, MISROutput)
    sigma = [(0.5 * logvar).exp() for logvar in output.logvar.values()]
    parts = (list(output.mean.values()), sigma, list(output.present.values()))
    _, weights = uncertainty_fusion(*(torch.stack(part) for part in parts))  # (M, 1, T, d)
    shares = weights.flatten(1).mean(dim=1).tolist()
    return {"weight": dict(zip(output.mean, shares, strict=True))}


def _khar(run: TrainedRun, batch: Batch, output: Output) -> Internals:
    found: Internals = {}
    for key, share in run.method.diagnostics(batch, output).items():
        kind, modality, number = key.split("/")
        if kind == "expert":
            found.setdefault(f"expert_{number}", {})[modality] = float(share)
    return found


def _cmir(run: TrainedRun, batch: Batch, output: Output) -> Internals:
    from models.cmir.model import CmIROutput

    assert isinstance(output, CmIROutput)
    return {
        "invariant": {
            modality: _shares({"inv": half, "spu": output.spurious[modality]})["inv"]
            for modality, half in output.invariant.items()
        }
    }


def _mird(run: TrainedRun, batch: Batch, output: Output) -> Internals:
    from models.mird.model import MIRDOutput

    assert isinstance(output, MIRDOutput)
    return {"length": _shares(output.z)}


def _shares(vectors: dict[str, Tensor]) -> dict[str, float]:
    """Of each vector in the squared length of all; 0 where all are zero."""
    squares = {name: float(vector.double().square().sum()) for name, vector in vectors.items()}
    total = sum(squares.values()) or 1.0
    return {name: square / total for name, square in squares.items()}


SHOWN: dict[str, Callable[[TrainedRun, Batch, Output], Internals]] = {
    "misr": _misr,
    "khar": _khar,
    "cmir": _cmir,
    "mird": _mird,
}
