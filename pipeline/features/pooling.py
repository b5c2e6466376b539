"""One row a clip: what any encoder gives, pooled over the frames of the clip (`pool` in its settings).

| pool | columns | over the real frames of the clip |
|---|---|---|
| `mean` | `<column>_mean` | mean |
| `mean_std` | the same, then `<column>_std` | and population standard deviation, which is 0 of one frame |
| `max` | `<column>_max` | largest value |
| `last` | `<column>_last` | the last: of text alone, for models whose last token has read all others |

Real are tokens that stand for characters (no special ones), frames with `success` of encoders that look for
faces, and all frames of others. `success` stays a column of its name: 1 where a frame has a face; without any
the row is zero. Its time is the middle between the first frame and the last, with or without a face, its
characters are those from the first token to the last. It is float32, whatever the encoder stores; sums are
in float64.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.execution.gpu import Prepared
from pipeline.features.encoder import BatchEncoder, Clip, Encoded, Encoder
from pipeline.store.fingerprint import code_hash

FACE = "success"  # the column that says in which frames there is one
Statistic = Literal["mean", "std", "max", "last"]


class PooledEncoder(Encoder):
    """An encoder of one row a clip, made of the rows that `frames` gives."""

    dtype = "float32"

    def __init__(self, frames: Encoder, pool: str):
        self.frames = frames
        self.pool = pool
        self.modality, self.LIBRARIES = frames.modality, frames.LIBRARIES
        super().__init__(frames.name, frames.params, frames.limits, frames.device)

    @property
    def needs_media(self) -> bool:
        return self.frames.needs_media

    @cached_property
    def column_names(self) -> list[str]:
        names = self.frames.column_names
        flags = [FACE] if FACE in names else []
        return flags + [f"{name}_{of}" for of in self.statistics for name in names if name != FACE]

    @property
    def statistics(self) -> list[Statistic]:
        """What is taken of each column."""
        return self.pool.split("_")  # type: ignore[return-value]

    @property
    def model_identity(self) -> str:
        return self.frames.model_identity

    @property
    def provenance(self) -> dict[str, Any]:
        known = self.frames.provenance
        code = code_hash(type(self.frames), PooledEncoder)
        return {**known, "params": {**known["params"], "pool": self.pool}, "code": code}

    def load(self) -> None:
        self.frames.load()

    def encode(self, clip: Clip) -> Encoded:
        return self.pooled(self.frames.encode(clip))

    def pooled(self, encoded: Encoded) -> Encoded:
        """The clip's one row."""
        names, times = self.frames.column_names, encoded.times
        start, end = encoded.char_start, encoded.char_end
        real = np.ones(len(encoded.features), np.bool_)
        if start is not None:
            real = start >= 0
        elif FACE in names:
            real = encoded.features[:, names.index(FACE)] > 0
        kept = [column for column, name in enumerate(names) if name != FACE]
        row = np.zeros((1, self.dim), np.float32)
        if real.any():
            values = encoded.features[real][:, kept].astype(np.float64)
            parts = [_taken(values, of) for of in self.statistics]
            row[0] = np.concatenate([np.ones(len(names) - len(kept)), *parts])
        return Encoded(
            row,
            None if times is None else (times[[0]] + times[[-1]]) / 2,
            encoded.note,
            char_start=None if start is None else start[real][:1],
            char_end=None if end is None else end[real][-1:],
        )


class PooledBatchEncoder(PooledEncoder, BatchEncoder):
    """One of an encoder that takes several clips at once."""

    frames: BatchEncoder

    def load_preparer(self) -> None:
        self.frames.load_preparer()

    def prepare(self, clip: Clip) -> Prepared:
        return self.frames.prepare(clip)

    def infer(self, prepared: list[Prepared]) -> list[Encoded | ClipError]:
        outcomes = self.frames.infer(prepared)
        return [self.pooled(one) if isinstance(one, Encoded) else one for one in outcomes]


def _taken(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    """A statistic of each column of (n, D), n >= 1: (D,)."""
    match statistic:
        case "mean":
            return values.mean(axis=0)
        case "std":
            return values.std(axis=0)
        case "max":
            return values.max(axis=0)
        case "last":
            return values[-1]
