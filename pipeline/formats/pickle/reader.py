"""The bytes of a pickle from front to back: a window that moves over a file, never the whole of it."""

from __future__ import annotations

import codecs
import pickle
import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.stored import PIECE, Opened, Refused

WINDOW = 1 << 20  # bytes that are read at a time
FLOAT_BYTES = 9  # the instruction G and a big-endian double
BATCH = 1024  # floats that are looked at together; pickles write lists in batches of 1000
ESCAPED = re.compile(rb"(?:[^\\]+|\\x[0-9a-fA-F]{2}|\\[^x])*")  # whole characters of a Python 2 text


class FloatRun(NamedTuple):
    """Floats that follow each other.

    Attributes
    ----------
    offset : of the first one's instruction in the file
    floats : how many
    """

    offset: int
    floats: int


class Reader:
    """Reads an opened file from a place on; every method raises Refused where it ends before.

    Parameters
    ----------
    end : behind its last byte; None = the whole file is read
    """

    def __init__(self, file: Opened, offset: int = 0, end: int | None = None):
        self.file, self.size = file, file.size if end is None else end
        self._window, self._start, self._place = b"", offset, 0

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._start + self._place

    def seek(self, offset: int) -> None:
        """Go on at another place."""
        if self._start <= offset <= self._start + len(self._window):
            self._place = offset - self._start
        else:
            self._window, self._start, self._place = b"", offset, 0

    def code(self) -> int:
        """The next byte."""
        place = self._place
        if place >= len(self._window):
            self._need(1)
            place = 0
        self._place = place + 1
        return self._window[place]

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self._place + count
        if end > len(self._window):
            self._need(count)
            end = count
        found = self._window[end - count : end]
        self._place = end
        return found

    def skip(self, count: int) -> int:
        """Go over bytes that are left in the file; their offset."""
        offset = self.tell()
        if count > self.size - offset:
            raise Refused(self._ended(count))
        self.seek(offset + count)
        return offset

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay; fewer only at the end of the file."""
        if self._place + count > len(self._window):
            self._refill(count)
        return self._window[self._place : self._place + count]

    def line(self, limit: int) -> bytes:
        """Up to the next line feed, without it; Refused where that is over `limit` bytes or has no end."""
        count = 256
        while True:
            found = self.peek(min(count, limit + 1))
            if (end := found.find(b"\n")) >= 0:
                self._place += end + 1
                return found[:end]
            if len(found) > limit:
                raise Refused(f"a line of more than {limit:,} bytes at byte {self.tell():,}")
            if len(found) < count:
                raise Refused(self._ended(1))
            count *= 16

    def line_end(self) -> int:
        """Offset of the next line feed, however far it is; the place stays."""
        offset = self.tell()
        while piece := self.file.read(offset, WINDOW):
            if (end := piece.find(b"\n")) >= 0:
                return offset + end
            offset += len(piece)
        raise Refused(self._ended(1))

    def floats(self) -> FloatRun | None:
        """The float instructions that come next, gone over but not read."""
        offset = self.tell()
        count = 0
        while True:
            codes = self.peek(BATCH * FLOAT_BYTES)[::FLOAT_BYTES]
            found = len(codes) - len(codes.lstrip(b"G"))
            inside = min(found, (len(self._window) - self._place) // FLOAT_BYTES)  # the last may be cut
            self._place += inside * FLOAT_BYTES
            count += inside
            if inside < BATCH:
                return FloatRun(offset, count) if count else None

    def batches(self) -> list[FloatRun]:
        """Batches of floats that fill a list, gone over; nothing is taken unless they end with APPENDS."""
        runs = list[FloatRun]()
        while True:
            start = self.tell()
            batch = list[FloatRun]()
            while True:
                if run := self.floats():
                    batch.append(run)
                elif batch and self.peek(1) == pickle.FRAME:
                    self.skip(9)
                else:
                    break
            if not batch or self.peek(1) != pickle.APPENDS:
                self.seek(start - (1 if runs else 0))  # back to the mark, or behind the one already read
                return runs
            self.skip(1)
            runs += batch
            following = self.peek(10)
            if following[:2] == pickle.MARK + pickle.BINFLOAT:
                self.skip(1)
                continue
            if following[:1] == pickle.BINFLOAT and following[9:] == pickle.APPEND:  # a last one by itself
                runs.append(FloatRun(self.tell(), 1))
                self.skip(10)
            return runs

    def _need(self, count: int) -> None:
        if count > self.size - self.tell():
            raise Refused(self._ended(count))
        self._refill(count)

    def _refill(self, count: int) -> None:
        self._start, self._place = self.tell(), 0
        self._window = self.file.read(self._start, min(max(count, WINDOW), self.size - self._start))

    def _ended(self, count: int) -> str:
        return (
            f"is cut off: {count:,} more bytes should follow byte {self.tell():,} of {self.size:,}; "
            "copy or download it again"
        )


def decoded(file: Opened, offset: int, count: int, coding: str) -> Iterator[bytes]:
    """The bytes that a text stands for, each character one byte, a piece at a time.

    Parameters
    ----------
    coding : `utf-8`, `raw-unicode-escape` (protocol 0) or `string-escape` (protocol 0 of Python 2)

    Raises
    ------
    Refused : a character is no byte
    """
    decode = _unescape if coding == "string-escape" else codecs.getincrementaldecoder(coding)().decode
    rest = b""
    for start in range(offset, offset + count, PIECE):
        size = min(PIECE, offset + count - start)
        piece, final = rest + file.read(start, size), start + size == offset + count
        if coding == "string-escape" and not final:
            end = ESCAPED.match(piece).end()  # type: ignore[union-attr]  # matches at least nothing
            piece, rest = piece[:end], piece[end:]
        try:
            yield decode(piece, final).encode("latin-1")
        except UnicodeError as error:
            raise Refused(
                f"bytes written as text have a character that is not a byte, near byte {start:,}"
            ) from error


def _unescape(piece: bytes, final: bool) -> str:
    return codecs.escape_decode(piece)[0].decode("latin-1")
