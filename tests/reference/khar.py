"""KHaR from the paper's equations: NumPy, float64, clip by clip, on the real steps alone.

Nothing here is batched over clips or padded, and nothing is shared with the models. `weights` are a model's
parameters by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]


# --------------------------------------------------------------------------------------------- the harvest
def encoder_states(weights: Arrays, name: str, values: np.ndarray, heads: int) -> list[np.ndarray]:
    """(1) of a modality: (T, features) -> h_0 ... h_n."""
    prefix = f"encoder.{name}"
    states = [linear(values, weights, f"{prefix}.project") + weights[f"{prefix}.positions"][: len(values)]]
    while f"{prefix}.layers.{len(states) - 1}.linear1.weight" in weights:
        states.append(layer(states[-1], weights, f"{prefix}.layers.{len(states) - 1}", heads))
    return states


def harvest(
    weights: Arrays, name: str, states: list[np.ndarray], reads: list[int], heads: int, norm_last: bool
) -> np.ndarray:
    """X_m = [A_m; O_m] (3) of a clip: h_0 ... h_n -> (T, 2w)."""
    prefix = f"harvest.{name}"
    data = states[0]
    for number, read in enumerate(reads):
        adapter = f"{prefix}.adapters.{number}"
        data = layer_norm(data + states[read], weights, f"{prefix}.norm")
        inner = linear(data, weights, f"{adapter}.down")
        depth = 0
        while f"{adapter}.layers.{depth}.linear1.weight" in weights:
            inner = layer(inner, weights, f"{adapter}.layers.{depth}", heads)
            depth += 1
        data = data + linear(inner, weights, f"{adapter}.up")
    last = layer_norm(states[-1], weights, f"{prefix}.norm") if norm_last else states[-1]
    return np.concatenate([data, last], axis=-1)


def layer(x: np.ndarray, weights: Arrays, name: str, heads: int) -> np.ndarray:
    """A post-norm transformer layer with GELU: (T, w) -> (T, w)."""
    joined = x @ weights[f"{name}.self_attn.in_proj_weight"].T + weights[f"{name}.self_attn.in_proj_bias"]
    query, key, value = np.split(joined, 3, axis=-1)
    size = x.shape[1] // heads
    parts = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(size))
        parts.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, part])
    mixed = linear(np.concatenate(parts, axis=-1), weights, f"{name}.self_attn.out_proj")
    x = layer_norm(x + mixed, weights, f"{name}.norm1")
    hidden = linear(x, weights, f"{name}.linear1")
    hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return layer_norm(x + linear(hidden, weights, f"{name}.linear2"), weights, f"{name}.norm2")


def layer_norm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


# ------------------------------------------------------------------------------------------ the refinement
def gate(weights: Arrays, name: str, row: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(4) of a row, and what it adds to the load: the chances of choice under the noise, or the softmax."""
    scores = weights[f"refine.{name}.gate.score.weight"] @ row
    kept = np.where(scores >= np.sort(scores)[-k], np.exp(scores), 0.0)
    load = np.exp(scores) / np.exp(scores).sum()
    if f"refine.{name}.gate.noise.weight" in weights:
        spread = np.log1p(np.exp(weights[f"refine.{name}.gate.noise.weight"] @ row)) + 0.01
        for expert, score in enumerate(scores):
            bar = sorted(np.delete(scores, expert))[-k]
            load[expert] = 0.5 * (1 + math.erf((score - bar) / spread[expert] / math.sqrt(2)))
    return kept / kept.sum(), load


def mixture(weights: Arrays, name: str, row: np.ndarray, k: int) -> np.ndarray:
    """(5) of a row."""
    gates, _ = gate(weights, name, row, k)
    total = 0.0
    for number, share in enumerate(gates):
        expert = f"refine.{name}.experts.{number}"
        hidden = np.maximum(linear(row, weights, f"{expert}.0"), 0)
        total = total + share * linear(hidden, weights, f"{expert}.3")
    return np.asarray(total)


def refined(weights: Arrays, name: str, x: np.ndarray, k: int, level: str) -> np.ndarray:
    """x̂_m of a clip's X_m (T, D)."""
    if level == "utterance":
        return mixture(weights, name, x.mean(axis=0), k)
    return np.mean([mixture(weights, name, row, k) for row in x], axis=0)


