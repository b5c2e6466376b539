"""Test predictions as evaluate wrote them, with what a clip is of: `predictions.parquet` of evaluate.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import LABELS, MODALITIES, SEPARATOR, TEST, TEST_OOD

LABEL_OF = dict(zip(MODALITIES, LABELS[1:], strict=True))  # modality -> its column, of classes too


@dataclass(frozen=True)
class Predictions:
    """Predictions of one run for a test split.

    Attributes
    ----------
    clip_ids : sorted, each once
    videos, speakers : of the clips; None = not known
    label, prediction : (clips,) float64, label units or indices of classes
    modality_labels : modality -> (clips,) float64 what the clip is labelled by that modality alone, NaN where
        it is not known; empty where the corpus has no such labels
    probability : (clips, classes) float64 of a classification; None where it was not saved
    """

    clip_ids: tuple[str, ...]
    videos: tuple[str | None, ...]
    speakers: tuple[str | None, ...]
    label: np.ndarray
    prediction: np.ndarray
    modality_labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    probability: np.ndarray | None = None


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
    own = {
        modality: _numbers(table[column])
        for modality, column in LABEL_OF.items()
        if column in table.column_names
    }
    probability = _probabilities(table, seed, source)
    return Predictions(tuple(clips), videos, speakers, label, prediction, own, probability)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """As float64, null as NaN."""
    numbers: np.ndarray = pc.cast(column, pa.float64()).to_numpy()
    return numbers


def _probabilities(table: pa.Table, seed: int, source: str) -> np.ndarray | None:
    """(clips, classes) float64; None where there are none."""
    name = f"probability_{seed}"
    if name not in table.column_names or not len(table):
        return None
    values = np.array(table[name].to_pylist(), dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise FormatError(f"{source}: {name} needs one finite number per class; evaluate the runs again")
    return values
