"""MIRD: the mutual information Î that its training makes small, pair by pair, and the spread of each z.

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
    "Î is an upper bound of the mutual information of two representations, by the run's own estimators; "
    "training minimises it. At or below 0 the estimators find no shared information. Where they see z "
    "unnormalised (`mi_norm: none`), a z whose spread is below ½ seems uninformative, whatever it holds."
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
    spreads = [
        number(part.values[part.present].std(axis=0).mean()) if part.present.any() else None for part in parts
    ]
    unit = "standard deviation over clips, mean over widths"
    panels = [Bars("Spread of each z", unit, [part.name for part in parts], {"test clips": spreads})]
    if method.estimators is None:
        note = "without the term `information` there are no estimators, and so no bounds"
        return View(READING, panels, maps, [note])
    pairs = [f"{a}, {b}" for a, b in method.latent_pairs]
    pairs += [f"X of {a}, {b}" for a, b in method.input_pairs]
    bounds = [number(bound) for bound in _bounds(run, method, splits["test"])]
    title = "Î, upper bound of the mutual information"
    return View(READING, [Bars(title, "nats", pairs, {"test clips": bounds}), *panels], maps)


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
