"""Rows of numbers on the disk, end to end, for what is larger than memory: added once, read at any place."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from pipeline.core.files import writing

BUFFER = 1 << 20  # bytes that are written at once


class RowFile:
    """A file of rows of one width and type, without a name: it is gone with its process, however that ends.

    Parameters
    ----------
    folder : where there is room for it; the system's folder for temporary files where it is read-only
    dtype, shape : of one row
    """

    def __init__(self, folder: Path, dtype: np.dtype, shape: tuple[int, ...] = ()):
        self.dtype, self.shape = np.dtype(dtype), shape
        self.rows = 0
        self._folder = folder
        self._row_bytes = self.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        writable = os.access(folder, os.W_OK)
        with writing(folder):
            self._file = tempfile.TemporaryFile(buffering=BUFFER, dir=folder if writable else None)  # noqa: SIM115

    def add(self, rows: np.ndarray) -> None:
        """Put rows (n, ...) behind the others."""
        with writing(self._folder):
            self._file.write(np.ascontiguousarray(rows, self.dtype))
        self.rows += len(rows)

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill `out`, contiguous (n, ...) of this type, with the rows from `start` on; from any thread."""
        with writing(self._folder):
            self._file.flush()
        view, place = memoryview(out.reshape(-1).view(np.uint8).data), start * self._row_bytes
        while len(view):  # one call reads 2 GB at most
            done = os.preadv(self._file.fileno(), [view], place)
            assert done, f"{self.rows} rows, asked for {len(out)} from {start} on"
            view, place = view[done:], place + done
