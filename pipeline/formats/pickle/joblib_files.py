"""joblib's additions to pickles: arrays whose bytes follow their description, and compression of the whole.

joblib.dump writes a `NumpyArrayWrapper` (shape, order, dtype) where an array would be, and the array's bytes
right after it: since joblib 1.2 behind a byte that counts padding and the padding itself. The same reading of
compression serves pickles that somebody packed with gzip, bzip2 or xz.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from pipeline.formats.pickle.plain import BYTE, Name, make_array
from pipeline.formats.pickle.reader import Reader
from pipeline.formats.pickle.space import Space
from pipeline.formats.stored import PIECE, Limits, Opened, Refused, Scratch, StoredArray

ARRAYS = ("numpy.ndarray", "numpy.memmap", "numpy.matrix")
OLD = b"ZF"  # joblib before 0.10
LZ4 = b"\x04\x22\x4d\x18"


def array_of(state: Any, reader: Reader, space: Space, inner: Callable[[], Any]) -> Any:
    """The array that joblib's wrapper describes; the reader stands behind the wrapper and goes over it.

    Parameters
    ----------
    state : the wrapper's attributes; Refused where they are not as joblib writes them
    inner : reads a pickle within the pickle, which holds an array of objects
    """
    fields = state if isinstance(state, dict) else {}
    kind, shape, dtype = fields.get("subclass"), fields.get("shape"), fields.get("dtype")
    known = isinstance(kind, Name) and kind.full in ARRAYS
    if not known or not isinstance(dtype, np.dtype) or not isinstance(shape, tuple):
        raise Refused("joblib's description of an array is not as joblib writes it; the file is damaged")
    if dtype.kind == "O":
        return inner()
    if fields.get("numpy_array_alignment_bytes") is not None:
        reader.skip(reader.code())
    size = prod((dtype.itemsize, *(max(int(axis), 0) for axis in shape)))
    data: Any = reader.take(size) if size < space.small else None
    if data is None:
        data = StoredArray(space.file, reader.skip(size), BYTE, (size,))
    return make_array(space, data, dtype, shape, fortran=fields.get("order") == "F")


def unpacked(file: Opened, limits: Limits) -> Opened:
    """The file, or a temporary one with what it holds unpacked; Refused where it is damaged or too large."""
    head = file.read(0, 6)
    if head.startswith(OLD):
        raise Refused("was written by joblib before 0.10; load it with that joblib and save it again")
    if head.startswith(LZ4):
        raise Refused("is compressed with LZ4; save it again with joblib.dump(..., compress='gzip')")
    make = _decompressor(head)
    if make is None:
        return file
    scratch = Scratch(file.name, limits.unpacked(file.size))
    try:
        scratch.append(_pieces(file, make))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Refused(f"is compressed and damaged ({error}); copy or download it again") from error
    return scratch


class _Zlib:
    """zlib and gzip with the face of the other decompressors: output is bounded at every step."""

    def __init__(self, window: int):
        self._inner, self._rest = zlib.decompressobj(window), b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._rest

    def decompress(self, data: bytes, most: int) -> bytes:
        found = self._inner.decompress(self._rest + data, most)
        self._rest = self._inner.unconsumed_tail
        return found


def _decompressor(head: bytes) -> Callable[[], Any] | None:
    if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        return lambda: _Zlib(zlib.MAX_WBITS)
    if head.startswith(b"\x1f\x8b"):
        return lambda: _Zlib(zlib.MAX_WBITS | 16)
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    if head.startswith(b"\xfd7zXZ\x00") or head.startswith(b"\x5d\x00"):
        # the dictionary may be as large as the file says; the limit is that of xz -9 twice over
        return lambda: lzma.LZMADecompressor(memlimit=256 << 20)
    return None


def _pieces(file: Opened, make: Callable[[], Any]) -> Iterator[bytes]:
    """What the streams of a file unpack to, a piece at a time."""
    stream, offset, data = make(), 0, b""
    while True:
        if stream.eof:
            data = stream.unused_data + data
            if not data and not (data := file.read(offset, PIECE)):
                return
            offset, stream = offset + (0 if stream.unused_data else len(data)), make()
        elif stream.needs_input and not data:
            data = file.read(offset, PIECE)
            if not data:
                raise EOFError("it is cut off")
            offset += len(data)
        piece = stream.decompress(data, PIECE)
        data = b""
        if piece:
            yield piece
