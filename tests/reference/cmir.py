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
    predict_all: bool = False
    means: tuple[str, ...] = ()  # of the three constraints, those that are per element
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


def predict(case: Case, clip: int, environment: int | None = None) -> np.ndarray:
    """The predictor's outputs for a clip, clean or in an environment."""
    slots = []
    for name in case.features:
        x = case.features[name] if environment is None else case.perturbed[name][environment]
        invariant, _ = halves(case, name, x[clip])
        slots.append(invariant if case.present[name][clip] else np.zeros_like(invariant))
    return mlp(case, "predictor", np.concatenate(slots), last=3)


def losses(case: Case) -> dict[str, float]:
    """The four terms of a regression."""
    known = [clip for clip in range(len(case.label)) if not np.isnan(case.label[clip])]
    names = case.features
    number = len(next(iter(case.perturbed.values()))) if case.predict_all else 0
    errors = []
    for environment in (None, *range(number)):
        errors += [abs(float(predict(case, clip, environment)[0]) - case.label[clip]) for clip in known]
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
        if "invariance" in case.means:
            total /= len(views) * (len(views) - 1) * len(views[0])
        totals.append(total)
    return sum(totals) / max(len(totals), 1)


def decorrelation(case: Case, name: str) -> float:
    """R_dec: squared Frobenius norm of the cosines, weighted beside the diagonal; or its share a clip."""
    total = 0.0
    for first in case.rows(name):
        for second in case.rows(name):
            a, _ = halves(case, name, case.features[name][first])
            _, b = halves(case, name, case.features[name][second])
            square = float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b))) ** 2
            total += square if first == second else case.alpha_off * square
    return total / max(len(case.rows(name)), 1) if "decorrelation" in case.means else total


def reconstruction(case: Case, name: str) -> float:
    """R_rec: squared length of the error of the rebuilt X_m, or its share a width."""
    errors = []
    for clip in case.rows(name):
        x = case.features[name][clip]
        rebuilt = mlp(case, f"decoder.{name}", np.concatenate(halves(case, name, x)))
        square = float(np.linalg.norm(x - rebuilt) ** 2)
        errors.append(square / len(x) if "reconstruction" in case.means else square)
    return sum(errors) / max(len(errors), 1)


def mlp(case: Case, name: str, x: np.ndarray, last: int = 2) -> np.ndarray:
    """Linear, ReLU, Linear; `last` is the number of the second Linear."""
    w = case.weights
    hidden = np.maximum(w[f"{name}.0.weight"] @ x + w[f"{name}.0.bias"], 0)
    return w[f"{name}.{last}.weight"] @ hidden + w[f"{name}.{last}.bias"]
