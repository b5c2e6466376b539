"""One Parquet file of clip features, self-describing: a row a clip, sorted by clip id.

=============  ==================================  =====================================================
clip_id        string
source_sha256  string                              what the row was made from (media bytes or transcript)
n_frames       int32                               0 unless status is ok
features       list<fixed_size_list<T>[D]>         T: float32, float16 (states), int16 (sound), uint8 (crops)
times          list<float32>                       centres of the frames, seconds; null for text and waveforms
token_ids, char_start, char_end   list<int32>      text only; special tokens have offsets -1
status         string                              ok | absent (not in the source) | failed
error          string                              the reason, or a note on a good row; empty if nothing
=============  ==================================  =====================================================

The footer holds the provenance. No clock times, host names or paths are written, so that equal content
gives equal bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import FormatError
from pipeline.core.files import atomic_write
from pipeline.core.vocabulary import FAILED, OK, TRANSIENT

FORMAT_VERSION = 1
META_KEY = b"msa.features"
LEDGER = ["clip_id", "source_sha256", "status", "error"]  # columns of a row without its features
FOOTER_KEYS = ("modality", "encoder", "fingerprint", "dim", "dtype", "column_names", "frame_rate")
ROW_GROUP_BYTES = 16 << 20  # raw bytes; 8-32 MB read well
SHARD_BYTES = 256 << 20  # of a file; it is in memory, about three times, when a clip is added
MOST_FRAMES = 2**31 - 1  # of a file, because Arrow's lists count in 32 bits: 37 hours of sound
STREAMED_ROWS = 4  # clips; Arrow takes up to 16 bytes a sample of a waveform while it decodes


@dataclass
class FeatureRow:
    """One clip of a store.

    Attributes
    ----------
    features : shape (n_frames, dim), None unless status is ok
    times : shape (n_frames,), seconds from the clip's start, None for text and waveforms
    token_ids, char_start, char_end : shape (n_frames,) int32, text only
    """

    clip_id: str
    source_sha256: str
    status: str
    error: str = ""
    features: np.ndarray | None = None
    times: np.ndarray | None = None
    token_ids: np.ndarray | None = None
    char_start: np.ndarray | None = None
    char_end: np.ndarray | None = None

    @property
    def transient(self) -> bool:
        """A failure that may go away by itself (timeout, crash, out of memory)."""
        return self.status == FAILED and self.error.startswith(TRANSIENT)


@dataclass
class Features:
    """A store (or one file of it) in memory.

    Attributes
    ----------
    meta : the footer: modality, encoder, dim, dtype, column_names, frame_rate, fingerprint, params, ...
    rows : by clip id
    """

    meta: dict[str, Any]
    rows: dict[str, FeatureRow]


def write_rows(path: Path, rows: Iterable[FeatureRow], meta: dict[str, Any]) -> None:
    """Write rows as one Parquet file: sorted by id, at once or not at all; equal content, equal bytes."""
    ordered = sorted(rows, key=lambda row: row.clip_id)
    dim, dtype = int(meta["dim"]), np.dtype(meta["dtype"])
    empty = np.zeros((0, dim), dtype)
    blocks = [empty if row.features is None else row.features.astype(dtype, copy=False) for row in ordered]
    counts = [len(block) for block in blocks]
    columns: dict[str, pa.Array] = {
        "clip_id": pa.array([row.clip_id for row in ordered], pa.string()),
        "source_sha256": pa.array([row.source_sha256 for row in ordered], pa.string()),
        "n_frames": pa.array(counts, pa.int32()),
        "features": _sequences(blocks, dim, dtype),
        "times": _lists([row.times for row in ordered], np.dtype("float32")),
    }
    if meta["modality"] == "text":
        for name in ("token_ids", "char_start", "char_end"):
            columns[name] = _lists([getattr(row, name) for row in ordered], np.dtype("int32"))
    columns["status"] = pa.array([row.status for row in ordered], pa.string())
    columns["error"] = pa.array([row.error for row in ordered], pa.string())
    footer = {META_KEY: json.dumps({"format": FORMAT_VERSION, **meta}, sort_keys=True).encode()}
    table = pa.table(columns).replace_schema_metadata(footer)
    row_bytes = max(1, sum(block.nbytes for block in blocks) // max(1, len(blocks)))
    # float16 stays plain: not every reader knows byte-stream-split for it
    split = {"features.list.element.list.element": "BYTE_STREAM_SPLIT"} if dtype != np.float16 else None
    with atomic_write(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=max(1, ROW_GROUP_BYTES // row_bytes),
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            column_encoding=split,
            write_statistics=["clip_id"],
            write_page_checksum=True,  # so that damaged bytes are found, not believed
        )


def read_meta(path: Path) -> dict[str, Any]:
    """The footer of a feature file, without reading its data.

    Raises
    ------
    FormatError : not Parquet, not ours, or of another format version
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: not a readable Parquet file ({error}); make it again") from error
    if META_KEY not in metadata:
        raise FormatError(
            f"{path}: a Parquet file, but not a feature file (no {META_KEY.decode()} in its footer)"
        )
    try:
        meta: dict[str, Any] = json.loads(metadata[META_KEY])
        version = meta["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: its footer is damaged ({error}); make the file again") from error
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{path}: feature format {version}, this version reads {FORMAT_VERSION}; "
            "extract it again (msa-cli stage ... --fresh)"
        )
    if lacking := [key for key in FOOTER_KEYS if key not in meta]:
        raise FormatError(f"{path}: its footer lacks {', '.join(lacking)}; make the file again")
    return meta


