"""Splits, and the batches that are cut from them (training_set.py reads these).

The sequences of all clips of a split lie end to end in one tensor on the device, and a batch is gathered from
it by index arithmetic, without a loop over clips. Of a set that is too large for that, rows.py reads those of
a batch from the disk.

Shapes: B clips of a batch, T time steps (the longest of the batch, at least 1), D features, C clips of a
split, N steps of a split. Masks: True = real.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch, Inputs, Sequences, Tokens, Waveform
from pipeline.core.waveform import FULL_SCALE

LEVELS = 4  # widths of a stream in batches of few shapes


@dataclass
class Ragged:
    """Sequences of different lengths, end to end.

    Attributes
    ----------
    flat : (N + 1, D) or (N + 1,), on the device; the last row is what padding shows
    starts : (C,) int64, on the device, first row of each clip
    counts : (C,) int64, on the device, rows of each clip
    lengths : (C,) int64, `counts` on the CPU, so that a batch's width is known without waiting for the device
    """

    flat: Tensor
    starts: Tensor
    counts: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, flat: np.ndarray, lengths: np.ndarray, device: str | torch.device) -> Ragged:
        """From (N + 1, ...) rows, the padding row last, and (C,) lengths that sum to N."""
        counts = torch.from_numpy(lengths.astype(np.int64))
        starts = counts.cumsum(0) - counts
        return cls(torch.from_numpy(flat).to(device), starts.to(device), counts.to(device), counts)

    @classmethod
    def of_clips(cls, rows: Sequence[np.ndarray], padding: np.ndarray, device: str | torch.device) -> Ragged:
        """From the rows of each clip, and the (1, ...) row that padding shows."""
        return cls.of(np.concatenate([*rows, padding]), np.array([len(part) for part in rows]), device)

    @classmethod
    def chained(
        cls,
        clips: Iterable[Iterable[np.ndarray | None]],
        padding: np.ndarray,
        limit: int,
        keep: Literal["first", "last"],
        device: str | torch.device,
    ) -> Ragged:
        """From the parts of each clip end to end, at most `limit` rows from the end that is kept."""
        rows = []
        for parts in clips:
            chain = np.concatenate([padding[:0], *(part for part in parts if part is not None)])
            start = max(len(chain) - limit, 0) if keep == "last" else 0
            rows.append(chain[start : start + limit])
        return cls.of_clips(rows, padding, device)

    def take(self, clips: Tensor) -> Ragged:
        """These clips (row numbers, on the CPU); the rows themselves stay where they are."""
        rows = clips.to(self.flat.device)
        return Ragged(self.flat, self.starts[rows], self.counts[rows], self.lengths[clips])

    def joined(self, other: Ragged) -> Ragged:
        """The clips of both, the other's last."""
        flat = torch.cat([self.flat[:-1], other.flat])
        starts = torch.cat([self.starts, other.starts + len(self.flat) - 1])
        counts = torch.cat([self.counts, other.counts])
        return Ragged(flat, starts, counts, torch.cat([self.lengths, other.lengths]))

    def pad(self, clips: Tensor, on_device: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, ...) values, (B, T) mask and (B,) presence of the clips (row numbers, here and there)."""
        steps = torch.arange(width, device=self.flat.device)
        counts = self.counts[on_device]
        mask = steps < counts[:, None]  # (B, T)
        rows = torch.where(mask, self.starts[on_device, None] + steps, len(self.flat) - 1)
        values = self.flat.index_select(0, rows.view(-1))
        return values.view(*rows.shape, *self.flat.shape[1:]), mask, counts > 0


class Stream(Protocol):
    """What is read of every clip of a split: a Ragged, or one whose rows lie on the disk (rows.py)."""

    lengths: Tensor

    @property
    def flat(self) -> Tensor: ...
    def take(self, clips: Tensor) -> Self: ...
    def joined(self, other: Self) -> Self: ...
    def pad(self, clips: Tensor, on_device: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]: ...


Streams = Mapping[str, Stream]
"""a Stream by its name in `Inputs`; `waveform` as int16 samples"""


def level_of(part: Stream, clips: Tensor) -> int:
    """How many `LEVELS` of the longest of all clips hold these (row numbers)."""
    return -(-LEVELS * int(part.lengths[clips].max()) // max(1, int(part.lengths.max())))


def width_of(part: Stream, clips: Tensor, level: int | None) -> int:
    """T of a batch of these clips: their longest, or so many `LEVELS` of the longest of all."""
    longest = part.lengths[clips].max() if level is None else -(-part.lengths.max() * level // LEVELS)
    return max(1, int(longest))  # 1 where no clip has it: shapes stay


def padded(streams: Streams, clips: Tensor, on_device: Tensor, level: int | None) -> dict[str, Any]:
    """The fields of `Inputs` for these clips (row numbers, here and there)."""
    kinds = {"tokens": Tokens, "waveform": Waveform}
    fields: dict[str, Any] = {
        name: kinds.get(name, Sequences)(*part.pad(clips, on_device, width_of(part, clips, level)))
        for name, part in streams.items()
    }
    if sound := fields.get("waveform"):
        sound.values = sound.values.float() / FULL_SCALE
    return fields


@dataclass
class Split:
    """One split; everything but names, lengths and what lies on the disk is on the device.

    Attributes
    ----------
    clip_ids : C names, sorted
    streams : what is read of each clip
    context : the same of the utterances before it, None where the method does not ask for them
    labels : name in LABELS -> (C,) float32, NaN where there is none
    labeled : (C,) bool, False for clips of the split `unlabeled`
    lengths : (C,) int64, on the CPU: the steps of all streams together. Every stream is padded for itself
        and costs about its own steps, so their sum ranks clips by what they cost in a batch (the longest
        modality would not: pooled audio and visual are nearly always max_steps long)
    """

    clip_ids: list[str]
    streams: Streams
    context: Streams | None
    labels: dict[str, Tensor]
    labeled: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def label(self) -> Tensor:
        """(C,) float32, the target."""
        return self.labels["label"]

    def batch(self, indices: Tensor, few_shapes: bool = False) -> Batch:
        """The clips of these row numbers ((B,) int64, on the CPU), in this order, padded to the longest.

        With `few_shapes`, for programs that are compiled for each shape, to a level: every stream, also of
        the context, to the same number of `LEVELS` of its longest clip, the smallest that holds all.
        """
        rows = indices.to(self.labeled.device, non_blocking=True)
        level = None
        if few_shapes:
            parts = [*self.streams.values(), *(self.context or {}).values()]
            level = max((level_of(part, indices) for part in parts), default=0)
        context = None if self.context is None else Inputs(**padded(self.context, indices, rows, level))
        labels: dict[str, Any] = {name: values[rows] for name, values in self.labels.items()}
        return Batch(
            clip_ids=[self.clip_ids[i] for i in indices.tolist()],
            labeled=self.labeled[rows],
            context=context,
            **labels,
            **padded(self.streams, indices, rows, level),
        )

    def batches(self, orders: Iterable[Tensor], few_shapes: bool = False) -> Iterator[Batch]:
        """The batches of these row numbers; where rows lie on the disk, one is read ahead."""
        if all(isinstance(part, Ragged) for part in self.streams.values()):
            yield from (self.batch(rows, few_shapes) for rows in orders)
            return
        coming: Future[Batch] | None = None
        with ThreadPoolExecutor(1) as reader:
            for rows in orders:
                following = reader.submit(self.batch, rows, few_shapes)
                if coming is not None:
                    yield coming.result()
                coming = following
            if coming is not None:
                yield coming.result()

    def take(self, clips: Tensor) -> Split:
        """These clips (row numbers, on the CPU), in this order."""
        rows = clips.to(self.labeled.device)

        def taken(streams: Streams) -> Streams:
            return {name: part.take(clips) for name, part in streams.items()}

        return Split(
            [self.clip_ids[i] for i in clips.tolist()],
            taken(self.streams),
            None if self.context is None else taken(self.context),
            {name: values[rows] for name, values in self.labels.items()},
            self.labeled[rows],
            self.lengths[clips],
        )

    def with_unlabeled(self, unlabeled: Split) -> Split:
        """This split's clips, then the unlabeled ones."""
        assert self.context is None  # no method asks for both
        return Split(
            self.clip_ids + unlabeled.clip_ids,
            {name: part.joined(unlabeled.streams[name]) for name, part in self.streams.items()},
            None,
            {name: torch.cat([values, unlabeled.labels[name]]) for name, values in self.labels.items()},
            torch.cat([self.labeled, unlabeled.labeled]),
            torch.cat([self.lengths, unlabeled.lengths]),
        )


