"""MISR's fusion, environments and losses from the paper's equations: NumPy, float64, clip by clip.

Nothing here is batched over clips, modalities or environments, and nothing is shared with models/misr.
Arrays by modality: (B, T, d); `present` by modality: (B,) bool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass
class Case:
    """What the losses are a function of.

    Attributes
    ----------
    embedding, mean, sigma, reconstruction, present : by modality
    label : (B,)
    weights : the model's parameters by name, as far as they stand behind the representations
    """

    embedding: Arrays
    mean: Arrays
    sigma: Arrays
    reconstruction: Arrays
    present: Arrays
    label: np.ndarray
    weights: Arrays
    fusion: str = "add"

    @property
    def names(self) -> list[str]:
        return list(self.embedding)

    def has(self, clip: int) -> list[str]:
        return [name for name in self.names if self.present[name][clip]]


def joint(case: Case, clip: int) -> np.ndarray:
    """H^u of a clip, (T, d): (2) and (3)."""
    certainty = {name: np.exp(1 / case.sigma[name][clip]) for name in case.has(clip)}
    total = sum(certainty.values())
    return sum(certainty[name] / total * case.mean[name][clip] for name in certainty)


def subsets(names: list[str]) -> list[tuple[str, ...]]:
    """All environments of (9)."""
    return list(chain.from_iterable(combinations(names, size) for size in range(len(names) + 1)))


def environment(case: Case, clip: int, subset: tuple[str, ...]) -> np.ndarray:
    """H^{f(u, S)} of a clip, (T, d): (9)."""
    unified = joint(case, clip)
    members = [name for name in subset if case.present[name][clip]]
    if case.fusion == "concat":
        nothing = np.zeros_like(unified)
        slots = [case.embedding[name][clip] if name in members else nothing for name in case.names]
        return _linear(np.concatenate([unified, *slots], axis=-1), case.weights, "mix")
    cues = []
    for name in members:
        embedding = case.embedding[name][clip]
        if case.fusion == "gated":
            scores = _linear(np.concatenate([unified, embedding], axis=-1), case.weights, "gate")
            cues.append(embedding / (1 + np.exp(-scores)))
        else:
            centred = embedding - embedding.mean(axis=-1, keepdims=True)
            cues.append(centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5))
    return unified + (sum(cues) / len(cues) if cues else 0.0)


def predict(case: Case, representation: np.ndarray) -> float:
    """ŷ of a clip's (T, d): Φ and the MLP of 3.5."""
    hidden = np.maximum(_linear(representation.mean(axis=0), case.weights, "hidden"), 0)
    return float(_linear(hidden, case.weights, "score")[0])


def risks(case: Case) -> list[float]:
    """R^e of every environment."""
    clips = range(len(case.label))
    return [
        sum(abs(predict(case, environment(case, clip, subset)) - case.label[clip]) for clip in clips)
        / len(case.label)
        for subset in subsets(case.names)
    ]


def losses(case: Case) -> dict[str, float]:
    """The five terms: (12), (4), (5), (7), (11)."""
    prior, alignment, reconstruction = 0.0, 0.0, 0.0
    clips = range(len(case.label))
    for name in case.names:
        rows = [clip for clip in clips if case.present[name][clip]]
        mean, sigma = case.mean[name][rows], case.sigma[name][rows]
        if rows:
            prior += np.mean(0.5 * (mean**2 + sigma**2 - 1 - 2 * np.log(sigma)))
            reconstruction += np.mean((case.embedding[name][rows] - case.reconstruction[name][rows]) ** 2)
    for first in case.names:
        for second in case.names:
            rows = [clip for clip in clips if {first, second} <= set(case.has(clip))]
            if first == second or not rows:
                continue
            mean1, mean2 = case.mean[first][rows], case.mean[second][rows]
            sigma1, sigma2 = case.sigma[first][rows], case.sigma[second][rows]
            ratio = np.log(sigma2 / sigma1)
            alignment += np.mean(ratio + (sigma1**2 + (mean1 - mean2) ** 2) / (2 * sigma2**2) - 0.5)
    every = risks(case)
    average = math.fsum(every) / len(every)
    return {
        "prediction": every[0],
        "prior": float(prior),
        "alignment": float(alignment),
        "reconstruction": float(reconstruction),
        "invariance": math.fsum((risk - average) ** 2 for risk in every) / len(every),
    }


def _linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
