"""Pickle instructions that stand for one plain value: numbers, text and bytes.

`LITERALS` maps an instruction's code to a function of the machine (opcodes.py) that reads its argument and
gives the value. Bytes from 64 kB on are not read but become a StoredArray of uint8 at their place in the
file, which array makers take for an array's data. Text that stands for bytes (what Python 3 writes in the
protocols 0 to 2) is turned into them once, in a temporary file.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.formats.pickle.plain import BYTE, Letters
from pipeline.formats.pickle.reader import decoded
from pipeline.formats.stored import SMALL, Refused, StoredArray

if TYPE_CHECKING:
    from pipeline.formats.pickle.opcodes import Machine

NUMBER = 400  # bytes of one number, as text or not


def _number(layout: str) -> Callable[[Machine], Any]:
    """An instruction whose argument is one packed number."""
    packed = struct.Struct(layout)

    def read(machine: Machine) -> Any:
        return packed.unpack(machine.reader.take(packed.size))[0]

    return read


def _sized(layout: str, read: Callable[[Machine, int], Any]) -> Callable[[Machine], Any]:
    """An instruction whose argument is its length and so many bytes."""
    packed = struct.Struct(layout)

    def read_sized(machine: Machine) -> Any:
        (count,) = packed.unpack(machine.reader.take(packed.size))
        if count < 0:
            raise Refused(f"a length of {count} before byte {machine.reader.tell():,}; the file is damaged")
        return read(machine, count)

    return read_sized


# --------------------------------------------------------------------------------------------------- numbers
def _int(machine: Machine) -> int | bool:
    text = machine.reader.line(NUMBER)
    return text == b"01" if text in (b"00", b"01") else int(text, 0)


def _long(machine: Machine) -> int:
    return int(machine.reader.line(NUMBER).rstrip(b"L"), 0)


def _float(machine: Machine) -> float:
    return float(machine.reader.line(NUMBER))


def _packed_long(machine: Machine, count: int) -> int:
    if count > NUMBER:
        raise Refused(f"a number of {count:,} bytes at byte {machine.reader.tell():,}")
    return int.from_bytes(machine.reader.take(count), "little", signed=True)


# ---------------------------------------------------------------------------------------------------- text
def _text(machine: Machine, count: int) -> str | Letters:
    """UTF-8, with the surrogates that Python lets through."""
    if count >= SMALL and machine.expects_bytes():
        return _letters(machine, machine.reader.skip(count), count, "utf-8")
    return _taken(machine, count).decode("utf-8", "surrogatepass")


def _text_line(machine: Machine) -> str | Letters:
    """Protocol 0."""
    reader = machine.reader
    count = reader.line_end() - reader.tell()
    if count >= SMALL and machine.expects_bytes():
        value: str | Letters = _letters(machine, reader.skip(count), count, "raw-unicode-escape")
    else:
        value = _taken(machine, count).decode("raw-unicode-escape")
    reader.skip(1)
    return value


def _python2_text(machine: Machine, count: int) -> str | StoredArray:
    """A `str` of Python 2, which is text and bytes in one: Latin-1 keeps both."""
    if count >= SMALL:
        return _in_place(machine, count)
    return _taken(machine, count).decode("latin-1")


def _python2_line(machine: Machine) -> str | StoredArray:
    """The same in protocol 0: quoted, with escapes."""
    reader = machine.reader
    count = reader.line_end() - reader.tell()
    quotes = reader.peek(1) + reader.file.read(reader.tell() + count - 1, 1)
    if count < 2 or quotes not in (b"''", b'""'):
        raise Refused(f"text without quotes at byte {reader.tell():,}; the file is damaged")
    if count >= SMALL:
        found = _letters(machine, reader.skip(count) + 1, count - 2, "string-escape").array
        reader.skip(1)
        return found
    text = _taken(machine, count)[1:-1]
    reader.skip(1)
    return codecs.escape_decode(text)[0].decode("latin-1")


def _letters(machine: Machine, offset: int, count: int, coding: str) -> Letters:
    scratch = machine.space.scratch
    place, size = scratch.append(decoded(machine.space.file, offset, count, coding))
    return Letters(StoredArray(scratch, place, BYTE, (size,)))


# ---------------------------------------------------------------------------------------------------- bytes
def _raw(machine: Machine, count: int) -> bytes | StoredArray:
    return _in_place(machine, count) if count >= machine.space.small else _taken(machine, count)


def _mutable(machine: Machine, count: int) -> bytearray | StoredArray:
    return _in_place(machine, count) if count >= machine.space.small else bytearray(_taken(machine, count))


def _in_place(machine: Machine, count: int) -> StoredArray:
    return StoredArray(machine.space.file, machine.reader.skip(count), BYTE, (count,))


def _taken(machine: Machine, count: int) -> bytes:
    if count > machine.space.limits.string_bytes:
        raise Refused(
            f"text of {count:,} bytes at byte {machine.reader.tell():,}, over the limit of "
            f"{machine.space.limits.string_bytes:,}"
        )
    found = machine.reader.take(count)
    machine.space.hold(count)
    return found


LITERALS: dict[int, Callable[[Machine], Any]] = {
    code[0]: read
    for code, read in {
        pickle.NONE: lambda machine: None,
        pickle.NEWTRUE: lambda machine: True,
        pickle.NEWFALSE: lambda machine: False,
        pickle.EMPTY_LIST: lambda machine: [],
        pickle.EMPTY_DICT: lambda machine: {},
        pickle.EMPTY_SET: lambda machine: set(),
        pickle.EMPTY_TUPLE: lambda machine: (),
        pickle.INT: _int,
        pickle.LONG: _long,
        pickle.FLOAT: _float,
        pickle.BININT: _number("<i"),
        pickle.BININT1: _number("<B"),
        pickle.BININT2: _number("<H"),
        pickle.BINFLOAT: _number(">d"),
        pickle.LONG1: _sized("<B", _packed_long),
        pickle.LONG4: _sized("<i", _packed_long),
        pickle.UNICODE: _text_line,
        pickle.SHORT_BINUNICODE: _sized("<B", _text),
        pickle.BINUNICODE: _sized("<I", _text),
        pickle.BINUNICODE8: _sized("<Q", _text),
        pickle.STRING: _python2_line,
        pickle.SHORT_BINSTRING: _sized("<B", _python2_text),
        pickle.BINSTRING: _sized("<i", _python2_text),
        pickle.SHORT_BINBYTES: _sized("<B", _raw),
        pickle.BINBYTES: _sized("<I", _raw),
        pickle.BINBYTES8: _sized("<Q", _raw),
        pickle.BYTEARRAY8: _sized("<Q", _mutable),
    }.items()
}
