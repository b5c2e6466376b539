"""An assembled set whose test features are those of corrupted media, everything else as it was.

    rows of corrupted clips ─ shortened, scaled as in training ─▶ test.parquet beside links to the other files

What is said stays the set's text. Test clips that come before others are spoilt there too, for methods that
read them; clips of the split `context` are not. A clip of which an encoder can make nothing any more has one
step of zeros; one that lacked the modality lacks it still.

A *stream* is a modality whose features a set has, or `waveform`. Symbols: T steps, D columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import paths
from pipeline.core.files import write_parquet
from pipeline.core.vocabulary import MODALITIES, OK, TEST
from pipeline.datasets.assembly.aligned import WORDS, Alignment
from pipeline.datasets.assembly.files import WAVEFORM
from pipeline.datasets.assembly.sequences import prepare
from pipeline.datasets.training_set import NO_SOUND
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore
from pipeline.transcripts.table import read_transcripts

FEATURES = Path("data/features")


class SplitSequences:
    """Makes test sequences of rows of features, as the set would hold them.

    Parameters
    ----------
    stats : of the set
    params : what it is assembled of
    """

    def __init__(self, stats: Mapping[str, Any], params: AssembleParams, clip_ids: list[str]):
        self.modalities: dict[str, dict[str, Any]] = stats["modalities"]
        self._alignment = None
        if any(entry.get("align") == WORDS for entry in self.modalities.values()):
            where = f"assemble.{stats['dataset']}"
            table = read_transcripts(paths.transcript_table(params.dataset))
            present = [name for name in MODALITIES if name in self.modalities]
            self._alignment = Alignment(table, clip_ids, present, params, where)
            if "text" in present:  # which words its encoder did not cut off
                store = FeatureStore(FEATURES / params.text)
                wanted = set(clip_ids)
                rows = (row for row in store.stream() if row.clip_id in wanted)
                for _ in self._alignment.rows("text", rows, []):
                    pass

    def of(self, stream: str, row: FeatureRow, column_names: list[str]) -> np.ndarray:
        """(T, D) float32 of a row of a clip; of sound (samples,) int16. What failed is one step of zeros."""
        if stream == WAVEFORM:
            return NO_SOUND if row.features is None else row.features.reshape(-1).copy()
        entry = self.modalities[stream]
        aligned = [row]
        if self._alignment is not None and row.status == OK:
            aligned = [*self._alignment.rows(stream, [row], column_names)]
        if not aligned or aligned[0].features is None:
            return np.zeros((1, entry["dim"]), np.float32)
        return prepare(aligned[0].features, column_names, entry)


@contextmanager
def set_with(assembled: Path, sequences: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Path]:
    """A folder that is the set with other test sequences: by stream and clip, see `SplitSequences`."""
    with TemporaryDirectory(prefix="spoilt-") as temporary:
        folder = Path(temporary)
        written = {
            f"{TEST}.{WAVEFORM}.parquet" if stream == WAVEFORM else f"{TEST}.parquet" for stream in sequences
        }
        for file in assembled.iterdir():
            if file.name not in written:
                (folder / file.name).symlink_to(file.resolve())
        for name in written:
            table = pq.read_table(assembled / name)
            for stream in sequences:
                if stream in table.column_names:
                    table = _with_column(table, stream, sequences[stream])
            write_parquet(table, folder / name)
        yield folder


def _with_column(table: pa.Table, stream: str, sequences: Mapping[str, np.ndarray]) -> pa.Table:
    """The table with other values of a stream, where it has some."""
    kind = table.schema.field(stream).type
    there = table[stream].is_valid().to_numpy()
    clip_ids = table["clip_id"].to_pylist()
    blocks = [sequences[clip_id] for clip_id, valid in zip(clip_ids, there, strict=True) if valid]
    counts = np.zeros(len(table), np.int64)
    counts[there] = [len(block) for block in blocks]
    flat: np.ndarray = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    values = pa.array(flat.reshape(-1))
    if flat.ndim == 2:
        values = pa.FixedSizeListArray.from_arrays(values, flat.shape[1])
    offsets = pa.array(np.cumsum([0, *counts]).astype(np.int32))
    lists = pa.ListArray.from_arrays(offsets, values, mask=pa.array(~there)).cast(kind)
    return table.set_column(table.column_names.index(stream), table.schema.field(stream), lists)