# ------------------------------------------------------------------------------------ fusion and prediction
def bottleneck(weights: Arrays, slots: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """μ and σ (23) of a clip's x̂_m, in the model's order."""
    joint = np.maximum(linear(np.concatenate(slots), weights, "fusion.out"), 0)
    hidden = np.maximum(linear(joint, weights, "bottleneck.body.0"), 0)
    spread = linear(hidden, weights, "bottleneck.spread") - 5
    return linear(hidden, weights, "bottleneck.mean"), np.log1p(np.exp(spread))


def predict(weights: Arrays, z: np.ndarray) -> np.ndarray:
    """D(z), (outputs,)."""
    return linear(np.maximum(linear(z, weights, "predictor.0"), 0), weights, "predictor.2")


# -------------------------------------------------------------------------------------------------- losses
@dataclass
class Case:
    """What the losses are a function of; arrays by modality where there are several.

    Attributes
    ----------
    rows : X_m of each clip, (T, D) each, None where absent
    refined : (B, F)
    mean, sigma : (B, Z)
    prediction, label : (B,)
    labeled : (B,) bool
    """

    weights: Arrays
    rows: dict[str, list[np.ndarray | None]]
    refined: Arrays
    mean: np.ndarray
    sigma: np.ndarray
    prediction: np.ndarray
    label: np.ndarray
    labeled: np.ndarray
    k: int = 2
    level: str = "token"
    kappa: float = 0.4
    temperature: float = 0.1


def losses(case: Case) -> dict[str, float]:
    """The five terms, of a regression."""
    known = [clip for clip in range(len(case.label)) if case.labeled[clip]]
    error = (
        float(np.mean([abs(case.prediction[clip] - case.label[clip]) for clip in known])) if known else 0.0
    )
    compression = 0.0
    for mean, sigma in zip(case.mean.ravel(), case.sigma.ravel(), strict=True):  # (27)
        compression += 0.5 * (mean**2 + sigma**2 - 1 - 2 * math.log(sigma))
    return {
        "task": error,
        "bottleneck_error": error,
        "compression": compression / case.mean.size,
        "balance": balance(case),
        "contrastive": contrast(case),
    }


def balance(case: Case) -> float:
    """(6), without its factor."""
    total = 0.0
    for name, clips in case.rows.items():
        importance, load = [], []
        for clip in clips:
            if clip is None:
                continue
            for row in clip if case.level == "token" else [clip.mean(axis=0)]:
                gates, counted = gate(case.weights, name, row, case.k)
                importance.append(gates)
                load.append(counted)
        total += squared_cv(np.sum(importance, axis=0)) + squared_cv(np.sum(load, axis=0))
    return total


def squared_cv(sums: np.ndarray) -> float:
    mean = sum(sums) / len(sums)
    return sum((value - mean) ** 2 for value in sums) / (len(sums) - 1) / mean**2


def contrast(case: Case) -> float:
    """(21) with the sets (15) to (20), pair by pair."""
    names = list(case.refined)
    has = {name: [clip is not None for clip in case.rows[name]] for name in names}

    def delta(first: str, i: int, second: str, j: int) -> float:
        a, b = case.refined[first][i], case.refined[second][j]
        return math.exp(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) / case.temperature)

    clips = range(len(case.label))
    per_clip = []
    for i in clips:
        if not case.labeled[i]:
            continue
        above = [
            delta(first, i, second, i)
            for first in names
            for second in names[names.index(first) + 1 :]
            if has[first][i] and has[second][i]
        ]
        below = []
        for j in clips:
            if j == i or not case.labeled[j]:
                continue
            gap = abs(case.label[i] - case.label[j])  # (13)
            side = above if gap <= case.kappa else below  # (14)
            side += [
                delta(first, i, second, j)
                for first in names
                for second in names
                if has[first][i] and has[second][j]
            ]
        if above:
            per_clip.append(-math.log(sum(above) / (sum(above) + sum(below))))
    return float(np.mean(per_clip)) if per_clip else 0.0