# ------------------------------------------------------------------------------------------------- orders
def shuffled_batches(
    lengths: Tensor, batch_size: int, pool_batches: int, generator: torch.Generator
) -> list[Tensor]:
    """Row numbers of the batches of an epoch: every clip once, lengths that match, neighbours that vary.

    All clips are shuffled; pools of `pool_batches` batches (1 = no sorting), but of three or of less than a
    tenth of the full ones at most, are sorted by length, (C,) on the CPU, and cut into batches; these are
    shuffled. The last batch of the last pool may be smaller. The generator's state alone decides the order.

    Why so small: clips meet again in the next epoch where they are in one pool and alike in length. Were the
    pool the corpus, all epochs would have the same batches, with the same negatives in a loss. Of pools of k
    batches that is less than k times as likely as by chance, of a tenth of the corpus less than 0.1.
    """
    batches: list[Tensor] = []
    if len(lengths) == 0:  # split would give one empty part
        return batches
    pool = min(pool_batches, max(3, (len(lengths) // batch_size - 1) // 10))
    for part in torch.randperm(len(lengths), generator=generator).split(batch_size * pool):
        ordered = part[lengths[part].argsort(stable=True)] if pool > 1 else part
        batches.extend(ordered.split(batch_size))
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def ordered_batches(lengths: Tensor, batch_size: int) -> list[Tensor]:
    """Row numbers for evaluation: every clip once, longest first; memory runs out at once or never."""
    return list(lengths.argsort(descending=True, stable=True).split(batch_size)) if len(lengths) else []


def companions(rows: Tensor, labeled: int, ratio: int, unlabeled: int) -> Tensor:
    """Rows (B,), below `labeled`, with those of their unlabeled companions behind: MIRD's Algorithm 1.

    Row i is joined by the unlabeled clips number i + k · labeled, k = 0 .. ratio - 1, in a pool that is
    cycled where it is too short; their rows follow the labeled ones.
    """
    if ratio == 0 or unlabeled == 0:
        return rows
    picked = [labeled + (rows + k * labeled) % unlabeled for k in range(ratio)]
    return torch.cat([rows, *picked])
