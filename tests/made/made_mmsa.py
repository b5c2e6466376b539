"""Small pickles as MMSA, MMSA-FET, CH-SIMS v2 and CIDer write them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

TEXT_STEPS, AUDIO_STEPS, VISUAL_STEPS = 6, 9, 8
WIDTHS = {"text": 768, "audio": 5, "vision": 20}


def ids_of(split: str, count: int) -> list[str]:
    """Two clips a video, numbered from 1 as in CMU-MOSI's media."""
    return [f"{split}-v{row // 2}$_${row % 2 + 1}" for row in range(count)]


def padded(rows: int, lengths: list[int], width: int, seed: int) -> np.ndarray:
    """(n, rows, width): lengths[i] random steps in front, zeros behind."""
    values = np.random.default_rng(seed).normal(size=(len(lengths), rows, width)).astype(np.float32)
    for block, length in zip(values, lengths, strict=True):
        block[length:] = 0
    return values


def split(name: str, count: int, seed: int, aligned: bool = False) -> dict[str, Any]:
    """One split as MMSA's README describes it."""
    numbers = np.random.default_rng(seed)
    text_lengths = numbers.integers(2, TEXT_STEPS + 1, count).tolist()
    audio_lengths = text_lengths if aligned else numbers.integers(2, AUDIO_STEPS + 1, count).tolist()
    vision_lengths = text_lengths if aligned else numbers.integers(2, VISUAL_STEPS + 1, count).tolist()
    bert = np.zeros((count, 3, TEXT_STEPS), np.int64)
    for row, length in enumerate(text_lengths):
        bert[row, 0, :length] = numbers.integers(1000, 2000, length)
        bert[row, 1, :length] = 1
    labels = numbers.uniform(-3, 3, count).astype(np.float32)
    found = {
        "raw_text": np.array([f"text {row} of {name}" for row in range(count)]),
        "audio": padded(TEXT_STEPS if aligned else AUDIO_STEPS, audio_lengths, WIDTHS["audio"], seed + 1),
        "vision": padded(TEXT_STEPS if aligned else VISUAL_STEPS, vision_lengths, WIDTHS["vision"], seed + 2),
        "id": np.array(ids_of(name, count)),
        "text": padded(TEXT_STEPS, text_lengths, WIDTHS["text"], seed + 3),
        "text_bert": bert,
        "annotations": np.array(["Positive" if label > 0 else "Negative" for label in labels]),
        "classification_labels": (labels > 0).astype(np.int64) * 2,
        "regression_labels": labels,
    }
    return found if aligned else found | {"audio_lengths": audio_lengths, "vision_lengths": vision_lengths}


def tree(aligned: bool = False, counts: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Splits of MOSI's unaligned_50.pkl or aligned_50.pkl."""
    counts = counts or {"train": 6, "valid": 4, "test": 3}
    return {
        name: split(name, count, 10 * index, aligned) for index, (name, count) in enumerate(counts.items())
    }


def sims_tree() -> dict[str, Any]:
    """CH-SIMS v2, semi-supervised: T, A, V labels in [-1, 1], Chinese text, and train_mix with a mask."""
    found = tree()
    for index, content in enumerate(found.values()):
        numbers = np.random.default_rng(100 + index)
        for key in ("", "_T", "_A", "_V"):
            content["regression_labels" + key] = numbers.uniform(-1, 1, len(content["id"])).round(1)
        content["annotations"] = np.array(
            [("Negative", "Neutral", "Positive")[int(np.sign(v)) + 1] for v in content["regression_labels"]]
        )
        content["raw_text"] = np.array(["我很高兴"] * len(content["id"]))
    unlabeled = split("mix", 5, 200)
    train = found["train"]
    mixed = {key: np.concatenate([train[key], unlabeled[key]]) for key in ("audio", "vision", "text", "id")}
    mixed |= {key: train[key] + unlabeled[key] for key in ("audio_lengths", "vision_lengths")}
    mixed["text_bert"] = np.concatenate([train["text_bert"], unlabeled["text_bert"]])
    for key in ("", "_T", "_A", "_V"):
        mixed["regression_labels" + key] = np.concatenate([train["regression_labels" + key], np.zeros(5)])
    mixed["mask"] = np.array([1] * len(train["id"]) + [0] * 5)
    return found | {"train_mix": mixed}


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    """A pickle of anything."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def make(folder: Path, aligned: bool = False) -> Path:
    """A file like CMU-MOSI's unaligned_50.pkl or aligned_50.pkl: 13 clips."""
    return write(folder / ("aligned_50.pkl" if aligned else "unaligned_50.pkl"), tree(aligned))


def make_sims(folder: Path) -> Path:
    """A file like CH-SIMS v2's: 13 labeled clips and 5 unlabeled ones."""
    return write(folder / "unaligned.pkl", sims_tree())
