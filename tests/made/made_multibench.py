"""Small pickles as MultiBench's and MulT's loaders read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from made.made_mmsa import write

STEPS = 5
WIDTHS = {"vision": 35, "audio": 74, "text": 300}
COUNTS = {"train": 5, "valid": 3, "test": 3}
WORDS = ["it", "sp", "was", "great", "fun"]


def front(count: int, lengths: list[int], width: int, seed: int) -> np.ndarray:
    """(n, STEPS, width), float64 as NumPy makes it, zeros in front."""
    values = np.random.default_rng(seed).normal(size=(count, STEPS, width))
    for block, length in zip(values, lengths, strict=True):
        block[: STEPS - length] = 0
    return values


def tree(ids: str = "{video}[{clip}]", humor: bool = False) -> dict[str, Any]:
    """Clip 2 of train has no text: its row is all zeros."""
    found = {}
    for index, (name, count) in enumerate(COUNTS.items()):
        numbers = np.random.default_rng(index)
        lengths = numbers.integers(2, STEPS + 1, count).tolist()
        content: dict[str, Any] = {
            key: front(count, lengths, width, 10 * index + place)
            for place, (key, width) in enumerate(WIDTHS.items())
        }
        if name == "train":
            content["text"][2] = 0
        labels = np.arange(count) % 2 if humor else numbers.uniform(-3, 3, count)
        content["labels"] = labels.reshape(count, 1, 1)
        content["id"] = [ids.format(video=f"{name}{row // 2}", clip=row % 2) for row in range(count)]
        found[name] = content
    return found


def make(folder: Path) -> Path:
    """Like mosi_raw.pkl: 11 clips, one without text."""
    return write(folder / "mosi_raw.pkl", tree())


def make_humor(folder: Path) -> Path:
    """Like humor.pkl, with the words beside it; returns the folder."""
    content = tree("{video}_{clip}", humor=True)
    write(folder / "humor.pkl", content)
    words = {clip: WORDS for split in content.values() for clip in split["id"]}
    write(folder / "humor_raw_text.pkl", words)
    return folder
