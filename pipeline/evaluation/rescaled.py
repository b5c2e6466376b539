"""A set's features as the training set of a run would have them: its statistics in place of the set's own.

An assembled set is z-scored by its own train split, a run expects its training set's scale. So a value z is
put back, x = z · sd + mean of the set, and scaled again, (x − mean) / sd of the run, clipped as always. Lost
are what lay beyond the set's limit of ±10 sd, which counts as at the limit (they are counted), and columns
that are constant in the set's train split, which are 0 there: such a set is refused where the run uses them.
A set that is assembled without normalizing loses nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import CONTEXT, TEST, TEST_OOD
from pipeline.datasets.assembly.sequences import SD_FLOOR, SUCCESS, Z_LIMIT, scale

STATISTICS = ("normalized", "mean", "sd")
ROWS = 256  # clips that are rewritten at once
Entries = Mapping[str, dict[str, Any]]
"""modality -> its part of stats.json"""


def rescale(assembled: Path, stats: Mapping[str, Any], wanted: Entries, out: Path) -> tuple[Path, list[str]]:
    """The folder of the set's test splits with these statistics, and what was lost, in words.

    Parameters
    ----------
    wanted : of the run's training set, for the modalities that it reads
    out : an empty folder, which is used where something has to be rewritten

    Raises
    ------
    MsaError : a column that the run uses is not in the set any more
    """
    have: Entries = stats["modalities"]
    others = {
        name: entry
        for name, entry in wanted.items()
        if any(entry[key] != have[name][key] for key in STATISTICS)
    }
    if not others:
        return assembled, []
    for name, entry in others.items():
        _check_columns(assembled, name, have[name], entry)
    lost = dict.fromkeys(others, 0)
    seen = dict.fromkeys(others, 0)
    for split in (TEST, TEST_OOD, CONTEXT):
        path = assembled / f"{split}.parquet"
        if not path.exists():
            continue
        file = pq.ParquetFile(path)
        with pq.ParquetWriter(out / path.name, file.schema_arrow) as writer:
            for batch in file.iter_batches(ROWS):
                for name, entry in others.items():
                    place = batch.schema.get_field_index(name)
                    column, at_limit, size = _column(batch.column(place), have[name], entry)
                    batch = batch.set_column(place, batch.schema.field(place), column)
                    lost[name], seen[name] = lost[name] + at_limit, seen[name] + size
                writer.write_batch(batch)
        sound = assembled / f"{split}.waveform.parquet"
        if sound.exists():
            os.symlink(sound.absolute(), out / sound.name)
    changed = {**stats, "modalities": {**have, **others}}
    (out / "stats.json").write_text(json.dumps(changed), encoding="utf-8")
    said = [f"{', '.join(others)}: scaled by the statistics of the run's training set"]
    said += [
        f"{name}: {count / seen[name]:.2%} of the values were at the set's limit of ±{Z_LIMIT:g} sd and are "
        "treated as being exactly there"
        for name, count in lost.items()
        if count
    ]
    return out, said


def rescaled(
    values: np.ndarray, have: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[np.ndarray, int]:
    """(N, D) float32 steps with other statistics, and how many values lay at the limit of the old ones."""
    columns = np.asarray(have["columns"])
    own = np.flatnonzero(np.isin(columns, have["normalized"]))
    flagged = SUCCESS in have["columns"]
    real = values[:, have["columns"].index(SUCCESS)] > 0 if flagged else (values != 0).any(axis=1)
    found = values.astype(np.float64)
    mean, sd = (np.asarray(have[key])[own] for key in ("mean", "sd"))
    found[:, own] = found[:, own] * np.where(sd < SD_FLOOR, 0, sd) + mean
    scale(found, np.asarray(real), dict(wanted))
    at_limit = int((np.abs(values[:, own]) >= Z_LIMIT)[real].sum())
    return found.astype(np.float32), at_limit


def _check_columns(assembled: Path, name: str, have: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    pairs = zip(have["columns"], have["sd"], wanted["sd"], strict=True)
    gone = [c for c, own, other in pairs if c in have["normalized"] and own < SD_FLOOR <= other]
    if gone:
        raise MsaError(
            f"{assembled}: {len(gone)} column(s) of {name} are constant in its train split and were set to 0 "
            f"there ({', '.join(gone[:3])}), but the run uses them; assemble a set of these clips that keeps "
            f"them (assemble.<set>.normalize without {name}) and evaluate on that"
        )


def _column(
    column: pa.Array, have: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[pa.Array, int, int]:
    """A column of sequences rescaled; how many of its values lay at the limit, and how many there are."""
    width = len(have["columns"])
    values = column.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    changed, at_limit = rescaled(values, have, wanted)
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    rows = pa.FixedSizeListArray.from_arrays(pa.array(changed.reshape(-1)), width)
    found = pa.ListArray.from_arrays(offsets, rows, mask=pc.is_null(column))
    return found.cast(column.type), at_limit, values.size
