"""SLaD: how far the labels of text and sound agree (ω, and the relations R1 to R3), on the test split.

The maps of X'^t, X'^a and X^f are the paper's figure 5. It does not say how X'^m becomes one vector a clip,
nor which layer X^f is [D]: the mean over time, and all that the classifier reads.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from models.slad.model import LABEL_AWARE, SLaD, SLaDOutput
from models.slad.submodal import relations
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import JOINT, Bars, Part, View, as_in_training, gather, histogram, number
from pipeline.training.runs import TrainedRun

READING = (
    "ω weights a clip's contrastive losses by how far the labels of its text and its sound agree: 0 where "
    "their signs differ (R1), 1 where they are equal (R2), in between where only their strength differs "
    "(R3). The fusion (X^f) should separate the sentiments better than its inputs, text and sound (X')."
)

RELATIONS = ("R1: signs differ, or neutral", "R2: equal", "R3: same sign, different strength")


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """Histogram of ω, shares of the relations, and the maps of I beside S and of figure 5."""
    method = run.method
    assert isinstance(method, SLaD)
    with as_in_training(method, ("unimodal", *LABEL_AWARE)):
        found = gather(run, splits["test"], lambda batch, output: _pick(method, batch, output))
    rows = found["rows"]
    parts = [
        Part(f"{kind} {modality}", modality, letter == "I", found[f"{letter}/{modality}"], found[modality])
        for letter, kind in (("I", "invariant"), ("S", "specific"))
        for modality in method.NEEDS
    ]
    maps = {"the invariant and the specific representations (I, S)": parts}
    for modality, name in (("text", "X'^t"), ("audio", "X'^a")):
        one = Part(f"aligned {modality}", modality, False, found[f"X/{modality}"], found[modality])
        maps[f"the {modality} that enters the fusion ({name})"] = [one]
    everyone = np.ones(len(splits["test"]), bool)
    maps["the fusion (X^f)"] = [Part("fused", JOINT, True, found["fused"], everyone)]
    if not rows.any():
        return View(READING, [], maps, ["no test clip has both text and sound, whose labels ω compares"])
    first, second = found["R1"][rows], found["R2"][rows]
    held = (first, second, ~(first | second))
    panels = (
        histogram("ω, agreement of the two labels", "ω", {"test clips": found["omega"][rows]}, (0, 1)),
        Bars(
            "Relation of the text's label to the sound's",
            "share of the clips",
            list(RELATIONS),
            {"test clips": [number(state.mean()) for state in held]},
        ),
    )
    return View(READING, panels, maps)


def _pick(method: SLaD, batch: Batch, output: Output) -> dict[str, Tensor]:
    assert isinstance(output, SLaDOutput)
    labels, rows = method.submodal_labels(batch, output)
    first, second = relations(labels[0], labels[1])
    picked = {"omega": method.weight(labels, rows), "rows": rows, "R1": first, "R2": second}
    picked["fused"] = output.fused
    for modality in method.NEEDS:
        picked[f"X/{modality}"] = output.aligned[modality]
        picked[f"I/{modality}"] = output.invariant[modality]
        picked[f"S/{modality}"] = output.specific[modality]
        picked[modality] = output.present[modality]
    return picked
