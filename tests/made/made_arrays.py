"""Arrays in npz, npy, HDF5 and CSV files, made up: five clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

IDS = ["a$_$1", "a$_$2", "b$_$1", "c$_$1", "d$_$1"]
SPLITS = ["train", "train", "train", "dev", "test"]
SCORES = [0.5, -1.0, 2.0, 0.0, -3.0]
LENGTHS = [4, 2, 3, 1, 4]
SETTINGS: dict[str, Any] = {
    "ids": "clips.npz:id",
    "splits": "clips.npz:split",
    "labels": {"label": "clips.npz:score", "text": "clips.npz:said"},
    "text": {"array": "text.npy"},
    "audio": {"array": "clips.npz:audio", "lengths": "clips.npz:length", "columns": ["f0", "energy"]},
    "visual": {"array": "faces.h5:of/clips"},
}


def audio() -> np.ndarray:
    """(5, 4, 2), zeros after the length."""
    values = np.random.default_rng(1).normal(size=(5, 4, 2))
    for row, length in zip(values, LENGTHS, strict=True):
        row[length:] = 0
    return values


def text() -> np.ndarray:
    """(5, 6), one vector a clip."""
    return np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)


def visual(i: int) -> np.ndarray:
    """(T, 3)"""
    return np.random.default_rng(3 + i).normal(size=(1 + i, 3))


def make(folder: Path) -> Path:
    """Write the files that SETTINGS names; the fourth clip has no visual."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "clips.npz",
        id=np.array(IDS),
        split=np.array(SPLITS),
        score=np.array(SCORES)[:, None],
        said=np.array([f"text {i}" for i in range(5)]),
        audio=audio(),
        length=np.array(LENGTHS),
    )
    np.save(folder / "text.npy", text())
    with h5py.File(folder / "faces.h5", "w") as file:
        for i in (0, 1, 2, 4):
            file[f"of/clips/{IDS[i]}"] = visual(i)
    return folder
