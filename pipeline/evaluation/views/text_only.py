"""Text only: what it says beside what is true, and the texts as it sees them, on the test split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from models.text_only.model import TextOnly, TextOnlyOutput
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import Bars, Histogram, Part, View, gather, histogram
from pipeline.training.runs import TrainedRun

READING = (
    "The reference of all other methods: words alone. Predictions that spread less than the labels keep near "
    "the middle of what was trained on. The map is of what the Linear reads."
)
TITLE = "What is predicted, and what is true"


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """How predictions and labels are spread, and the means of the text's states."""
    method, test = run.method, splits["test"]
    assert isinstance(method, TextOnly)
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
    text = Part("text", "text", False, found["pooled"], found["present"].astype(np.bool_))
    return View(READING, (panel,), {"the texts (mean over their tokens)": [text]})


def _pick(batch: Batch, output: Output) -> dict[str, Tensor]:
    assert isinstance(output, TextOnlyOutput)
    return {"prediction": output.prediction, "pooled": output.pooled, "present": output.present}
