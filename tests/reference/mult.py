"""MulT from its definition: NumPy, float64, clip by clip, step by step, on the real steps alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass
class Model:
    """A trained model's parameters by name, and the settings that the prediction depends on."""

    weights: Arrays
    names: tuple[str, ...]
    width: int
    heads: int
    kernels: dict[str, int]
    positions: bool = True
    causal: bool = True

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return normal * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def convolved(self, name: str, x: np.ndarray) -> np.ndarray:
        """(T, D) -> (T - k + 1, d), at least one step."""
        table, kernel = self.weights[f"convolutions.{name}.weight"], self.kernels[name]  # (d, D, k)
        if len(x) < kernel:
            x = np.concatenate([x, np.zeros((kernel - len(x), x.shape[1]))])
        return np.stack(
            [
                sum(table[:, :, place] @ x[start + place] for place in range(kernel))
                for start in range(len(x) - kernel + 1)
            ]
        )

    def embedded(self, x: np.ndarray) -> np.ndarray:
        """√d x and sines and cosines of the places."""
        steps, width = x.shape
        if not self.positions:
            return math.sqrt(width) * x
        half = range(0, width, 2)
        table = [
            [math.sin(step / 10_000 ** (i / width)) for i in half]
            + [math.cos(step / 10_000 ** (i / width)) for i in half]
            for step in range(steps)
        ]
        return math.sqrt(width) * x + np.array(table)

    def attention(self, x: np.ndarray, y: np.ndarray, name: str) -> np.ndarray:
        """(T, d) reads (L, d)."""
        table, offset = self.weights[f"{name}.project.weight"], self.weights[f"{name}.project.bias"]
        tables, offsets = np.split(table, 3), np.split(offset, 3)
        query, key, value = (
            rows @ part.T + shift for rows, part, shift in zip((x, y, y), tables, offsets, strict=True)
        )
        size, out = x.shape[1] // self.heads, np.zeros_like(x)
        for head in range(self.heads):
            own = slice(head * size, (head + 1) * size)
            for step in range(len(x)):
                read = min(step + abs(len(y) - len(x)) + 1, len(y)) if self.causal else len(y)
                scores = np.exp(key[:read, own] @ query[step, own] / math.sqrt(size))
                out[step, own] = scores / scores.sum() @ value[:read, own]
        return self.linear(out, f"{name}.out")

    def stack(self, name: str, target: np.ndarray, source: np.ndarray | None) -> np.ndarray:
        """(T, d) reads (L, d), or itself where both are the same array; None = the clip lacks the source."""
        x = self.embedded(target)
        y = None if source is None else self.embedded(source)
        layers = sorted({key.split(".")[3] for key in self.weights if key.startswith(f"{name}.layers.")})
        for layer in (f"{name}.layers.{number}" for number in layers):
            if y is not None:
                normal = self.norm(x, f"{layer}.attention_norm")
                read = normal if source is target else self.norm(y, f"{layer}.attention_norm")
                x = x + self.attention(normal, read, f"{layer}.attention")
            inner = self.linear(self.norm(x, f"{layer}.feedforward.0"), f"{layer}.feedforward.1")
            x = x + self.linear(np.maximum(inner, 0), f"{layer}.feedforward.4")
        return self.norm(x, f"{name}.norm")

    def predict(self, clip: dict[str, np.ndarray | None]) -> np.ndarray:
        """The (T, D) of each modality, None where the clip has not it -> (outputs,)."""
        steps = {name: None if x is None else self.convolved(name, x) for name, x in clip.items()}
        last = []
        for name, target in steps.items():
            others = [other for other in self.names if other != name]
            if target is None:
                last.append(np.zeros(self.width * max(len(others), 1)))
                continue
            crossed = [self.stack(f"crossed.{name}_reads_{other}", target, steps[other]) for other in others]
            joined = np.concatenate(crossed, axis=1) if crossed else target
            last.append(self.stack(f"memories.{name}", joined, joined)[-1])
        states = np.concatenate(last)
        fused = states + self.linear(np.maximum(self.linear(states, "block.0"), 0), "block.3")
        return self.linear(fused, "score")
