"""The rows of a split's streams on their way from Parquet files: into memory, or onto the disk where they
would be too much for it. Batches are the same either way.

Symbols: B clips of a batch, T time steps (the longest of the batch, at least 1), C clips of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.core.row_file import RowFile
from pipeline.datasets.splits import Ragged

Piece = tuple[RowFile, int, int]
"""rows that lie end to end: where, the first, and how many"""


@dataclass
class StoredRagged:
    """As Ragged, but the rows lie on the disk, and those of a batch alone are read and put on the device.

    Attributes
    ----------
    pieces : of each of the C clips, in their order
    lengths : (C,) int64, on the CPU
    padding : (1, ...) what padding shows
    """

    pieces: list[list[Piece]]
    lengths: Tensor
    padding: np.ndarray
    device: str | torch.device

    @property
    def flat(self) -> Tensor:
        """All rows of all clips and the padding, as in Ragged: as much memory as this is there to save."""
        clips = torch.arange(len(self.pieces))
        parts = [self.pad(clips[i : i + 1], clips, n)[0][0] for i, n in enumerate(self.lengths.tolist())]
        return torch.cat([*parts, torch.from_numpy(self.padding).to(self.device)])

    def take(self, clips: Tensor) -> StoredRagged:
        """These clips (row numbers)."""
        return replace(self, pieces=[self.pieces[i] for i in clips.tolist()], lengths=self.lengths[clips])

    def joined(self, other: StoredRagged) -> StoredRagged:
        """The clips of both, the other's last."""
        return replace(
            self, pieces=self.pieces + other.pieces, lengths=torch.cat([self.lengths, other.lengths])
        )

    def pad(self, clips: Tensor, on_device: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, ...) values, (B, T) mask and (B,) presence of the clips (row numbers), on the device."""
        counts = self.lengths[clips]
        values = np.empty((len(clips), width, *self.padding.shape[1:]), self.padding.dtype)
        for clip, rows in zip(clips.tolist(), values, strict=True):
            at = 0
            for file, start, count in self.pieces[clip]:
                file.read(start, rows[at : at + count])
                at += count
            rows[at:] = self.padding
        mask = torch.arange(width) < counts[:, None]
        return tuple(part.to(self.device) for part in (torch.from_numpy(values), mask, counts > 0))  # type: ignore[return-value]


class RowCollector:
    """One stream of a split: rows are added in the order of its clips.

    Parameters
    ----------
    padding : (1, ...) what padding shows
    folder : where the rows lie on the disk; None = in memory
    """

    def __init__(self, padding: np.ndarray, folder: Path | None, device: str | torch.device):
        self._padding, self._device = padding, device
        self._file = None if folder is None else RowFile(folder, padding.dtype, padding.shape[1:])
        self._blocks: list[np.ndarray] = []
        self._counts: list[int] = []

    def add(self, rows: np.ndarray, counts: Iterable[int]) -> None:
        """The rows of the next clips end to end, and how many each has."""
        if self._file is None:
            self._blocks.append(rows)
        else:
            self._file.add(rows)
        self._counts.extend(counts)

    def ragged(self) -> Ragged | StoredRagged:
        """The clips that were added."""
        if self._file is None:
            return Ragged.of(self._flat, np.array(self._counts, np.int64), self._device)
        return self._stored([[(self._file, *place)] for place in self._places()])

    def chained(
        self, before: Sequence[Sequence[int]], limit: int, keep: Literal["first", "last"]
    ) -> Ragged | StoredRagged:
        """For each clip those before it (row numbers) end to end, at most `limit` rows from the kept end."""
        places = self._places()
        if self._file is None:
            clips = ((self._flat[places[row][0] :][: places[row][1]] for row in rows) for rows in before)
            return Ragged.chained(clips, self._padding, limit, keep, self._device)
        chains = []
        for rows in before:
            left = sum(places[row][1] for row in rows) - limit if keep == "last" else 0  # to leave out
            chain, room = [], limit
            for start, count in map(places.__getitem__, rows):
                skipped = min(max(left, 0), count)
                kept = min(count - skipped, room)
                if kept:
                    chain.append((self._file, start + skipped, kept))
                left, room = left - skipped, room - kept
            chains.append(chain)
        return self._stored(chains)

    @cached_property
    def _flat(self) -> np.ndarray:
        """All rows, and the padding; they are not in memory twice afterwards."""
        flat = np.concatenate([*self._blocks, self._padding])
        self._blocks.clear()
        return flat

    def _places(self) -> list[tuple[int, int]]:
        """First row and number of rows of each clip."""
        starts = np.cumsum([0, *self._counts])[:-1].tolist()
        return list(zip(starts, self._counts, strict=True))

    def _stored(self, pieces: list[list[Piece]]) -> StoredRagged:
        lengths = torch.tensor([sum(count for *_, count in one) for one in pieces], dtype=torch.int64)
        return StoredRagged(pieces, lengths, self._padding, self._device)
