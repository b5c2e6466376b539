"""Arrays that stay in their file: rows are read when they are asked for; no file has to fit in memory.

A `StoredArray` is a place in a file (offset in bytes, data type, shape in C order). Rows are read with
`preadv` straight into a fresh array, not through a memory map: what was read never counts as memory of this
process twice, and a file that shrinks meanwhile is an error and not a crash.
Bytes that a file does not hold as such (compressed, or written as text) are decoded once into a `Scratch`,
a temporary file without a name that goes with the last array that lies in it.
"""

from __future__ import annotations

import operator
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError

KINDS = "biufcSU"  # what an array may hold: bool, int, uint, float, complex, bytes, text
PIECE = 1 << 20  # bytes that are copied at a time
SMALL = 1 << 16  # bytes; arrays from here on stay in the file
MOST_AXES = 32
MOST_EMPTY = 10_000_000  # rows of an array that holds nothing; somebody may count them one by one
MOST_BYTES = 1 << 60  # of any array: NumPy's own arithmetic stays far from its edges


@dataclass(frozen=True)
class Limits:
    """How much of a foreign file is read before it is refused; the defaults leave room for every known set.

    Attributes
    ----------
    file_bytes : size of the file
    decoded_bytes : what is unpacked into temporary files, and the values of all arrays counted as often as
        they are referred to; never more than `unpacked` of the file's size
    memory_bytes : objects, text, bytes and small arrays that are kept in memory; nor than `memory`
    unpacked_floor, memory_floor : what the smallest file may use of both
    objects : instructions of a pickle, members of an archive, objects of an HDF5 file
    depth : containers within containers
    memo : highest number under which a pickle may remember an object
    string_bytes : one text
    items : items of one container
    """

    file_bytes: int = 128 << 30
    decoded_bytes: int = 64 << 30
    memory_bytes: int = 2 << 30
    unpacked_floor: int = 256 << 20
    memory_floor: int = 64 << 20
    objects: int = 20_000_000
    depth: int = 100
    memo: int = 20_000_000
    string_bytes: int = 64 << 20
    items: int = 10_000_000

    def unpacked(self, size: int) -> int:
        """Most bytes that a file of so many may unpack to or stand for; padding packs well."""
        return min(self.decoded_bytes, self.unpacked_floor + 100 * size)

    def memory(self, size: int) -> int:
        """Most bytes of memory for a file of so many; a list of small dicts takes twenty times its pickle."""
        return min(self.memory_bytes, self.memory_floor + 24 * size)


class Refused(ValueError):
    """What is wrong in a file, without its name; whoever opened the file makes a FormatError of it."""


