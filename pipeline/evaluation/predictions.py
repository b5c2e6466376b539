"""Test predictions as evaluate wrote them, with what a clip is of: `predictions.parquet` of evaluate.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import SEPARATOR, TEST, TEST_OOD


@dataclass(frozen=True)
class Predictions:
    """Predictions of one run for a test split.

    Attributes
    ----------
    clip_ids : sorted, each once
    videos, speakers : of the clips; None = not known
    label, prediction : (clips,) float64, label units or indices of classes
    """

    clip_ids: tuple[str, ...]
    videos: tuple[str | None, ...]
    speakers: tuple[str | None, ...]
    label: np.ndarray
    prediction: np.ndarray


def read_predictions(content: bytes, seeds: Sequence[int], source: str) -> dict[int, dict[str, Predictions]]:
    """Seed -> test split -> predictions.

    Raises
    ------
    FormatError : not a table of these seeds' predictions, named by `source`
    """
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{source}: not readable as Parquet ({error}); evaluate the runs again") from error
    for name in ("split", "clip_id", "label", *(f"prediction_{seed}" for seed in seeds)):
        if name not in table.column_names:
            raise FormatError(f"{source}: column {name!r} is missing; evaluate the runs again")
        kind = table.schema.field(name).type
        if name in ("split", "clip_id"):
            continue
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            problem = f"column {name!r} is {kind}, expected numbers"
            raise FormatError(f"{source}: {problem}; evaluate the runs again")
    parts = {split: table.filter(pc.equal(table["split"], split)) for split in (TEST, TEST_OOD)}
    splits = {split: part.sort_by("clip_id") for split, part in parts.items() if len(part)}
    return {seed: {split: _of_seed(part, seed, source) for split, part in splits.items()} for seed in seeds}


def _names(table: pa.Table, column: str, source: str) -> tuple[str | None, ...]:
    """Of videos or speakers, a row each; None where it is not known, as where it is empty."""
    if column not in table.column_names:
        return (None,) * len(table)
    kind = table.schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise FormatError(f"{source}: column {column!r} is {kind}, expected text; evaluate the runs again")
    return tuple(name or None for name in table[column].to_pylist())


def _of_seed(table: pa.Table, seed: int, source: str) -> Predictions:
    clips = table["clip_id"].to_pylist()
    if len(set(clips)) < len(clips):
        twice = next(one for one, other in pairwise(clips) if one == other)
        raise FormatError(f"{source}: clip {twice!r} occurs twice; evaluate the runs again")
    label, prediction = (
        table[name].to_numpy().astype(np.float64) for name in ("label", f"prediction_{seed}")
    )
    if not (np.isfinite(label).all() and np.isfinite(prediction).all()):
        raise FormatError(f"{source}: labels or predictions are not finite; evaluate the runs again")
    videos, speakers = (_names(table, name, source) for name in ("video_id", "speaker"))
    if "video_id" not in table.column_names:  # an id begins with that of its video
        videos = tuple(clip.partition(SEPARATOR)[0] for clip in clips)
    return Predictions(tuple(clips), videos, speakers, label, prediction)
