"""Computational sequences as the CMU SDK writes them, made up: three videos with two or three labels each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

VIDEOS = ["-a_1", "b2", "c3"]
SEGMENTS = {"-a_1": [(0.0, 2.0), (2.0, 4.5)], "b2": [(1.0, 3.0), (3.0, 5.0)], "c3": [(0.5, 2.5), (3.0, 6.0)]}
FOLDS = {"train": ["-a_1"], "valid": ["b2"], "test": ["c3"]}
RATES = {"COVAREP": 10, "FACET": 4}
WIDTHS = {"COVAREP": 74, "FACET": 47, "glove": 300}
WORD_S = 0.5  # every word and pause lasts so long; each fourth is a pause
END_S = 6.0


def label(video: str, k: int) -> float:
    return (VIDEOS.index(video) - 1) + k / 4


def words(video: str) -> list[tuple[str, float, float]]:
    """Words of a whole video, with pauses."""
    count = int(END_S / WORD_S)
    names = ["sp" if i % 4 == 3 else f"{video[0]}w{i}" for i in range(count)]
    return [(name, i * WORD_S, (i + 1) * WORD_S) for i, name in enumerate(names)]


def frames(kind: str, video: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (T, D) and intervals (T, 2) of a whole video."""
    rng = np.random.default_rng([VIDEOS.index(video), WIDTHS[kind]])
    if kind == "glove":
        spans = np.array([(start, end) for _, start, end in words(video)])
    else:
        edges = np.arange(int(END_S * RATES[kind]) + 1) / RATES[kind]
        spans = np.stack([edges[:-1], edges[1:]], axis=1)
    return rng.normal(size=(len(spans), WIDTHS[kind])).astype(np.float32), spans


def write(path: Path, root: str, data: dict[str, tuple[Any, Any]], **metadata: Any) -> None:
    """One .csd file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, (features, intervals) in data.items():
            file[f"{root}/data/{key}/features"] = features
            file[f"{root}/data/{key}/intervals"] = np.asarray(intervals, np.float64)
        for key, value in {"root name": root, **metadata}.items():
            stored = file.create_dataset(f"{root}/metadata/{key}", (1,), dtype=h5py.special_dtype(vlen=str))
            stored[0] = json.dumps(value)


def make(folder: Path, emotions: bool = False) -> Path:
    """Words, GloVe, COVAREP, FACET and labels (with MOSEI's emotions), and the folds as JSON."""
    rest = [[9.0] * 6] if emotions else [[]]
    labels = {
        video: ([[label(video, k), *rest[0]] for k in range(len(spans))], spans)
        for video, spans in SEGMENTS.items()
    }
    spoken = {
        video: (np.array([[name.encode()] for name, _, _ in words(video)]), [w[1:] for w in words(video)])
        for video in VIDEOS
    }
    root = "All Labels" if emotions else "Opinion Segment Labels"
    write(folder / "CMU_MOSI_Opinion_Labels.csd", root, labels)
    write(folder / "CMU_MOSI_TimestampedWords.csd", "CMU_MOSI_ModifiedTimestampedWords", spoken)
    write(
        folder / "CMU_MOSI_TimestampedWordVectors.csd",
        "glove_vectors",
        {v: frames("glove", v) for v in VIDEOS},
    )
    names = [f"name {i}" for i in range(74)]
    covarep = {v: frames("COVAREP", v) for v in VIDEOS}
    write(folder / "CMU_MOSI_COVAREP.csd", "COVAREP", covarep, **{"dimension names": names})
    write(folder / "CMU_MOSI_VisualFacet_4.1.csd", "FACET 4.1", {v: frames("FACET", v) for v in VIDEOS})
    (folder / "folds.json").write_text(json.dumps(FOLDS))
    return folder