class Opened:
    """A file descriptor for reading at places; closed with the last object that refers to it.

    Attributes
    ----------
    name : the file, for messages
    """

    def __init__(self, descriptor: int, name: str):
        self.descriptor, self.name = descriptor, name
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def path(cls, path: Path, limits: Limits) -> Opened:
        """A file of the user; FormatError where it may not be read, is no regular file or too large."""
        try:
            if not path.is_file():
                raise FormatError(f"{path}: is not a file; give the path of a feature file")
            opened = cls(os.open(path, os.O_RDONLY), str(path))
        except OSError as error:
            raise FormatError(f"{path}: cannot be read ({error.strerror})") from error
        if opened.size > limits.file_bytes:
            raise FormatError(f"{path}: {opened.size:,} bytes are over the limit of {limits.file_bytes:,}")
        return opened

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.descriptor).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at a place; fewer only at the end of the file."""
        return os.pread(self.descriptor, count, offset)

    def fill(self, target: memoryview, offset: int) -> None:
        """Read as many bytes as `target` holds; FormatError where the file ends before."""
        while target:
            count = os.preadv(self.descriptor, [target], offset)
            if not count:
                raise FormatError(f"{self.name}: ends inside an array; was it changed while being read?")
            target, offset = target[count:], offset + count


class Scratch(Opened):
    """A temporary file without a name, to which decoded bytes are appended.

    Parameters
    ----------
    name : the file that is decoded, for messages
    limit : most bytes it may hold
    """

    def __init__(self, name: str, limit: int):
        descriptor, path = tempfile.mkstemp(prefix="msa-import-")
        os.unlink(path)
        super().__init__(descriptor, name)
        self.limit, self.end = limit, 0

    def expect(self, count: int) -> None:
        """Refuse now what would not fit later: over the limit, or over the room on the disk."""
        if self.end + count > self.limit:
            raise Refused(f"unpacks to more than {self.limit:,} bytes, the limit")
        if count > (room := shutil.disk_usage(tempfile.gettempdir()).free):
            raise Refused(
                f"needs {count:,} bytes for temporary files, and {tempfile.gettempdir()} has {room:,}; set "
                "TMPDIR to a folder with more space"
            )

    def append(self, pieces: Iterable[bytes | memoryview]) -> tuple[int, int]:
        """Write pieces one after another; offset and number of their bytes. Refused: see `expect`."""
        start = self.end
        for piece in pieces:
            self.expect(len(piece))
            view = memoryview(piece)
            while view:
                written = os.pwrite(self.descriptor, view, self.end)
                view, self.end = view[written:], self.end + written
        return start, self.end - start


class StoredArray:
    """An array that lies in a file.

    `len(array)`, `array[row]`, `array[start:stop:step]` and `np.asarray(array)` give fresh NumPy arrays in
    native byte order; `array[row]` of an array of one axis is a NumPy scalar.

    Parameters
    ----------
    file, offset : where its first byte lies
    record : data type in the file; one with the field `value` where other bytes lie between the values
    shape : in C order, with at least one axis

    Attributes
    ----------
    shape : items along each axis
    dtype : of the values, native byte order
    """

    __slots__ = ("_file", "_offset", "_record", "dtype", "shape")

    def __init__(self, file: Opened, offset: int, record: np.dtype, shape: tuple[int, ...]):
        self._file, self._offset, self._record = file, offset, record
        self.shape = shape
        self.dtype = (record["value"] if record.names else record).newbyteorder("=")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values in memory."""
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"StoredArray({self.dtype}, {self.shape}, {Path(self._file.name).name})"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice) -> Any:
        if not isinstance(key, slice):
            row = operator.index(key)
            row += len(self) if row < 0 else 0
            if not 0 <= row < len(self):
                raise IndexError(f"row {key} of {len(self)}")
            return self._read(row, row + 1)[0]
        rows = range(len(self))[key]
        if not rows:
            return np.zeros((0, *self.shape[1:]), self.dtype)
        if abs(rows.step) == 1:
            return self._read(min(rows), max(rows) + 1)[:: rows.step]
        return np.stack([self._read(row, row + 1)[0] for row in rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self._read(0, len(self))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _read(self, start: int, stop: int) -> np.ndarray:
        shape = (stop - start, *self.shape[1:])
        row = prod(self.shape[1:]) * self._record.itemsize
        records = np.empty(shape, self._record)
        if records.nbytes:
            self._file.fill(records.reshape(-1).view(np.uint8).data, self._offset + start * row)
        try:
            return native(records["value"] if self._record.names else records)
        except Refused as error:
            raise FormatError(f"{self._file.name}: {error}") from None

    def as_type(self, dtype: np.dtype, shape: tuple[int, ...]) -> StoredArray:
        """The same bytes as another array; Refused where it has more or fewer bytes."""
        check_size(dtype, shape, self.nbytes)
        return StoredArray(self._file, self._offset, dtype, shape)

    def transposed(self, axes: tuple[int, ...], scratch: Scratch) -> StoredArray:
        """`np.transpose` in a file of its own; at most an eighth of the array is in memory.

        Every pass over the file keeps a block of the future rows, so that it is read at most eight times,
        from the front, whatever the shape.
        """
        kept, shape = axes[0], tuple(self.shape[axis] for axis in axes)
        before, after = prod(self.shape[:kept]), prod(self.shape[kept + 1 :])
        block = max(1, -(-shape[0] // 8), PIECE * shape[0] // max(self.nbytes, 1))
        offset = scratch.end
        scratch.expect(self.nbytes)
        for first in range(0, shape[0], block):
            width = min(block, shape[0] - first)
            rows = self._columns(before, first * after, width * after)
            rows = rows.reshape(*self.shape[:kept], width, *self.shape[kept + 1 :])
            for row in rows.transpose(axes):
                scratch.append([np.ascontiguousarray(row).reshape(-1).view(np.uint8).data])
        return StoredArray(scratch, offset, self.dtype, shape)

    def _columns(self, lines: int, first: int, width: int) -> np.ndarray:
        """Columns of the array seen as (lines, items): (lines, width)."""
        found = np.empty((lines, width), self.dtype)
        items = self.size // lines
        if items * self.dtype.itemsize > PIECE:  # long lines: a read for each
            for index in range(lines):
                place = self._offset + index * items * self._record.itemsize
                line = StoredArray(self._file, place, self._record, (items,))
                found[index] = line[first : first + width]
            return found
        table = StoredArray(self._file, self._offset, self._record, (lines, items))
        step = PIECE // (items * self.dtype.itemsize)
        for index in range(0, lines, step):
            found[index : index + step] = table[index : index + step][:, first : first + width]
        return found


def native(values: np.ndarray) -> np.ndarray:
    """Values in native byte order; bools and code points, where NumPy trusts the bytes, are checked."""
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind == "b" and values.size:
        return np.asarray(values.view(np.uint8) != 0)  # a bool of 2 is neither true nor false
    if values.dtype.kind == "U" and values.nbytes:
        points = np.ascontiguousarray(values).reshape(-1).view(np.uint32)
        if points.max() > 0x10FFFF:
            raise Refused("a text array has invalid Unicode; the file is damaged")
    return values


def check_size(dtype: np.dtype, shape: tuple[int, ...], count: int) -> None:
    """Refuse an array of impossible axes, or whose dtype and shape do not need just `count` bytes."""
    size = prod(max(axis, 1) for axis in shape) * max(dtype.itemsize, 1)
    if len(shape) > MOST_AXES or size > MOST_BYTES or bool in map(type, shape):  # NumPy takes True for 1
        raise Refused(f"an array with the impossible shape {str(shape)[:80]}")
    if min(shape, default=0) < 0:
        raise Refused(f"an array with a negative axis: {shape}")
    if 0 in shape and prod(max(axis, 1) for axis in shape) > MOST_EMPTY:
        raise Refused(f"an empty array with the shape {shape}")
    if (wanted := prod(shape) * dtype.itemsize) != count:
        raise Refused(f"an array of {dtype} and shape {shape} needs {wanted:,} bytes, but has {count:,}")


def check_dtype(dtype: np.dtype) -> np.dtype:
    """A data type of plain values; Refused where it is structured, objects, times or anything else."""
    if dtype.kind not in KINDS or dtype.names or dtype.subdtype or dtype.metadata:
        raise Refused(
            f"an array of {str(dtype)[:80]}, which is not supported; save plain numbers, bools or text "
            "instead"
        )
    return dtype
