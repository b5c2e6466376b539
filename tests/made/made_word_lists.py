"""Small pickles as MAG-BERT, MISA and CLUE read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from made.made_mmsa import write

WORDS = ("I", "really", "like", "this", "film", "sp")
VISUAL, ACOUSTIC = 47, 74


def clips(name: str, count: int, seed: int, misa: bool = False) -> list[Any]:
    """Clips of 2 to 5 words; MISA writes word numbers first and the words last, labels as [[x, ...]]."""
    numbers = np.random.default_rng(seed)
    found = []
    for row in range(count):
        words = list(WORDS[: int(numbers.integers(2, 6))])
        visual = numbers.normal(size=(len(words), VISUAL))
        acoustic = numbers.normal(size=(len(words), ACOUSTIC)).astype(np.float32)
        segment = f"{name}{row // 2}[{row % 2}]"
        label = float(numbers.uniform(-3, 3))
        if misa:
            scores = np.array([[label, 0, 0, 1, 0, 0, 0]], np.float32)
            found.append(((np.arange(len(words)), visual, acoustic, words), scores, segment))
        else:
            found.append(((words, visual, acoustic), label, segment))
    return found


def tree(misa: bool = False) -> dict[str, Any]:
    counts = {"train": 5, "dev": 3, "test": 3}
    return {name: clips(name, count, index, misa) for index, (name, count) in enumerate(counts.items())}


def make(folder: Path) -> Path:
    """Like MAG-BERT's mosi.pkl: 11 clips."""
    return write(folder / "mosi.pkl", tree())


def make_clue(folder: Path) -> Path:
    """Like CLUE's split_dataset_2: a pickle a split, with two test splits; returns the folder."""
    for index, name in enumerate(("train", "dev", "test_IID", "test_OOD")):
        write(folder / f"{name}.pkl", clips(name, 3, index, misa=True))
    return folder