def read_rows(path: Path) -> Features:
    """One feature file in memory; arrays are views into Arrow's buffers.

    FormatError: see `read_meta`, or its data are damaged.
    """
    meta = read_meta(path)
    return Features(meta, {row.clip_id: row for batch in _batches(path) for row in _rows(batch, meta)})


def stream_rows(path: Path) -> Iterator[FeatureRow]:
    """The rows of one feature file in its order, by clip id, few in memory at a time; else as `read_rows`."""
    meta = read_meta(path)
    for batch in _batches(path, streamed=True):
        yield from _rows(batch, meta)


def read_ledger(path: Path) -> dict[str, FeatureRow]:
    """The rows of a file without their features: who is in it, made from what, with which status."""
    read_meta(path)
    return {
        row["clip_id"]: FeatureRow(**row) for batch in _batches(path, LEDGER) for row in batch.to_pylist()
    }


def check_data(path: Path) -> None:
    """Read everything in a file, a little at a time; FormatError where its checksums say it is damaged."""
    for _ in _batches(path, streamed=True):
        pass


def size_warning(files: Iterable[Path], shards: int) -> str:
    """That the largest of so many shards is too large, and how many would do; empty where it is not."""
    sizes = {path: path.stat().st_size for path in files}
    path = max(sizes, key=sizes.__getitem__)
    if sizes[path] <= SHARD_BYTES:
        return ""
    enough = shards * 2 ** math.ceil(math.log2(sizes[path] / SHARD_BYTES))
    return (
        f"{path} has {sizes[path] >> 20} MiB, which one new clip rewrites, expected at most "
        f"{SHARD_BYTES >> 20}; set `shards: {enough}` in params.yaml (rows move, none is recomputed)"
    )


def _rows(batch: pa.RecordBatch, meta: dict[str, Any]) -> Iterator[FeatureRow]:
    names, dim = batch.schema.names, int(meta["dim"])
    frames = batch.column("features").flatten().flatten().to_numpy(zero_copy_only=True).reshape(-1, dim)
    ends = np.cumsum(batch.column("n_frames").to_numpy())
    lists: dict[str, Any] = {
        name: _split_lists(batch.column(name))
        for name in ("times", "token_ids", "char_start", "char_end")
        if name in names
    }
    for i, row in enumerate(batch.select(LEDGER).to_pylist()):
        features = frames[ends[i - 1] if i else 0 : ends[i]] if row["status"] == OK else None
        yield FeatureRow(**row, features=features, **{name: values[i] for name, values in lists.items()})


def _batches(
    path: Path, columns: list[str] | None = None, streamed: bool = False
) -> Iterator[pa.RecordBatch]:
    """Pieces of a file; `streamed` ones are small, and no more than a row group is read ahead for them."""
    try:
        file = pq.ParquetFile(path, pre_buffer=not streamed, page_checksum_verification=True)
        yield from file.iter_batches(STREAMED_ROWS if streamed else 65_536, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: its data are damaged ({error}); make the file again") from error


def _sequences(blocks: list[np.ndarray], dim: int, dtype: np.dtype) -> pa.Array:
    """(n_i, dim) blocks as list<fixed_size_list<dtype>[dim]>."""
    if (frames := sum(map(len, blocks))) > MOST_FRAMES:
        raise FormatError(
            f"{frames} frames are too many for one file ({MOST_FRAMES} at most); raise `shards` in "
            "params.yaml"
        )
    flat = np.concatenate([block.reshape(-1) for block in blocks]) if blocks else np.zeros(0, dtype)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), dim)
    offsets = np.cumsum([0, *map(len, blocks)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), vectors)


def _lists(blocks: list[np.ndarray | None], dtype: np.dtype) -> pa.Array:
    """Vectors as list<dtype>; None stays null."""
    return pa.array(
        [None if block is None else block.astype(dtype) for block in blocks],
        pa.list_(pa.from_numpy_dtype(dtype)),
    )


def _split_lists(column: pa.ListArray) -> list[np.ndarray | None]:
    values = column.flatten().to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().fill_null(0).to_numpy()
    ends = np.cumsum(lengths)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return [values[end - n : end] if ok else None for end, n, ok in zip(ends, lengths, valid, strict=True)]
