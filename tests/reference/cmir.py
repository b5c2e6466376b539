"""CmIR's views, prediction and losses from its equations: NumPy, float64, clip by clip.

Nothing here is batched over clips, modalities or environments, and nothing is shared with models/cmir.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass
class Case:
    """What the losses are a function of; dictionaries by modality.

    Attributes
    ----------
    features : (B, x) X_m
    perturbed : (E, B, x) noisy X_m of the environments
    present : (B,) bool
    label : (B,) NaN where there is none
    weights : the model's parameters by name
    """

    features: Arrays
    perturbed: Arrays
    present: Arrays
    label: np.ndarray
    weights: Arrays
    alpha_off: float = 0.1
    with_clean: bool = False
    sums: bool = False
    normalised: bool = False

    def rows(self, name: str) -> list[int]:
        return [clip for clip in range(len(self.label)) if self.present[name][clip]]


def halves(case: Case, name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Z_inv and Z_spu of one X_m, (x,) -> (z,) each."""
    z = mlp(case, f"encoder.{name}", x)
    middle = len(z) // 2
    parts = z[:middle], z[middle:]
    if case.normalised:
        parts = tuple((part - part.mean()) / np.sqrt(part.var() + 1e-5) for part in parts)
    return parts


def predict(case: Case, clip: int) -> np.ndarray:
    """The predictor's outputs for a clip."""
    slots = []
    for name, x in case.features.items():
        invariant, _ = halves(case, name, x[clip])
        slots.append(invariant if case.present[name][clip] else np.zeros_like(invariant))
    return mlp(case, "predictor", np.concatenate(slots), last=3)


def losses(case: Case) -> dict[str, float]:
    """The four terms of a regression."""
    known = [clip for clip in range(len(case.label)) if not np.isnan(case.label[clip])]
    errors = [abs(float(predict(case, clip)[0]) - case.label[clip]) for clip in known]
    names = case.features
    return {
        "prediction": sum(errors) / max(len(errors), 1),
        "invariance": sum(invariance(case, name) for name in names),
        "decorrelation": sum(decorrelation(case, name) for name in names),
        "reconstruction": sum(reconstruction(case, name) for name in names),
    }


def invariance(case: Case, name: str) -> float:
    """R_inv: L1 norm of the difference of any two environments' Z_inv."""
    totals = []
    for clip in case.rows(name):
        inputs = [noisy[clip] for noisy in case.perturbed[name]]
        if case.with_clean:
            inputs.append(case.features[name][clip])
        views = [halves(case, name, x)[0] for x in inputs]
        total = 0.0
        for first in range(len(views)):
            for second in range(len(views)):
                if first != second:
                    total += float(np.abs(views[first] - views[second]).sum())
        if not case.sums:
            total /= len(views) * (len(views) - 1) * len(views[0])
        totals.append(total)
    return sum(totals) / max(len(totals), 1)


def decorrelation(case: Case, name: str) -> float:
    """R_dec: squared cosines, of a clip with itself and, weighted, of different clips."""
    own, other = [], []
    for first in case.rows(name):
        for second in case.rows(name):
            a, _ = halves(case, name, case.features[name][first])
            _, b = halves(case, name, case.features[name][second])
            square = float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b))) ** 2
            (own if first == second else other).append(square)
    return sum(own) / max(len(own), 1) + case.alpha_off * sum(other) / max(len(other), 1)


def reconstruction(case: Case, name: str) -> float:
    """R_rec: mean squared error of the rebuilt X_m."""
    errors = []
    for clip in case.rows(name):
        x = case.features[name][clip]
        rebuilt = mlp(case, f"decoder.{name}", np.concatenate(halves(case, name, x)))
        errors.append(float(((x - rebuilt) ** 2).mean()))
    return sum(errors) / max(len(errors), 1)


def mlp(case: Case, name: str, x: np.ndarray, last: int = 2) -> np.ndarray:
    """Linear, ReLU, Linear; `last` is the number of the second Linear."""
    w = case.weights
    hidden = np.maximum(w[f"{name}.0.weight"] @ x + w[f"{name}.0.bias"], 0)
    return w[f"{name}.{last}.weight"] @ hidden + w[f"{name}.{last}.bias"]
