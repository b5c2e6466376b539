"""ALMT clip by clip on the real steps alone: NumPy, float64; nothing is shared with models/almt.

`weights` are a model's parameters by name. A clip is its real steps by modality, (L, features), None where it
lacks one.
"""

from __future__ import annotations

import math

import numpy as np

Arrays = dict[str, np.ndarray]
Clip = dict[str, np.ndarray | None]


def predict(weights: Arrays, clip: Clip, heads: int) -> np.ndarray:
    """ŷ, (outputs,)."""
    tokens = {name: embed(weights, f"embedding.{name}", values, heads) for name, values in clip.items()}
    scales = [tokens["text"] + weights["text_positions"]]
    for number in range(count(weights, "text_layers")):
        scales.append(layer(scales[-1], scales[-1], weights, f"text_layers.{number}", heads))
    hyper = weights["hyper_tokens"]
    answering = {name: tokens[name] for name in clip if name != "text" and clip[name] is not None}
    for number in range(count(weights, "hyper")):
        hyper = learn(hyper, scales[number], answering, weights, f"hyper.{number}", heads)
    token = weights["fusion.token"][None]
    x = np.concatenate([token, scales[-1]]) + weights["fusion.text_positions"]
    source = np.concatenate([token, hyper]) + weights["fusion.hyper_positions"]
    for number in range(count(weights, "fusion.layers")):
        x = layer(x, source, weights, f"fusion.layers.{number}", heads)
    return linear(x.mean(axis=0), weights, "score")


def embed(weights: Arrays, name: str, values: np.ndarray | None, heads: int) -> np.ndarray:
    """The tokens of a modality; without steps they read each other alone."""
    x = weights[f"{name}.tokens"]
    if values is not None:
        x = np.concatenate([x, linear(values, weights, f"{name}.project")])
    x = x + weights[f"{name}.positions"][: len(x)]
    return layer(x, x, weights, f"{name}.layer", heads)[: len(weights[f"{name}.tokens"])]


def learn(
    hyper: np.ndarray, text: np.ndarray, sources: Arrays, weights: Arrays, name: str, heads: int
) -> np.ndarray:
    """The hyper-modality after a layer."""
    query = linear(norm(text, weights, f"{name}.text_norm"), weights, f"{name}.query")
    heard = np.zeros_like(query)
    for modality, source in sources.items():
        x = norm(source, weights, f"{name}.norm.{modality}")
        key, value = (linear(x, weights, f"{name}.{part}.{modality}") for part in ("key", "value"))
        heard = heard + attend(query, key, value, heads)
    return norm(hyper, weights, f"{name}.hyper_norm") + linear(heard, weights, f"{name}.out.0")


def layer(x: np.ndarray, source: np.ndarray, weights: Arrays, name: str, heads: int) -> np.ndarray:
    """A pre-norm layer in which x reads the source."""
    inner = f"{name}.attention"
    query, key, value = (
        linear(norm(part, weights, f"{name}.{kind}_norm"), weights, f"{inner}.{kind}")
        for kind, part in (("query", x), ("key", source), ("value", source))
    )
    x = x + linear(attend(query, key, value, heads), weights, f"{inner}.out")
    hidden = linear(norm(x, weights, f"{name}.feedforward.0"), weights, f"{name}.feedforward.1")
    hidden = 0.5 * hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return x + linear(hidden, weights, f"{name}.feedforward.4")


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int) -> np.ndarray:
    """Heads side by side."""
    parts = []
    for q, k, v in zip(*(np.split(part, heads, axis=-1) for part in (query, key, value)), strict=True):
        scores = np.exp(q @ k.T / math.sqrt(q.shape[-1]))
        parts.append(scores / scores.sum(axis=-1, keepdims=True) @ v)
    return np.concatenate(parts, axis=-1)


def norm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


def count(weights: Arrays, name: str) -> int:
    """Layers of this name."""
    return len({key[len(name) + 1 :].split(".")[0] for key in weights if key.startswith(f"{name}.")})
