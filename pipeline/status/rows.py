"""Which clips differ between two states of Parquet files that have a row a clip.

Rows are read in batches and kept as hashes, so that memory does not grow with what is in them. Values are
compared: how they lie in files, and what the footers say, makes no difference here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.params.explain import some_of

CLIP = "clip_id"
BATCH = 256  # rows
HASH = 8  # bytes of a value's hash


@dataclass(frozen=True)
class ClipHashes:
    """A clip's row: the file that it is in, and a hash of each of its columns."""

    file: str
    columns: tuple[str, ...]
    hashes: tuple[bytes, ...]


def row_changes(old: Mapping[str, Path | bytes], new: Mapping[str, Path | bytes]) -> list[str]:
    """`1 clip added (v$_$99)`, `2 clips changed in text (a, b)`, `1 clip moved from train to test (a)`.

    Empty where the files have no rows of clips, or several of one, or lie in folders, as predictions of runs
    do; ArrowException: one is no Parquet file.

    Parameters
    ----------
    old, new : files by their names; those that are the same on both sides may be left out
    """
    if any("/" in name for name in (*old, *new)):
        return []
    rows = [[pair for name, file in side.items() for pair in _rows(name, file)] for side in (old, new)]
    before, after = map(dict, rows)
    if not any(rows) or [len(before), len(after)] != [*map(len, rows)]:
        return []
    words = [
        _words("added", [clip for clip in after if clip not in before]),
        _words("removed", [clip for clip in before if clip not in after]),
    ]
    moved: dict[str, list[str]] = {}
    changed: dict[str, list[str]] = {}
    for clip, row in after.items():
        if (was := before.get(clip)) is None:
            continue
        if was.file != row.file:
            moved.setdefault(f"from {_stem(was.file)} to {_stem(row.file)}", []).append(clip)
        values, those = (dict(zip(one.columns, one.hashes, strict=True)) for one in (row, was))
        if columns := [name for name in {**those, **values} if those.get(name) != values.get(name)]:
            changed.setdefault(some_of(columns), []).append(clip)
    words += [_words(f"moved {way}", clips) for way, clips in moved.items()]
    words += [_words(f"changed in {columns}", clips) for columns, clips in changed.items()]
    return [one for one in words if one] or ["the same rows, stored differently"]


def _words(what: str, clips: list[str]) -> str:
    return f"{len(clips)} clip{'s' * (len(clips) > 1)} {what} ({some_of(clips)})" if clips else ""


def _stem(file: str) -> str:
    return PurePosixPath(file).stem


def _rows(name: str, file: Path | bytes) -> Iterator[tuple[str, ClipHashes]]:
    with pq.ParquetFile(BytesIO(file) if isinstance(file, bytes) else file) as opened:
        columns = tuple(opened.schema_arrow.names)
        if CLIP not in columns:
            return
        for batch in opened.iter_batches(BATCH):
            hashes = zip(*(_hashes(column) for column in batch.columns), strict=True)
            for clip, row in zip(batch.column(CLIP).to_pylist(), hashes, strict=True):
                yield clip, ClipHashes(name, columns, row)


def _hashes(column: pa.Array) -> Iterator[bytes]:
    for place in range(len(column)):
        digest = hashlib.blake2b(digest_size=HASH)
        for part in _parts(column.slice(place, 1)):
            digest.update(part)
        yield digest.digest()


def _parts(values: pa.Array) -> Iterator[bytes]:
    """Bytes of values and of everything in them; NaN is equal to itself."""
    kind = values.type
    yield repr(values.is_valid().to_pylist() if values.null_count else len(values)).encode()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield repr(values.value_lengths().to_pylist()).encode()
        yield from _parts(values.flatten())
    elif pa.types.is_fixed_size_list(kind):
        yield from _parts(values.flatten())
    elif pa.types.is_struct(kind):
        for part in values.flatten():
            yield from _parts(part)
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        yield values.drop_null().to_numpy(zero_copy_only=False).tobytes()
    else:
        yield repr(values.to_pylist()).encode()
