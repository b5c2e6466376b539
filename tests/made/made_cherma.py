"""A folder of CHERMA's features, made up: six utterances, one of them without its sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇")
SPLITS = {"train": [0, 1, 2], "valid": [3], "test": [4, 5]}
WIDTHS = {"text": 1024, "audio": 1024, "visual": 2048}
SILENT = 2


def name(i: int) -> str:
    return f"{100 + i}_{i}"


def values(modality: str, i: int) -> np.ndarray:
    """(T, D)"""
    rng = np.random.default_rng([i, len(modality)])
    return rng.normal(size=(2 + i, WIDTHS[modality])).astype(np.float32)


def entry(i: int) -> dict[str, Any]:
    """A list's entry; the labels are the classes i, i + 1, i + 2, i + 3."""
    labels = [WORDS[(i + k) % 7] for k in range(4)]
    keys = ("video_label", "txt_label", "audio_label", "visual_label")
    return {
        "audio_file": f"{name(i)}.wav",
        "video_file": f"{name(i)}.mp4",
        **dict(zip(keys, labels, strict=True)),
    }


def make(folder: Path, **changed: Any) -> Path:
    """Write the folder; `changed` replaces lists."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, indices in SPLITS.items():
        entries = changed.get(split, [entry(i) for i in indices])
        path = folder / f"{split}.json"
        path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
        for modality in WIDTHS:
            (folder / modality / split).mkdir(parents=True, exist_ok=True)
            for i in indices:
                if (modality, i) != ("audio", SILENT):
                    ending = ".mp4.npy" if modality == "visual" else ".npy"
                    np.save(folder / modality / split / f"{name(i)}{ending}", values(modality, i))
    return folder
