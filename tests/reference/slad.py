"""SLaD's pooling, sub-modal labels and losses from the paper's equations: NumPy, float64, clip by clip.

Nothing here is batched over clips or pairs, and nothing is shared with SLaD's files in models.
A sub-modal label is a float (a score) or an array of probabilities (classes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Label = float | np.ndarray


@dataclass
class Case:
    """What the label-aware losses are a function of.

    Attributes
    ----------
    invariant, specific : modality -> (B, d), pooled
    labels : a (text, audio) pair of sub-modal labels a clip
    rows : the clips that take part
    """

    invariant: dict[str, np.ndarray]
    specific: dict[str, np.ndarray]
    labels: list[tuple[Label, Label]]
    rows: list[int]
    alpha: float = 0.5
    tau: float = 0.2
    top_k: int = 3
    margin: float = 0.0
    symmetric: bool = False
    rep_target: str = "offdiag"
    ml_items: str = "B"
    intersection: str = "fuzzy"
    label_aware: bool = True


# --------------------------------------------------------------------------------------------------- inputs
def bins(frames: np.ndarray, number: int) -> np.ndarray:
    """(n, D) -> (number, D): means of ⌊b n / l⌋ ... ⌈(b + 1) n / l⌉ - 1."""
    n = len(frames)
    return np.stack(
        [
            frames[math.floor(b * n / number) : math.ceil((b + 1) * n / number)].mean(axis=0)
            for b in range(number)
        ]
    )


def normalized_waveform(samples: np.ndarray) -> np.ndarray:
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def submodal_label(output: np.ndarray, classes: int, scale: float) -> Label:
    """y of what a head gives for a clip."""
    if classes > 2:
        exponents = np.exp(output - output.max())
        return np.asarray(exponents / exponents.sum())
    if classes == 2:
        return float(2 / (1 + np.exp(-output)) - 1)
    return float(np.clip(output / scale, -1, 1))


def gold_label(label: float, classes: int, scale: float) -> Label:
    if classes > 2:
        return np.eye(classes)[int(label)]
    return 2 * label - 1 if classes == 2 else float(np.clip(label / scale, -1, 1))


# --------------------------------------------------------------------------------------------------- losses
def omega(text: Label, audio: Label, alpha: float) -> float:
    """(10) to (12)."""
    if isinstance(text, np.ndarray):
        assert isinstance(audio, np.ndarray)
        if text.argmax() != audio.argmax():
            return 0.0
        distance = 0.5 * np.abs(text - audio).sum()
        first, second = text[text.argmax()], audio[text.argmax()]
        equal = bool((text == audio).all())
    else:
        assert not isinstance(audio, np.ndarray)
        if np.sign(text) != np.sign(audio) or text == 0 or audio == 0:
            return 0.0
        distance, first, second, equal = text - audio, abs(text), abs(audio), text == audio
    structure = 1.0 if equal else 0.1 + 0.8 * min(first, second) / (max(first, second) + 1e-8)
    return float(np.clip(structure * math.exp(-(distance**2) / (2 * alpha**2)), 0, 1))


def weights(case: Case) -> dict[int, float]:
    return {i: omega(*case.labels[i], case.alpha) if case.label_aware else 1.0 for i in case.rows}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def contrastive(case: Case) -> float:
    """(13) to (16)."""
    if not case.rows:
        return 0.0
    forward = _one_direction(case, "text", "audio")
    return (forward + _one_direction(case, "audio", "text")) / 2 if case.symmetric else forward


def _one_direction(case: Case, first: str, second: str) -> float:
    def s(i: int, j: int) -> float:
        return cosine(case.invariant[first][i], case.invariant[second][j]) / case.tau

    positive = np.mean([s(i, i) for i in case.rows])
    factor = case.tau / (1 + math.exp(-positive))
    total = 0.0
    for i, weight in weights(case).items():
        pull = -math.log(math.exp(s(i, i)) / sum(math.exp(s(i, j)) for j in case.rows))
        negatives = sorted((s(i, j) for j in case.rows if j != i), reverse=True)[: case.top_k]
        push = sum(math.log(1 + math.exp(value)) for value in negatives) / max(len(negatives), 1)
        total += weight * (pull + factor * push)
    return total / len(case.rows)


def repulsion(case: Case) -> float:
    """(17), (18)."""
    total = 0.0
    for i, weight in weights(case).items():
        targets = {
            "offdiag": [j for j in case.rows if j != i],
            "diag": [i],
            "all": case.rows,
        }[case.rep_target]
        r = [cosine(case.specific["text"][i], case.specific["audio"][j]) / case.tau for j in targets]
        total += weight * max(0.0, max(r) - case.margin) if r else 0.0
    return total / max(sum(weights(case).values()), 1e-8)


def multilabel(case: Case) -> float:
    """(19) to (21)."""
    if case.ml_items == "B":
        items = [(case.invariant["text"][i], case.invariant["audio"][i], case.labels[i]) for i in case.rows]
    else:
        items = [
            (case.invariant[name][i], case.invariant[name][i], (case.labels[i][place],))
            for place, name in enumerate(("text", "audio"))
            for i in case.rows
        ]
    total = 0.0
    for i, (query, _, labels) in enumerate(items):
        others = {j: cosine(query, key) / case.tau for j, (_, key, _) in enumerate(items) if j != i}
        for j, s in others.items():
            if related(labels, items[j][2]):
                share = math.exp(s) / sum(math.exp(other) for other in others.values())
                total -= overlap(labels, items[j][2], case.intersection) * math.log(share)
    return total / max(len(items), 1)


def related(first: tuple[Label, ...], second: tuple[Label, ...]) -> bool:
    if isinstance(first[0], np.ndarray):
        return any(a.argmax() == b.argmax() for a, b in zip(first, second, strict=True))
    return sum(a * b for a, b in zip(first, second, strict=True)) > 0


def overlap(first: tuple[Label, ...], second: tuple[Label, ...], intersection: str) -> float:
    """W of (20)."""
    if intersection == "crisp":
        sets = [{(place, _kind(label)) for place, label in enumerate(labels)} for labels in (first, second)]
        known = [{member for member in one if member[1] != 0} for one in sets]
        size, common = float(len(known[0])), float(len(known[0] & known[1]))
    else:
        a, b = (np.concatenate([np.atleast_1d(label) for label in labels]) for labels in (first, second))
        size = np.abs(a).sum()
        common = sum(
            min(abs(x), abs(y)) for x, y in zip(a, b, strict=True) if np.sign(x) == np.sign(y) and x != 0
        )
    return float(common / (size + 1e-8) * 1 / (1 + size - common))


def _kind(label: Label) -> int:
    return int(label.argmax()) + 1 if isinstance(label, np.ndarray) else int(np.sign(label))
