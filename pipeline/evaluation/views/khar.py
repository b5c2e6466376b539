"""KHaR: which experts each modality uses, and what the bottleneck filters, on the test split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from models.khar.model import KHaR, KHaROutput
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import JOINT, Bars, Part, View, gather, number, passes
from pipeline.training.runs import TrainedRun

READING = (
    "Each modality has its own experts. Gates: how much each expert contributes; rows: how many rows are "
    "routed to it, 1 = all. The balance term evens both out. The bottleneck's σ: where it equals the prior's "
    "1, a dimension carries no information about the clip; near 0, nothing is filtered."
)
CLOSED = 0.5  # σ above which a dimension lets little through


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """Shares of the experts, the refined representations x̂_m, and z of the bottleneck."""
    method = run.method
    assert isinstance(method, KHaR)
    test = splits["test"]
    found = gather(run, test, _pick)
    names = list(method.dims)
    parts = [Part(f"refined {m}", m, False, found[f"refined/{m}"], found[f"present/{m}"]) for m in names]
    maps = {"the refined representations (x̂)": parts}
    if method.bottleneck is not None:
        everyone = np.ones(len(test), bool)
        maps["the bottleneck (z)"] = [Part("z", JOINT, True, found["z"], everyone)]
    panels, notes = [], []
    if method.config.refine == "moe":
        gates, rows = _usage(run, test)
        panels = [
            _bars("Experts by their gates", "share of a modality's gates", names, gates, 1),
            _bars(
                "Experts by the rows routed to them",
                "share of a modality's rows",
                names,
                rows,
                method.config.k,
            ),
        ]
    else:
        notes.append(f"refine is {method.config.refine}: there are no experts")
    if method.bottleneck is not None:
        panels.append(_spread(found["sigma"]))
    else:
        notes.append(f"fusion is {method.config.fusion}: there is no bottleneck")
    return View(READING, panels, maps, notes)


def _bars(title: str, unit: str, names: list[str], sums: dict[str, np.ndarray], each: int) -> Bars:
    """Shares that sum to `each` in a modality."""
    shares = {
        name: each * used / used.sum() if used.sum() > 0 else used * np.nan for name, used in sums.items()
    }
    experts = len(next(iter(shares.values())))
    return Bars(
        title,
        unit,
        names,
        {f"expert {i}": [number(shares[name][i]) for name in names] for i in range(experts)},
        {"all alike": each / experts},
    )


def _spread(sigma: np.ndarray) -> Bars:
    """σ (C, Z) of all clips and dimensions: its mean, and how often it is above `CLOSED`."""
    groups = ["mean σ", f"share above {CLOSED:g}"]
    values = [number(sigma.mean()), number((sigma > CLOSED).mean())]
    return Bars(
        "σ of the bottleneck",
        "σ, or a share of clips and dimensions",
        groups,
        {"test clips": values},
        {"prior": 1.0},
    )


@torch.inference_mode()
def _usage(run: TrainedRun, split: Split) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Gates of each expert, and rows that use it at all, summed over the split: modality -> (E,) each."""
    gates: dict[str, np.ndarray] = {}
    rows: dict[str, np.ndarray] = {}
    for _, _, output in passes(run, split):
        assert isinstance(output, KHaROutput)
        for sums, used in ((gates, output.importance), (rows, output.rows)):
            for name, values in used.items():
                sums[name] = sums.get(name, 0.0) + values.double().cpu().numpy()
    return gates, rows


def _pick(batch: Batch, output: Output) -> dict[str, Tensor]:
    assert isinstance(output, KHaROutput)
    picked = {f"refined/{name}": refined for name, refined in output.refined.items()}
    picked |= {f"present/{name}": present for name, present in output.present.items()}
    if output.mean is not None and output.sigma is not None:
        picked |= {"z": output.mean, "sigma": output.sigma}
    return picked
