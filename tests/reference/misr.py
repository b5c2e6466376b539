"""MISR's fusion, environments and losses from the paper's equations: NumPy, float64, clip by clip.

Nothing here is batched over clips, modalities or environments, and nothing is shared with models/misr.
Arrays by modality: (B, T, d); `present` by modality: (B,) bool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass
class Case:
    """What the losses are a function of.

    Attributes
    ----------
    embedding, mean, sigma, reconstruction, present : by modality
    label : (B,), NaN where there is none
    weights : the model's parameters by name, as far as they stand behind the representations
    """

    embedding: Arrays
    mean: Arrays
    sigma: Arrays
    reconstruction: Arrays
    present: Arrays
    label: np.ndarray
    weights: Arrays

    @property
    def names(self) -> list[str]:
        return list(self.embedding)

    @property
    def clips(self) -> list[int]:
        """Rows whose error counts: those with a label and a modality."""
        return [
            clip for clip in range(len(self.label)) if self.has(clip) and not math.isnan(self.label[clip])
        ]

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
    cues = []
    for name in members:
        embedding = case.embedding[name][clip]
        centred = embedding - embedding.mean(axis=-1, keepdims=True)
        cues.append(centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5))
    return unified + (sum(cues) / len(cues) if cues else 0.0)


def predict(case: Case, representation: np.ndarray) -> float:
    """ŷ of a clip's (T, d): Φ and the MLP of 3.5."""
    hidden = np.maximum(_linear(representation.mean(axis=0), case.weights, "hidden"), 0)
    return float(_linear(hidden, case.weights, "score")[0])


def errors(case: Case, clip: int) -> list[float]:
    """|ŷ^e − y| of a clip in every environment."""
    return [
        abs(predict(case, environment(case, clip, subset)) - case.label[clip])
        for subset in subsets(case.names)
    ]


def risks(case: Case) -> list[float]:
    """R^e of every environment."""
    return [
        math.fsum(column) / len(case.clips)
        for column in zip(*map(partial(errors, case), case.clips), strict=True)
    ]


def variance(values: list[float]) -> float:
    """Of the population, two passes."""
    average = math.fsum(values) / len(values)
    return math.fsum((value - average) ** 2 for value in values) / len(values)


def invariance_of_clips(case: Case) -> float:
    """(11) as its prose reads: the variance of each clip's error over environments, averaged over clips."""
    return math.fsum(variance(errors(case, clip)) for clip in case.clips) / len(case.clips)


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
    return {
        "prediction": every[0],
        "prior": float(prior),
        "alignment": float(alignment),
        "reconstruction": float(reconstruction),
        "invariance": variance(every),
    }


def _linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
