"""Any method: what it says beside what is true, and a map of what its head reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import FusedOutput, Output
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import Bars, Histogram, Part, View, gather, histogram
from pipeline.training.runs import TrainedRun

READING = (
    "Predictions that spread less than the labels stay close to the mean of the training labels. The map "
    "shows the vector that the head reads."
)
TITLE = "Predictions and labels"


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """How predictions and labels of the test split are spread, and the fused vectors of a `FusedOutput`."""
    method, test = run.method, splits["test"]
    found = gather(run, test, _pick)
    label = test.label.cpu().double().numpy()
    panel: Bars | Histogram
    if method.task.classes:
        decided = method.task.decide(torch.from_numpy(found["prediction"])).numpy()
        classes = range(method.task.classes)
        panel = Bars(
            TITLE,
            "test clips",
            [str(one) for one in classes],
            {
                name: [float((values == one).sum()) for one in classes]
                for name, values in (("predicted", decided), ("label", label))
            },
        )
    else:
        panel = histogram(TITLE, "label units", {"prediction": found["prediction"], "label": label})
    if "fused" not in found:
        return View(READING, (panel,))
    clips = Part("fused", "joint", True, found["fused"], found["present"].astype(np.bool_))
    return View(READING, (panel,), {"what the head reads": [clips]})


def _pick(batch: Batch, output: Output) -> dict[str, Tensor]:
    picked = {"prediction": output.prediction}
    if isinstance(output, FusedOutput):
        picked |= {"fused": output.fused, "present": output.present.any(dim=0)}
    return picked
