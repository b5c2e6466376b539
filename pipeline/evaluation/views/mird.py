"""MIRD: the bounds on the mutual information Î that its training makes small, pair by pair on the test split.

How they fell in training is in the learning curves (`bound/latent`, `bound/inputs`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from models.mird.model import MIRD, MIRDOutput
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import JOINT, Bars, Part, View, as_in_training, gather, number, passes
from pipeline.training.runs import TrainedRun

READING = (
    "Î bounds the mutual information of two representations from above, by the run's own estimators; "
    "training makes it small. Near 0, or below, the estimators find nothing in common."
)


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """Î of each pair, and the shared beside the private representations."""
    method = run.method
    assert isinstance(method, MIRD)
    found = gather(run, splits["test"], _pick)
    parts = [Part("shared", JOINT, True, found["z/shared"], found["present/shared"])]
    for name in method.private:
        parts.append(Part(f"private {name}", name, False, found[f"z/{name}"], found[f"present/{name}"]))
    maps = {"the shared and the private representations (z)": parts}
    if method.estimators is None:
        note = "without the term `information` there are no estimators, and so no bounds"
        return View(READING, [], maps, [note])
    pairs = [f"{a}, {b}" for a, b in method.latent_pairs]
    pairs += [f"X of {a}, {b}" for a, b in method.input_pairs]
    bounds = [number(bound) for bound in _bounds(run, method, splits["test"])]
    title = "Î, upper bound of the mutual information"
    return View(READING, [Bars(title, "nats", pairs, {"test clips": bounds})], maps)


@torch.inference_mode()
def _bounds(run: TrainedRun, method: MIRD, split: Split) -> np.ndarray:
    """Î of each pair, (P,): a mean over batches by their clips, because a bound compares clips of a batch."""
    total = np.zeros(len(method.latent_pairs) + len(method.input_pairs))
    with as_in_training(method, ("information",)):
        for rows, batch, output in passes(run, split):
            assert isinstance(output, MIRDOutput)
            total += len(rows) * method.bounds(batch, output).double().cpu().numpy()
    return total / len(split)


def _pick(batch: Batch, output: Output) -> dict[str, Tensor]:
    assert isinstance(output, MIRDOutput)
    picked = {f"z/{name}": z for name, z in output.z.items()}
    return picked | {f"present/{name}": present for name, present in output.present.items()}
