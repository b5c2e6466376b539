"""Clips that a method holds to be alike: nearest in what its head reads, with their labels.

The representation is `fused` of the method's output; of methods without one it is what its last head read in
that pass. Likeness is the cosine, counted from the mean of the training clips. Neighbours show what the
method puts together, not why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Method, Task
from pipeline.core.vocabulary import TEST, TRAIN
from pipeline.datasets.splits import Split
from pipeline.training.loop.scoring import whole
from pipeline.training.runs import TrainedRun

NEAREST = 5
MOST = 5000  # clips of a split that are compared; of a larger one they are taken evenly


@dataclass(frozen=True)
class Neighbour:
    """One clip; `label` is a score, or the index of the class; `text` what is said, as far as it is known."""

    clip_id: str
    split: str
    likeness: float
    label: float
    text: str


@dataclass(frozen=True)
class _HeardTask(Task):
    """A task that keeps what its heads read."""

    heard: list[Tensor] = field(default_factory=list, compare=False)

    def predict(self, head: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        self.heard.append(x)
        return super().predict(head, x)


@contextmanager
def _heard(method: Method) -> Iterator[list[Tensor]]:
    before = method.task
    method.task = listening = _HeardTask(before.classes)
    try:
        yield listening.heard
    finally:
        method.task = before


@torch.inference_mode()
def represented(method: Method, batch: Batch) -> np.ndarray | None:
    """(B, D) float64; None of a method that reads no clip (a constant)."""
    with _heard(method) as heard:
        output = method(batch)
    fused = getattr(output, "fused", None)
    if fused is None and heard:
        fused = heard[-1].reshape(-1, *heard[-1].shape[-2:])[-1]  # of several environments the last predicts
    if fused is None:
        return None
    values: np.ndarray = fused.double().cpu().numpy()
    return values


def _directions(values: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(N, D) of length 1 each, as seen from the centre (D,)."""
    away = values - centre
    return np.asarray(away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class Neighbourhood:
    """Training and test clips of a run's set as its method represents them: N rows of everything."""

    clip_ids: list[str]
    splits: list[str]
    labels: np.ndarray
    texts: list[str]
    values: np.ndarray  # (N, D)
    centre: np.ndarray  # (D,) mean of the training clips

    @classmethod
    def of(cls, run: TrainedRun, splits: dict[str, Split], assembled: Path) -> Neighbourhood | None:
        """None of a method that reads no clip."""
        clip_ids: list[str] = []
        names: list[str] = []
        labels: list[float] = []
        texts: list[str] = []
        values = []
        for name in (TRAIN, TEST):
            split = splits[name]
            if len(split) > MOST:
                split = split.take(torch.linspace(0, len(split) - 1, MOST).round().long())
            said = _texts(assembled / f"{name}.parquet")
            for batch in whole(split):
                found = represented(run.method, batch)
                if found is None:
                    return None
                values.append(found)
                clip_ids += batch.clip_ids
                labels += batch.label.cpu().tolist()
                texts += [said.get(clip_id) or "" for clip_id in batch.clip_ids]
                names += [name] * len(batch.clip_ids)
        joined = np.concatenate(values)
        centre = joined[np.array(names) == TRAIN].mean(axis=0)
        return cls(clip_ids, names, np.array(labels), texts, joined, centre)

    def nearest(self, method: Method, batch: Batch, number: int = NEAREST) -> list[Neighbour]:
        """The nearest clips to one clip, most alike first; the clip itself, by its id, is none."""
        own = represented(method, batch)
        assert own is not None
        likeness = _directions(self.values, self.centre) @ _directions(own, self.centre)[0]
        order = np.argsort(-likeness, kind="stable").tolist()
        others = [place for place in order if self.clip_ids[place] != batch.clip_ids[0]]
        return [
            Neighbour(
                self.clip_ids[i], self.splits[i], float(likeness[i]), float(self.labels[i]), self.texts[i]
            )
            for i in others[:number]
        ]


def _texts(path: Path) -> dict[str, str | None]:
    table = pq.read_table(path, columns=["clip_id", "transcript"])
    return dict(zip(table["clip_id"].to_pylist(), table["transcript"].to_pylist(), strict=True))
