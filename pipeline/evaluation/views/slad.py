"""SLaD: how far the labels of text and sound agree (ω, and the relations R1 to R3), on the test split."""

from __future__ import annotations

from torch import Tensor

from models.core.batch import Batch
from models.core.method import Output
from models.slad.model import LABEL_AWARE, SLaD, SLaDOutput
from models.slad.submodal import relations
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import Bars, Part, View, as_in_training, gather, histogram, number
from pipeline.training.runs import TrainedRun

READING = (
    "ω weights a clip's contrastive losses by how far the labels of its text and its sound agree: 0 where "
    "their signs differ (R1), 1 where they are equal (R2), between where only their strength differs (R3)."
)

RELATIONS = ("R1: signs differ, or neutral", "R2: equal", "R3: one sign, other strength")


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """Histogram of ω, shares of the relations, and the invariant beside the specific representations."""
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
    for modality in method.NEEDS:
        picked[f"I/{modality}"] = output.invariant[modality]
        picked[f"S/{modality}"] = output.specific[modality]
        picked[modality] = output.present[modality]
    return picked
