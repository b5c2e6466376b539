"""Stores read clip by clip, and what is left of their clips on the disk until a set is written in its order.

A store has its clips in hash buckets, a set by split and clip id. So each store is read once, a row group at
a time, and a clip's sequence, shortened but not yet scaled, is put behind the others in a file without a
name. Statistics and the set's files are then made of that file, in the set's order. Memory holds a few row
groups and what is said of each clip, but not the clips.

Symbols: D columns of a modality, N steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.row_file import RowFile
from pipeline.core.vocabulary import OK
from pipeline.datasets.assembly.sequences import BLOCK, shorten
from pipeline.store.shard import FeatureRow

if TYPE_CHECKING:
    from pipeline.store.store import FeatureStore


class FeatureSource:
    """A store as assembly sees it.

    Attributes
    ----------
    meta : the footer of its shards; empty where there is none
    clip_ids : those that have a row
    """

    def __init__(self, store: FeatureStore):
        ledger = store.ledger()
        rows = {} if ledger is None else ledger.rows
        self.meta: dict[str, Any] = {} if ledger is None else ledger.meta
        self._store = store
        self._without = {
            clip_id: "" if row.status == OK else f"{row.status}: {row.error}" for clip_id, row in rows.items()
        }

    @property
    def clip_ids(self) -> Set[str]:
        return self._without.keys()

    def missing(self, clip_id: str) -> str:
        """Empty where the clip has this modality, else `status: reason`."""
        return self._without.get(clip_id, "not extracted")

    def rows(self, clip_ids: Collection[str]) -> Iterator[FeatureRow]:
        """The rows of these clips, as they lie in the store; few are in memory at a time."""
        return (row for row in self._store.stream() if row.clip_id in clip_ids)


class GatheredSequences:
    """Sequences of one modality, (n, D), that are added in any order and read by clip."""

    def __init__(self, folder: Path, dtype: np.dtype, dim: int):
        self._file = RowFile(folder, dtype, (dim,))
        self._places: dict[str, tuple[int, int]] = {}  # clip id -> first row, rows
        self._unreal: dict[str, np.ndarray] = {}  # clip id -> (n,) bool, of clips with frames of no success

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._places

    def add(self, clip_id: str, values: np.ndarray, real: np.ndarray | None = None) -> None:
        """One clip's; all steps are real unless `real`, (n,) bool, says other."""
        self._places[clip_id] = self._file.rows, len(values)
        self._file.add(values)
        if real is not None and not real.all():
            self._unreal[clip_id] = real.copy()

    def has_real(self, clip_ids: Iterable[str]) -> bool:
        """Whether any of these clips has a real step."""
        return any(self._real(clip_id).any() for clip_id in clip_ids)

    def read(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, D) values of these clips end to end, (N,) which are real, and (clips + 1,) int64 offsets."""
        ends = np.cumsum([0, *(self._places.get(clip_id, (0, 0))[1] for clip_id in clip_ids)])
        values = np.empty((ends[-1], *self._file.shape), self._file.dtype)
        for clip_id, start, stop in zip(clip_ids, ends, ends[1:], strict=False):
            if stop > start:
                self._file.read(self._places[clip_id][0], values[start:stop])
        real = np.concatenate([np.zeros(0, np.bool_), *map(self._real, clip_ids)])
        return values, real, ends

    def blocks(self, clip_ids: Iterable[str]) -> Iterator[np.ndarray]:
        """Of these clips end to end, the real ones of each BLOCK steps; the next overwrites them."""
        block = np.empty((BLOCK, *self._file.shape), self._file.dtype)
        steps = filled = 0
        for clip_id in clip_ids:
            values, real, _ = self.read([clip_id])
            while len(values):
                now = min(len(values), BLOCK - steps)
                kept = values[:now][real[:now]]
                block[filled : filled + len(kept)] = kept
                steps, filled, values, real = steps + now, filled + len(kept), values[now:], real[now:]
                if steps == BLOCK:
                    yield block[:filled]
                    steps = filled = 0
        if steps:
            yield block[:filled]

    def _real(self, clip_id: str) -> np.ndarray:
        steps = self._places.get(clip_id, (0, 0))[1]
        return self._unreal.get(clip_id, np.ones(steps, np.bool_))


def gather(
    rows: Iterable[FeatureRow], column_names: Sequence[str], entry: dict[str, Any], key: str, folder: Path
) -> GatheredSequences:
    """The shortened sequences of rows that are `ok`; FormatError names a clip with one that is not finite."""
    found = GatheredSequences(folder, np.dtype(np.float32), entry["dim"])
    for row in rows:
        if row.features is None:
            continue
        values, real = shorten(row.features, column_names, entry)
        if not np.isfinite(values[real]).all():
            raise FormatError(f"{key}: features of clip {row.clip_id!r} are not finite; extract it again")
        found.add(row.clip_id, values, real)
    return found
