"""Small pickles as MIRD reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from made.made_mmsa import padded, write

STEPS = {"audio": (7, 33), "video": (5, 709)}


def split(count: int, seed: int) -> dict[str, Any]:
    numbers = np.random.default_rng(seed)
    found: dict[str, Any] = {"raw_text": [f"sentence {seed} {row}" for row in range(count)]}
    for offset, (key, (steps, width)) in enumerate(STEPS.items()):
        lengths = numbers.integers(2, steps + 1, count).tolist()
        found[key] = padded(steps, lengths, width, seed + offset)
    return found


def tree() -> dict[str, Any]:
    counts = {"train": 5, "valid": 3, "test": 3}
    numbers = np.random.default_rng(1)
    return {
        name: split(count, 20 * index) | {"labels": numbers.uniform(-3, 3, count)}
        for index, (name, count) in enumerate(counts.items())
    }


def make(folder: Path) -> Path:
    """Like data/mosi/mosi.pkl: 11 clips."""
    return write(folder / "mosi.pkl", tree())


def make_unlabeled(folder: Path) -> Path:
    """Like data/emovoxceleb/emovoxceleb.pkl: 4 clips."""
    return write(folder / "emovoxceleb.pkl", split(4, 90))
