"""MISA: the shared beside the private vectors of each modality, and what it says beside what is true."""

from __future__ import annotations

from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from models.misa.model import MISA, MISAOutput
from pipeline.datasets.splits import Split
from pipeline.evaluation.views import fused
from pipeline.evaluation.views.view import Part, View, gather
from pipeline.training.runs import TrainedRun

READING = (
    "The shared vectors should lie together, whatever modality they come from, and the private ones apart "
    "from these and from each other."
)


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """Predictions and labels of the test split, and the map of h^c beside h^p."""
    method = run.method
    assert isinstance(method, MISA)
    names = list(method.dims)
    found = gather(run, splits["test"], lambda batch, output: _pick(names, batch, output))
    parts = [
        Part(f"{kind} {m}", m, kind == "shared", found[f"{kind}/{m}"], found[m])
        for kind in ("shared", "private")
        for m in names
    ]
    panels = fused.view(run, splits).panels
    return View(READING, panels, {"the shared and the private vectors (h^c, h^p)": parts})


def _pick(names: list[str], batch: Batch, output: Output) -> dict[str, Tensor]:
    assert isinstance(output, MISAOutput)
    picked = {}
    for place, name in enumerate(names):
        picked[name] = output.present[place]
        picked |= {f"shared/{name}": output.shared[place], f"private/{name}": output.private[place]}
    return picked
