"""MIRD's representations and losses from the paper's equations: NumPy, float64, clip by clip.

Nothing here is batched over clips, pairs or time, and nothing is shared with the model's files.
`weights` are the model's parameters by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reference.blocks import adapted, club, estimator, negative_log_likelihood, sparsemax

Arrays = dict[str, np.ndarray]
PAIRS = [("visual", "text"), ("visual", "audio"), ("text", "audio")]
PAIRS += [(name, "shared") for name in ("visual", "text", "audio")]
INPUTS = ("visual", "text", "audio")


# ------------------------------------------------------------------------------------- representations
def cell(x: np.ndarray, h: np.ndarray, c: np.ndarray, weights: Arrays, name: str, suffix: str = "") -> tuple:
    """One step of an LSTM: (h, c) anew."""
    gates = weights[f"{name}.weight_ih{suffix}"] @ x + weights[f"{name}.bias_ih{suffix}"]
    gates = gates + weights[f"{name}.weight_hh{suffix}"] @ h + weights[f"{name}.bias_hh{suffix}"]
    enter, forget, new, leave = np.split(gates, 4)
    c = _sigmoid(forget) * c + _sigmoid(enter) * np.tanh(new)
    return _sigmoid(leave) * np.tanh(c), c


def private(values: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    """z^m (1) of one clip's real steps, (T, D) -> (d,)."""
    h = c = np.zeros(weights[f"private.{name}.lstm.weight_hh_l0"].shape[1])
    for x in values:
        h, c = cell(x, h, c, weights, f"private.{name}.lstm", "_l0")
    return _linear(h, weights, f"private.{name}.project")


def rebuilt(shared: np.ndarray, own: np.ndarray, steps: int, weights: Arrays, name: str) -> np.ndarray:
    """X̂^m (8) of one clip, (steps, D): an LSTM cell whose input is its own last state."""
    x = np.concatenate([shared, own])
    h = c = np.zeros_like(x)
    out = []
    for _ in range(steps):
        h, c = cell(x, h, c, weights, f"decoder.{name}.cell")
        out.append(_linear(h, weights, f"decoder.{name}.out"))
        x = h
    return np.stack(out)


def shifted(word: np.ndarray, others: Arrays, weights: Arrays) -> np.ndarray:
    """LayerNorm of w̃ (2) to (6) of one word, with the real steps (L, d_m) of each modality that is there."""
    said = {}
    for name, values in others.items():
        keys = _linear(values, weights, f"shared.attention.{name}.key")
        said[name] = sparsemax(list(keys @ word / math.sqrt(len(word)))) @ values
    gates = {name: _layer(weights, f"shared.mag.gate.{name}") for name in others}
    projects = {name: _layer(weights, f"shared.mag.project.{name}") for name in others}
    moved = adapted(word, said, gates, projects)
    centred = moved - moved.mean()
    scaled = centred / math.sqrt((centred**2).mean() + 1e-5)
    return scaled * weights["shared.mag.norm.weight"] + weights["shared.mag.norm.bias"]


# --------------------------------------------------------------------------------------------------- losses
@dataclass
class Case:
    """What the losses are a function of; arrays have a row a clip.

    Attributes
    ----------
    prediction, label, labeled : (B,)
    z : "shared" and modalities, (B, d)
    pooled : X^m by modality, (B, D)
    present : by modality, (B,) bool
    values, rebuilt, mask : by modality, (B, T, D) or token ids (B, T), (B, T, D or vocabulary), (B, T)
    standardize : whether the estimators see z with mean 0 and variance 1 over clips, width by width
    """

    prediction: np.ndarray
    label: np.ndarray
    labeled: np.ndarray
    z: Arrays
    pooled: Arrays
    present: Arrays
    values: Arrays
    rebuilt: Arrays
    mask: Arrays
    weights: Arrays
    pairs: str = "six"
    use: str = "both"
    standardize: bool = True

    def rows(self, term: str, *names: str) -> list[int]:
        """Clips that join a term of these representations."""
        joined = self.use in ("both", term)
        return [
            clip
            for clip in range(len(self.prediction))
            if (joined or self.labeled[clip])
            and all(name == "shared" or self.present[name][clip] for name in names)
        ]


def logarithm(errors: list[float]) -> float:
    """Of their mean, 0 where there is none."""
    return math.log(max(math.fsum(errors) / len(errors), 1e-6)) if errors else 0.0


def regression(case: Case) -> float:
    """L_reg (18)."""
    rows = np.flatnonzero(case.labeled)
    return logarithm([float(case.prediction[clip] - case.label[clip]) ** 2 for clip in rows])


def classification(case: Case) -> float:
    """Its cross-entropy: logits (B,) of two classes, or (B, C)."""
    errors = []
    for clip in np.flatnonzero(case.labeled):
        logits = np.atleast_1d(case.prediction[clip])
        logits = np.array([0.0, logits[0]]) if len(logits) == 1 else logits
        errors.append(_cross_entropy(logits, int(case.label[clip])))
    return logarithm(errors)


def reconstruction(case: Case) -> float:
    """L_recon (19)."""
    total = 0.0
    for name, values in case.values.items():
        errors: list[float] = []
        for clip in case.rows("reconstruction", name):
            for step in np.flatnonzero(case.mask[name][clip][: case.rebuilt[name].shape[1]]):
                given, wanted = case.rebuilt[name][clip, step], values[clip, step]
                if wanted.ndim == 0:
                    errors.append(_cross_entropy(given, int(wanted)))
                else:
                    errors.extend((given - wanted) ** 2)
        total += logarithm(errors)
    return total


def estimates(case: Case, likelihood: bool) -> list[float]:
    """Î (12), (14), or the negative log-likelihoods (13), (15), of each pair."""
    found = []
    z = case.z
    if case.standardize:
        z = {name: _standardized(values, case.rows("information", name)) for name, values in z.items()}
    pairs = [(z[x], z[y], (x, y)) for x, y in PAIRS]
    if case.pairs == "nine":
        pairs += [(case.pooled[x], z["shared"], (x, "shared")) for x in INPUTS]
    for number, (x, y, names) in enumerate(pairs):
        rows = case.rows("information", *names)
        if not rows:
            found.append(0.0)
            continue
        x, y = x[rows], y[rows]
        mean, logvar = estimator(x, case.weights, number, "estimators.")
        measure = negative_log_likelihood if likelihood else club
        found.append(measure(mean, logvar, y))
    return found


def orthogonality(case: Case) -> float:
    """(9) of every pair of representations, over the entries of the matrix."""
    total = 0.0
    for first, second in PAIRS:
        squares = [
            float(case.z[first][i] @ case.z[second][j]) ** 2
            for i in case.rows("information", first)
            for j in case.rows("information", second)
        ]
        total += math.fsum(squares) / max(len(squares), 1)
    return total


def _standardized(values: np.ndarray, rows: list[int]) -> np.ndarray:
    """Each width less its mean, over its spread; both over these rows alone."""
    if not rows:
        return values
    columns = [(column - column[rows].mean()) / np.sqrt(column[rows].var() + 1e-6) for column in values.T]
    return np.stack(columns, axis=1)


def _cross_entropy(logits: np.ndarray, chosen: int) -> float:
    top = logits.max()
    return float(top + math.log(np.exp(logits - top).sum()) - logits[chosen])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _layer(weights: Arrays, name: str):
    return lambda x: _linear(x, weights, name)
