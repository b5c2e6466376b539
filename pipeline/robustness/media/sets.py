"""An assembled set whose test features are those of corrupted media, everything else as it was.

    rows of corrupted clips ─ shortened, scaled as in training ─▶ test.parquet, context.parquet beside links
                                                                  to the other files

What is said stays the set's text, unless the corrupted sound is heard again (heard.py). Test clips that come
before others are spoilt there too, and clips of the split `context`, for methods that read them. A clip of
which an encoder can make nothing any more has one step of zeros; one that lacked the modality lacks it still.

A *stream* is a modality whose features a set has, or `waveform`. Symbols: T steps, D columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import paths
from pipeline.core.files import write_parquet
from pipeline.core.vocabulary import CONTEXT, MODALITIES, OK, TEST
from pipeline.datasets.assembly.aligned import WORDS, Alignment
from pipeline.datasets.assembly.files import WAVEFORM
from pipeline.datasets.assembly.sequences import prepare
from pipeline.datasets.training_set import NO_SOUND
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore
from pipeline.transcripts.stage import Transcript
from pipeline.transcripts.table import TRANSCRIPTS, read_transcripts

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
        self._params, self._clip_ids, self._where = params, clip_ids, f"assemble.{stats['dataset']}"
        self.clean_rows = cache(self._clean_rows)
        self._alignment = self._aligned({}, {}) if self.aligned else None

    @property
    def aligned(self) -> bool:
        """Whether a step is a word."""
        return any(entry.get("align") == WORDS for entry in self.modalities.values())

    def hearing(self, heard: Mapping[str, Transcript], texts: Mapping[str, FeatureRow]) -> SplitSequences:
        """The same, where in some clips other words are heard; `texts` are features of these words."""
        found = copy(self)
        if self.aligned:
            found._alignment = self._aligned(heard, texts)
        return found

    def _clean_rows(self, modality: str) -> tuple[dict[str, FeatureRow], list[str]]:
        """Features that the set is made of, as the encoder gives them, by clip, and their columns."""
        store = FeatureStore(FEATURES / getattr(self._params, modality))
        wanted = set(self._clip_ids)
        meta = store.meta() or {"column_names": []}
        return {row.clip_id: row for row in store.stream() if row.clip_id in wanted}, meta["column_names"]

    def _aligned(self, heard: Mapping[str, Transcript], texts: Mapping[str, FeatureRow]) -> Alignment:
        """Over the words of the transcripts, or over those that are heard in their place."""
        table = read_transcripts(paths.transcript_table(self._params.dataset))
        rows = {
            row["clip_id"]: row
            for row in table.filter(pc.is_in(table["clip_id"], pa.array(self._clip_ids))).to_pylist()
        }
        rows |= {
            clip_id: {name: getattr(one, name) for name in TRANSCRIPTS.names}
            for clip_id, one in heard.items()
        }
        said = pa.Table.from_pylist([*rows.values()], TRANSCRIPTS)
        present = [name for name in MODALITIES if name in self.modalities]
        found = Alignment(said, self._clip_ids, present, self._params, self._where)
        if "text" in present:  # which words its encoder did not cut off
            known = {**self.clean_rows("text")[0], **texts}
            for _ in found.rows("text", known.values(), []):
                pass
        return found

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
def set_with(
    assembled: Path,
    sequences: Mapping[str, Mapping[str, np.ndarray]],
    texts: Mapping[str, str | None] | None = None,
) -> Iterator[Path]:
    """A folder that is the set with other sequences of some clips: by stream and clip, see `SplitSequences`.

    `texts` take the place of their transcripts.
    """
    with TemporaryDirectory(prefix="spoilt-") as temporary:
        folder = Path(temporary)
        for file in assembled.iterdir():
            split, _, kind = file.name.partition(".")
            found = {n: of for n, of in sequences.items() if (n == WAVEFORM) == kind.startswith(WAVEFORM)}
            said = {} if kind.startswith(WAVEFORM) else texts or {}
            changed = set(said).union(*found.values())
            if split not in (TEST, CONTEXT) or not changed & set(clip_ids_of(file)):
                (folder / file.name).symlink_to(file.resolve())
                continue
            table = pq.read_table(file)
            for stream in found:
                if stream in table.column_names:
                    table = _with_column(table, stream, found[stream])
            write_parquet(_with_texts(table, said) if said else table, folder / file.name)
        yield folder


def clip_ids_of(file: Path) -> list[str]:
    """Of the clips that a file of a set has."""
    found: list[str] = pq.read_table(file, columns=["clip_id"])["clip_id"].to_pylist()
    return found


def _with_texts(table: pa.Table, texts: Mapping[str, str | None]) -> pa.Table:
    """The table with other transcripts of some clips."""
    place = table.column_names.index("transcript")
    old = zip(table["clip_id"].to_pylist(), table["transcript"].to_pylist(), strict=True)
    new = pa.array([texts.get(clip_id, text) for clip_id, text in old], pa.string())
    return table.set_column(place, table.schema.field(place), new)


def _with_column(table: pa.Table, stream: str, sequences: Mapping[str, np.ndarray]) -> pa.Table:
    """The table with other values of a stream for some clips, where they have any."""
    there = table[stream].is_valid().to_numpy()
    if not there.any():
        return table
    kind = table.schema.field(stream).type
    clips = zip(table["clip_id"].to_pylist(), table[stream], there, strict=True)
    blocks = [sequences.get(clip_id, _block(old)) for clip_id, old, valid in clips if valid]
    counts = np.zeros(len(table), np.int64)
    counts[there] = [len(block) for block in blocks]
    flat: np.ndarray = np.concatenate(blocks)
    values = pa.array(flat.reshape(-1))
    if flat.ndim == 2:
        values = pa.FixedSizeListArray.from_arrays(values, flat.shape[1])
    offsets = pa.array(np.cumsum([0, *counts]).astype(np.int32))
    lists = pa.ListArray.from_arrays(offsets, values, mask=pa.array(~there)).cast(kind)
    return table.set_column(table.column_names.index(stream), table.schema.field(stream), lists)


def _block(steps: pa.ListScalar) -> np.ndarray:
    """(T, D) steps of a clip, or (samples,), as a set has them."""
    values = steps.values
    if not pa.types.is_fixed_size_list(values.type):
        return np.asarray(values)
    return np.asarray(values.flatten()).reshape(-1, values.type.list_size)
