"""A small assembled set whose labels can be learnt, and a small method to learn them with."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.method import Method, MethodSettings, Output, Training
from pipeline.core.section import Section

DIMS = {"text": 6, "audio": 4, "visual": 3}
COUNTS = {"train": 60, "valid": 20, "test": 25, "unlabeled": 0}


def write_tiny_set(
    folder: Path,
    counts: dict[str, int] = COUNTS,
    dims: dict[str, int] = DIMS,
    feature_set: str = "f" * 64,
    steps: tuple[int, int] = (2, 9),
    same_steps: bool = False,
    classes: tuple[str, ...] = (),
) -> Path:
    """An assembled set with label = 2 tanh(s); s is added to the first column of every modality's noise.

    With `classes` the label is the bin of s among as many equally likely ones. Five clips make a video.

    Parameters
    ----------
    steps : fewest and most; each modality of a clip has a number of its own unless `same_steps`
    """
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for split, count in counts.items():
        columns: dict[str, Any] = {"clip_id": [f"{split}$_${i:04d}" for i in range(count)]}
        columns["video_id"] = [f"video{i // 5}" for i in range(count)]
        columns["speaker"] = pa.nulls(count, pa.string())
        columns["position"] = pa.array([i % 5 for i in range(count)], pa.int32())
        columns["transcript"] = [f"clip number {i} says something" for i in range(count)]
        signal = random.normal(size=count)
        lengths = random.integers(*steps, endpoint=True, size=(len(dims), count))
        if same_steps:
            lengths[:] = lengths[0]
        for (modality, dim), counted in zip(dims.items(), lengths, strict=True):
            rows: list[Any] = []
            for i in range(count):
                values = random.normal(size=(counted[i], dim))
                values[:, 0] += signal[i]
                rows.append(
                    None if modality == "visual" and i % 7 == 6 else values.astype(np.float32).tolist()
                )
            columns[modality] = pa.array(rows, pa.list_(pa.list_(pa.float32(), dim)))
            columns[f"{modality}_present"] = [row is not None for row in rows]
        columns["label"] = pa.array((2 * np.tanh(signal)).astype(np.float32))
        for name in ("label_text", "label_audio", "label_visual"):
            columns[name] = pa.nulls(count, pa.float32())
        for name in ("class_label", "class_text", "class_audio", "class_visual"):
            columns[name] = pa.nulls(count, pa.int32())
        if classes:
            ranks = signal.argsort().argsort()
            columns["class_label"] = pa.array((ranks * len(classes) // max(count, 1)).astype(np.int32))
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    stats = {
        "format": 1,
        "dataset": "tiny",
        "task": "classification" if classes else "regression",
        "class_names": list(classes),
        "label_range": [-3, 3],
        "feature_set": feature_set,
        "modalities": {
            name: {"encoder": f"{name}-enc", "dim": dim, "max_steps": steps[1]} for name, dim in dims.items()
        },
        "counts": counts,
    }
    (folder / "stats.json").write_text(json.dumps(stats), encoding="utf-8")
    return folder


class TinyWeights(Section):
    prediction: float = 1.0
    spread: float = 0.01


class TinyTraining(Training):
    lr_backbone: float = 0.0
    lr_other: float = 0.02
    batch_size: int = 8
    epochs: int = 12
    patience: int = 12


class TinySettings(MethodSettings):
    weights: TinyWeights = TinyWeights()
    training: TinyTraining = TinyTraining()
    dropout: float = 0.1
    explode_at: int = -1  # forward passes until the term `spread` is NaN


@dataclass
class TinyOutput(Output):
    hidden: Tensor


class Tiny(Method):
    """Mean over time of each modality, one hidden layer with dropout, one output."""

    TERMS = ("prediction", "spread")
    NEEDS = ("text", "audio", "visual")
    Config = TinySettings
    config: TinySettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        self.hidden = nn.Sequential(
            nn.Linear(sum(self.dims.values()), 16), nn.Tanh(), nn.Dropout(self.config.dropout)
        )
        self.head = nn.Linear(16, self.task.outputs)
        self.asked: list[tuple[str, ...]] = []
        self.passes = 0

    def forward(self, batch: Batch) -> TinyOutput:
        means = [
            s.values.sum(dim=1) / s.mask.sum(dim=1, keepdim=True).clamp(min=1)
            for s in self.inputs(batch).values()
        ]
        hidden = self.hidden(torch.cat(means, dim=-1))
        return TinyOutput(self.task.predict(self.head, hidden), hidden)

    def losses(self, batch: Batch, output: Output, terms: Collection[str]) -> dict[str, Tensor]:
        assert isinstance(output, TinyOutput)
        self.asked.append(tuple(terms))
        self.passes += 1
        found = {}
        if "prediction" in terms:
            found["prediction"] = self.task.loss(output.prediction, batch.label, batch.labeled)
        if "spread" in terms:
            found["spread"] = output.hidden.float().square().mean()
            if self.passes == self.config.explode_at:
                found["spread"] = found["spread"] * float("nan")
        return found
