"""Runs as evaluate saved them: `results/<dataset>/<method>-<seed>.json` and the test predictions beside it.

They are read from any revision, written by this version or by an older one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import FormatError
from pipeline.core.git import Revision

RESULTS = "results"
TEST, TEST_OOD = "test", "test_ood"  # the second, out of distribution, is of some sets
NAME = re.compile(r"(?P<method>.+)-(?P<seed>\d+)\.json")
FORMAT = 1  # of the results that are read here


class Result(BaseModel):
    """What is compared of a result file; it has more."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    format: int = FORMAT
    method: str
    dataset: str
    seed: int
    metric_set: str
    feature_set: str = ""
    features: dict[str, str] = Field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    test: dict[str, float]
    valid: dict[str, float] = Field(default_factory=dict)
    test_ood: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """Predictions of one run for a test split.

    Attributes
    ----------
    clip_ids : sorted, each once
    label, prediction : (clips,) float64, label units or indices of classes
    """

    clip_ids: tuple[str, ...]
    label: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class SavedRun:
    """One run: where its result lies, in which revision, what it says, its predictions if they were saved.

    `content` is the bytes of both files: equal content was not made anew, or came out the same. `ood` are the
    predictions for the second test split, where there is one.
    """

    path: str
    source: str
    result: Result
    predictions: Predictions | None
    content: tuple[bytes, bytes | None] = field(repr=False)
    ood: Predictions | None = None


def find_results(revision: Revision) -> tuple[list[str], list[str]]:
    """Paths of the result files of runs, and of other JSON files in `results`."""
    views = ".views.json"  # what `inspect` saw of a run is no result of it
    files = [path for path in revision.files(RESULTS) if path.endswith(".json") and not path.endswith(views)]
    runs = [
        path
        for path in files
        if len(PurePosixPath(path).parts) == 3 and NAME.fullmatch(path.rpartition("/")[2])
    ]
    return runs, [path for path in files if path not in runs]


def read_run(revision: Revision, path: str) -> SavedRun:
    """A run's result and predictions.

    Raises
    ------
    FormatError : no such file, not a result, or its predictions are no test predictions
    """
    source = f"{path} of {revision.name}"
    content = revision.read(path)
    if content is None:
        raise FormatError(f"{source}: no such result; the evaluate stage writes it (`dvc repro`)")
    result = _parse(content, source)
    table = f"{path.removesuffix('.json')}.predictions.parquet"
    saved = revision.read(table)
    found = {} if saved is None else _predictions(saved, f"{table} of {revision.name}")
    return SavedRun(path, revision.name, result, found.get(TEST), (content, saved), found.get(TEST_OOD))


def _parse(content: bytes, source: str) -> Result:
    try:
        tree: Any = json.loads(content)
        result = Result.model_validate(tree)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise FormatError(
            f"{source}: not a result that evaluate wrote ({wrong}); evaluate the run again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: not JSON ({error}); evaluate the run again") from error
    if result.format != FORMAT:
        raise FormatError(
            f"{source}: result of format {result.format}, this version reads {FORMAT}; use the version that "
            "wrote it"
        )
    return result


def _predictions(content: bytes, source: str) -> dict[str, Predictions]:
    """By test split."""
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{source}: not readable as Parquet ({error}); evaluate the run again") from error
    lacking = [name for name in ("clip_id", "label", "prediction") if name not in table.column_names]
    if lacking:
        raise FormatError(f"{source}: column {lacking[0]!r} is missing; evaluate the run again")
    for name in ("label", "prediction"):
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise FormatError(
                f"{source}: column {name!r} is {kind}, expected numbers; evaluate the run again"
            )
    if "split" not in table.column_names:
        return {TEST: _sorted(table, source)}
    return {
        split: _sorted(table.filter(pc.equal(table["split"], split)), source)
        for split in (TEST, TEST_OOD)
        if split in table["split"].to_pylist()
    }


def _sorted(table: pa.Table, source: str) -> Predictions:
    table = table.sort_by("clip_id")
    clips = table["clip_id"].to_pylist()
    if len(set(clips)) < len(clips):
        twice = next(one for one, other in pairwise(clips) if one == other)
        raise FormatError(f"{source}: clip {twice!r} occurs twice; evaluate the run again")
    label, prediction = (table[name].to_numpy().astype(np.float64) for name in ("label", "prediction"))
    if not (np.isfinite(label).all() and np.isfinite(prediction).all()):
        raise FormatError(f"{source}: labels or predictions are not finite; evaluate the run again")
    return Predictions(tuple(clips), label, prediction)
