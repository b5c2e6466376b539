"""CmIR: what a linear probe finds in the invariant and in the spurious halves.

Probes are fitted on the train split and scored on the test split. One guesses the label, from a half of one
modality or of all: it should do well on Z_inv, and on Z_spu no better than a constant. The other guesses
which modality a half comes from: that should be hard of Z_inv.
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
    "Linear probes, fitted on the train split: the invariant half should predict the label and not the "
    "modality it comes from, the spurious half the reverse."
)

MOST = 5000  # clips that a probe is fitted on, evenly spaced over the train split
PENALTIES = np.logspace(-2, 4, 7)
HALVES = ("invariant", "spurious")  # Z_inv, Z_spu
ALL = "all"  # modalities, side by side


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
    for part in found.values():
        _join(part, names)
    panels = _label_probe(found, [*names, ALL] if len(names) > 1 else names, method.task.classes)
    if len(names) > 1:
        scores = [_modality_score(found, half, names) for half in HALVES]
        panels.append(
            Bars(
                "A linear probe for the modality",
                "accuracy",
                [f"{half} halves" for half in HALVES],
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


def _join(part: dict[str, np.ndarray], names: list[str]) -> None:
    """The halves of all modalities side by side, zero where a clip lacks one, as the predictor has them."""
    part[ALL] = np.any([part[m] for m in names], axis=0)
    for half in HALVES:
        known = [np.where(part[m][:, None], part[f"{half}/{m}"], 0.0) for m in names]
        part[f"{half}/{ALL}"] = np.concatenate(known, axis=1)


def _label_probe(found: dict[str, dict[str, np.ndarray]], groups: list[str], classes: int) -> list[Bars]:
    """Accuracy, or MAE and correlation, of the probe for the label, beside those of a constant."""
    scores = {half: [_label_scores(found, half, name, classes) for name in groups] for half in HALVES}
    unit, constant = ("accuracy", "commonest class") if classes else ("MAE (label units)", "train median")
    errors = {half: [score for score, _ in pairs] for half, pairs in scores.items()}
    floor = {f"always the {constant}": _floor(found, classes)}
    panels = [Bars("A linear probe for the label", unit, groups, errors, floor)]
    if not classes:
        title = "A linear probe for the label, its correlation"
        correlations = {half: [r for _, r in pairs] for half, pairs in scores.items()}
        panels.append(Bars(title, "Pearson's r", groups, correlations, {"chance": 0.0}))
    return panels


def _label_scores(
    found: dict[str, dict[str, np.ndarray]], half: str, name: str, classes: int
) -> tuple[float | None, float | None]:
    """Accuracy, or MAE and Pearson's r, on the test clips that have the modality."""
    train, test = (
        (part[f"{half}/{name}"][part[name]], part["label"][part[name]])
        for part in (found["train"], found["test"])
    )
    guessed = _guessed(train, test, classes)
    if guessed is None:
        return None, None
    if classes:
        return number((guessed == test[1]).mean()), None
    spread = min(np.ptp(guessed), np.ptp(test[1]))
    r = number(np.corrcoef(guessed, test[1])[0, 1]) if spread > 0 else None
    return number(np.abs(guessed - test[1]).mean()), r


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
