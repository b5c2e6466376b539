"""MISR: who is trusted (ω of (2)), and how the risk differs between environments (9), on the test split."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from models.misr.model import MISR, MISROutput, uncertainty_fusion
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import JOINT, Bars, Part, View, gather, histogram, number
from pipeline.training.runs import TrainedRun

READING = (
    "ω (equation 2) is how far each modality is trusted in the fusion. The environments (equation 9) are the "
    "joint representation with the named cues; the constraint L_IC makes their risks equal."
)


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """ω of each modality, the risk of each environment, and the fused beside the unimodal representations."""
    method = run.method
    assert isinstance(method, MISR)
    names = list(method.dims)
    found = gather(run, splits["test"], lambda batch, output: _pick(method, batch, output))
    present = {name: found[f"present/{name}"] for name in names}
    omega = {name: found[f"omega/{name}"][present[name]] for name in names}
    environments = ["+".join(subset) or "joint alone" for subset in method.subsets]
    risks = [number(found["risk"][:, place].mean()) for place in range(len(environments))]
    unit = "cross-entropy (nats)" if method.task.classes else "MAE (label units)"
    panels = (
        histogram(
            "ω, each modality's weight in the fusion", "ω of a clip, mean over tokens and channels", omega
        ),
        Bars(
            "Mean ω",
            "share of the fusion",
            names,
            {"test clips": [number(omega[name].mean()) if omega[name].size else None for name in names]},
        ),
        Bars("Risk of each environment", unit, environments, {"test clips": risks}),
    )
    everyone = np.ones(len(splits["test"]), bool)
    parts = [Part("joint", JOINT, True, found["joint"], everyone)]
    parts += [Part(m, m, False, found[f"mean/{m}"], present[m]) for m in names]
    return View(READING, panels, {"the joint and the unimodal representations (H^u, μ)": parts})


def _pick(method: MISR, batch: Batch, output: Output) -> dict[str, Tensor]:
    assert isinstance(output, MISROutput)
    present = output.present
    _, omega = uncertainty_fusion(output.mean, (0.5 * output.logvar).exp(), present)  # (M, B, T, d)
    # evaluation computes H^u's environment alone; these are the others, in the method's own steps
    pooled = method.environments(output.joint, output.embedding, present, len(method.subsets))
    errors = method.task.errors(method.predict(pooled)[1], batch.label)  # (E, B)
    picked = {"joint": output.joint.mean(dim=1), "risk": errors.T}
    for place, name in enumerate(method.dims):
        picked[f"omega/{name}"] = omega[place].mean(dim=(1, 2))
        picked[f"mean/{name}"] = output.mean[place].mean(dim=1)
        picked[f"present/{name}"] = present[place]
    return picked
