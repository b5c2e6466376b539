"""WSA-BERT on frozen text from its definition: what each word finds; the rest is mag_bert.py's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reference.blocks import sparsemax
from reference.mag_bert import Beside, Clip


def softmax(scores: list[float]) -> np.ndarray:
    shares = np.exp(np.array(scores) - max(scores))
    return shares / shares.sum()


def finding(scale: float, normalizer: Callable[[list[float]], np.ndarray] = sparsemax) -> Beside:
    def beside(clip: Clip, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found, words = {}, clip["text"]
        assert words is not None
        for m, frames in clip.items():
            if m != "text" and frames is not None:
                keys = frames @ weights[f"attention.{m}.key.weight"].T + weights[f"attention.{m}.key.bias"]
                found[m] = np.stack([normalizer(list(scale * keys @ word)) @ frames for word in words])
        return found

    return beside
