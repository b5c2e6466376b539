"""MUStARD's folder `data`, made up: six scenes, of which one has no sentence before its utterance."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ENTRIES: dict[str, dict[str, Any]] = {
    f"{1 + i % 2}_{60 + i}": {
        "utterance": f"Utterance {i}.",
        "speaker": ("SHELDON", "CHANDLER")[i % 2],
        "context": [f"Before {i}.{k}" for k in range(i % 3)],
        "context_speakers": [f"PERSON{k}" for k in range(i % 3)],
        "show": ("BBT", "FRIENDS")[i % 2],
        "sarcasm": i < 3,
    }
    for i in range(6)
}
IDS = list(ENTRIES)
FOLDS = [(np.array([j for j in range(6) if j != i], np.int64), np.array([i], np.int64)) for i in range(5)]
SENTENCES = sum(len(entry["context"]) for entry in ENTRIES.values())


def audio(i: int) -> np.ndarray:
    """(283, T) as librosa stacks it."""
    return np.random.default_rng(i).normal(size=(283, 9 + i)).astype(np.float32)


def visual(i: int, width: int = 2048) -> np.ndarray:
    """(T, D)"""
    return np.random.default_rng(100 + i).normal(size=(3 + i, width)).astype(np.float32)


def states(i: int, layer: int) -> np.ndarray:
    """(tokens, 8) of one layer of the i-th line."""
    return np.random.default_rng([i, -layer]).normal(size=(2 + i % 3, 8)).round(6)


def line(i: int) -> str:
    """A line as extract_features.py of BERT writes it."""
    layers = {layer: states(i, layer) for layer in (-1, -2)}
    tokens = [
        {"token": f"t{t}", "layers": [{"index": k, "values": layers[k][t].tolist()} for k in layers]}
        for t in range(len(layers[-1]))
    ]
    return json.dumps({"linex_index": i, "features": tokens})


def make(folder: Path, entries: Any = ENTRIES, net: str = "resnet_pool5", lines: int = SENTENCES) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sarcasm_data.json").write_text(json.dumps(entries), encoding="utf-8")
    (folder / "split_indices.p").write_bytes(pickle.dumps(FOLDS, protocol=2))
    audios = {key: audio(i) for i, key in enumerate(IDS)}
    (folder / "audio_features.p").write_bytes(pickle.dumps(audios, protocol=2))
    for place, first in (("utterances_final", 0), ("context_final", 10)):
        path = folder / "features" / place / f"{net}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for i, key in enumerate(IDS):
                file[key] = visual(first + i)
    (folder / "bert-output.jsonl").write_text("\n".join(map(line, range(6))) + "\n", encoding="utf-8")
    (folder / "bert-output-context.jsonl").write_text("\n".join(map(line, range(lines))), encoding="utf-8")
    return folder
