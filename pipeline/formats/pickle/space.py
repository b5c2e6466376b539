"""What loading one pickle may use: memory in proportion to the file, instructions, a temporary file.

Python's objects are larger than what writes them: an empty dict is one byte of a pickle and 64 bytes of
memory. So every instruction counts with what it leaves behind, as if nothing were freed until the end: what
pickles remember is not.
"""

from __future__ import annotations

import pickle
from functools import cached_property

from pipeline.formats.stored import SMALL, Limits, Opened, Refused, Scratch

TINY = 1 << 10  # bytes from which an array stays in the file, once small ones have filled MUCH
MUCH = 128 << 20
POINTER = 8
ENTRY = 64  # bytes of an item of a dict or set beside the objects
UNFINISHED = 320  # bytes of what is made in two steps, before the second
COSTS = [POINTER] * 256
"""bytes of memory that an instruction takes; the characters of text, the bytes of arrays ... come on top"""
for cost, codes in {
    0: (pickle.STOP, pickle.PROTO, pickle.FRAME, pickle.POP, pickle.POP_MARK),
    40: (pickle.BININT, pickle.BININT2, pickle.BINFLOAT, pickle.INT, pickle.FLOAT, pickle.LONG1, pickle.LONG),
    48: (
        pickle.REDUCE,
        pickle.NEWOBJ,
        pickle.LONG4,
        pickle.SHORT_BINBYTES,
        pickle.BINBYTES,
        pickle.BINBYTES8,
    ),
    64: (pickle.EMPTY_LIST, pickle.MARK, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    72: (pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8, pickle.UNICODE, pickle.BYTEARRAY8),
    80: (pickle.SHORT_BINSTRING, pickle.BINSTRING, pickle.STRING, pickle.EMPTY_DICT, pickle.DICT),
    128: (pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.SETITEM, pickle.SETITEMS),
    240: (pickle.EMPTY_SET, pickle.FROZENSET),
}.items():
    for code in codes:
        COSTS[code[0]] = cost


class Space:
    """What loading one file may use (`most` bytes of memory, `unpacked` of data), and what it has used.

    Parameters
    ----------
    file : whose bytes arrays refer to
    size : bytes that count at most, where what is read was packed
    """

    def __init__(self, file: Opened, limits: Limits, size: int | None = None):
        self.file, self.limits = file, limits
        counted = file.size if size is None else min(size, file.size)
        self.most, self.unpacked = limits.memory(counted), limits.unpacked(counted)
        self.held = 0  # bytes in memory
        self.done = 0  # instructions

    @cached_property
    def scratch(self) -> Scratch:
        """The temporary file, made when it is first needed."""
        return Scratch(self.file.name, self.unpacked)

    @property
    def small(self) -> int:
        """Bytes from which an array stays in the file."""
        return SMALL if self.held < MUCH else TINY

    def hold(self, count: int) -> None:
        """Count bytes that are kept in memory; Refused over the limit."""
        self.held += count
        if self.held > self.most:
            raise Refused(
                f"needs more than {self.most:,} bytes of memory, the limit for a file of its size; save "
                "lists as NumPy arrays"
            )
