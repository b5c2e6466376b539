"""CmIR: what a linear probe finds in the invariant and in the spurious halves.

Probes are fitted on the train split and scored on the test split. One guesses the label: it should do well on
Z_inv and badly on Z_spu. The other guesses which modality a half comes from: that should be hard of Z_inv.
Ridge regression with a penalty chosen by leave-one-out on the train split, or logistic regression; both on
standardised values.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from models.cmir.model import CmIR, CmIROutput
from models.core.batch import Batch
from models.core.method import Output
from pipeline.datasets.splits import Split
from pipeline.evaluation.views.view import Bars, Part, View, gather, number
from pipeline.training.runs import TrainedRun

READING = (
    "Linear probes, fitted on the train split: the invariant half should tell the label and not the modality "
    "it comes from, the spurious half the other way round."
)

MOST = 5000  # clips that a probe is fitted on, evenly spaced over the train split
PENALTIES = np.logspace(-2, 4, 7)
HALVES = ("invariant", "spurious")  # Z_inv, Z_spu


def view(run: TrainedRun, splits: dict[str, Split]) -> View:
    """Scores of the probes, and the invariant beside the spurious halves."""
    method = run.method
    assert isinstance(method, CmIR)
    names = list(method.dims)
    test, train = splits["test"], splits["train"]
    chosen = np.unique(np.linspace(0, len(train) - 1, MOST).round().astype(int))
    found = {
        "train": {name: values[chosen] for name, values in gather(run, train, _pick).items()},
        "test": gather(run, test, _pick),
    }
    classes = method.task.classes
    label_probe = Bars(
        "A linear probe for the label",
        "accuracy" if classes else "MAE (label units)",
        names,
        {half: [_label_score(found, half, name, classes) for name in names] for half in HALVES},
        {"always the commonest class" if classes else "always the train median": _floor(found, classes)},
    )
    panels = [label_probe]
    if len(names) > 1:
        groups = [f"{half} halves" for half in HALVES]
        scores = [_modality_score(found, half, names) for half in HALVES]
        panels.append(
            Bars(
                "A linear probe for the modality",
                "accuracy",
                groups,
                {"which modality is it?": scores},
                {"chance": 1 / len(names)},
            )
        )
    parts = [
        Part(f"{half} {m}", m, half == "invariant", found["test"][f"{half}/{m}"], found["test"][m])
        for half in HALVES
        for m in names
    ]
    return View(READING, panels, {"the invariant and the spurious halves (Z_inv, Z_spu)": parts})


def _label_score(found: dict[str, dict[str, np.ndarray]], half: str, name: str, classes: int) -> float | None:
    """MAE or accuracy on the test clips that have the modality."""
    train, test = (
        (part[f"{half}/{name}"][part[name]], part["label"][part[name]])
        for part in (found["train"], found["test"])
    )
    guessed = _guessed(train, test, classes)
    if guessed is None:
        return None
    return number((guessed == test[1]).mean() if classes else np.abs(guessed - test[1]).mean())


def _modality_score(found: dict[str, dict[str, np.ndarray]], half: str, names: list[str]) -> float | None:
    """Mean over the modalities of the share of their test clips that are recognised."""
    train, test = (
        (
            np.concatenate([part[f"{half}/{m}"][part[m]] for m in names]),
            np.repeat(np.arange(len(names)), [part[m].sum() for m in names]),
        )
        for part in (found["train"], found["test"])
    )
    guessed = _guessed(train, test, len(names))
    if guessed is None:
        return None
    return number(np.mean([(guessed[test[1] == i] == i).mean() for i in np.unique(test[1])]))


def _guessed(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], classes: int
) -> np.ndarray | None:
    """What a probe that is fitted on (values, targets) says of others; None where it cannot be fitted."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train[1])) < 2 or not len(test[1]):
        return None
    model = LogisticRegression(max_iter=1000) if classes else RidgeCV(PENALTIES)
    guessed: np.ndarray = make_pipeline(StandardScaler(), model).fit(*train).predict(test[0])
    return guessed


def _floor(found: dict[str, dict[str, np.ndarray]], classes: int) -> float:
    """What a constant fitted to the train labels reaches."""
    known, label = found["train"]["label"], found["test"]["label"]
    if classes:
        values, counts = np.unique(known, return_counts=True)
        return float((label == values[counts.argmax()]).mean())
    return float(np.abs(label - np.median(known)).mean())


def _pick(batch: Batch, output: Output) -> dict[str, Tensor]:
    assert isinstance(output, CmIROutput)
    picked = {"label": batch.label, **output.present}
    for half in HALVES:
        picked |= {f"{half}/{name}": values for name, values in getattr(output, half).items()}
    return picked
