"""Reading .npy and .npz: arrays of plain values, which stay in the file where it is not compressed.

Arrays from 64 kB on are StoredArrays: uncompressed ones in their place in the file, compressed ones unpacked
once into a temporary file. Arrays of objects hold a pickle: each is a `PickledArray`, which the allow-list
reader of `pickle` reads when it is asked for. Structured arrays are refused by name; nothing is ever unpacked
under a name that the archive chooses.
"""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.formats.pickle import load_part
from pipeline.formats.pickle.space import Space
from pipeline.formats.signatures import refuse_stranger
from pipeline.formats.stored import (
    PIECE,
    SMALL,
    Limits,
    Opened,
    Refused,
    Scratch,
    StoredArray,
    check_dtype,
    check_size,
    native,
)

HEADER = 16_384  # bytes; those of plain arrays have 128
MOST_MEMBERS = 100_000
DIRECTORY = 16 << 20  # bytes of the list of members
MOST_RATIO = 1100  # DEFLATE cannot pack tighter than 1032 to 1, so members that claim more share their bytes
LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a ZIP's member: signature, lengths of its name and extras
HEADER_DAMAGE = (  # NumPy takes the header for a Python literal
    ValueError,
    TypeError,
    SyntaxError,
    OverflowError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error)


@dataclass(frozen=True)
class PickledArray:
    """An array of objects, not looked into yet.

    Attributes
    ----------
    where : the file and the member, for messages
    file, start, end : where its pickle lies
    space : what reading may use, of all arrays of the file together
    """

    where: str
    file: Opened
    start: int
    end: int
    space: Space

    def tree(self) -> Any:
        """Plain data, (nested) lists in place of the array; FormatError where it is more than that."""
        self.space.file = self.file
        return load_part(self.where, self.space, self.start, self.end)


Stored = np.ndarray | StoredArray | PickledArray


def load_npy(path: Path, limits: Limits = Limits()) -> Stored:  # noqa: B008  (immutable)
    """The array of a .npy file.

    Raises
    ------
    FormatError : no .npy file, damaged, or over a limit
    """
    refuse_stranger(path, own=b"\x93NUMPY")
    file = Opened.path(path, limits)
    try:
        return _array(file, 0, file.size, str(path), Space(file, limits))
    except Refused as error:
        raise FormatError(f"{path}: {error}") from None


def load_npz(path: Path, limits: Limits = Limits()) -> dict[str, Stored]:  # noqa: B008  (immutable)
    """The arrays of a .npz file by name, in the file's order.

    Raises
    ------
    FormatError : no .npz file, damaged, over a limit, or a member is no plain array
    """
    refuse_stranger(path, own=b"PK\x03\x04")
    file = Opened.path(path, limits)
    arrays: dict[str, Stored] = {}
    scratch, space = Scratch(str(path), limits.unpacked(file.size)), Space(file, limits)
    try:
        with _Archive(path) as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_members(members, file.size, limits)
            for member in members:
                try:
                    name, array = _member(archive, member, file, scratch, space)
                except Refused as error:
                    raise Refused(f"member {member.filename[:80]!r}: {error}") from None
                if name in arrays:
                    raise Refused(f"has {name[:80]!r} twice")
                arrays[name] = array
                space.hold(array.nbytes if isinstance(array, np.ndarray) else 0)
    except Refused as error:
        raise FormatError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise FormatError(f"{path}: is damaged ({str(error)[:120]}); copy or download it again") from error
    return arrays


class _Archive(io.FileIO):
    """A file of which no list of members is read that would be thirty times as large in memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY:
            raise Refused(f"has a member list of {size:,} bytes; the limit is {DIRECTORY:,}")
        return super().read(size)


def _check_members(members: list[zipfile.ZipInfo], size: int, limits: Limits) -> None:
    """What the directory of the archive says, before anything is read."""
    if len(members) > min(MOST_MEMBERS, limits.objects):
        raise Refused(f"has {len(members):,} members, over the limit of {MOST_MEMBERS:,}")
    total = sum(member.file_size for member in members)
    if total > (most := limits.unpacked(size)):
        raise Refused(f"unpacks from {size:,} bytes to {total:,}, over the limit of {most:,}")
    if total > MOST_RATIO * size:
        raise Refused(f"claims to unpack from {size:,} bytes to {total:,}; no array compresses that well")
    for member in members:
        name = member.filename
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise Refused(f"has a member named {name[:80]!r}, which leads out of it")
        if not name.endswith(".npy"):
            raise Refused(f"contains {name[:80]!r}, which is not an array; is it an archive to unpack first?")
        if member.flag_bits & 1:
            raise Refused(f"member {name[:80]!r} is encrypted; save it without a password")
        if not 0 <= member.header_offset < size:
            raise Refused(f"member {name[:80]!r} is not where the archive says; the file is damaged")


def _member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Opened, scratch: Scratch, space: Space
) -> tuple[str, Stored]:
    name = member.filename.removesuffix(".npy")
    where = f"{file.name}: member {member.filename[:80]!r}"
    if member.compress_type == zipfile.ZIP_STORED:
        signature, named, extra = LOCAL_HEADER.unpack(file.read(member.header_offset, LOCAL_HEADER.size))
        offset = member.header_offset + LOCAL_HEADER.size + named + extra
        if signature != b"PK\x03\x04" or offset + member.file_size > file.size:
            raise Refused("is not where the archive says; the file is damaged")
        return name, _array(file, offset, member.file_size, where, space)
    scratch.expect(member.file_size)
    with archive.open(member) as stream:
        offset, size = scratch.append(_pieces(stream, member.file_size))
    return name, _array(scratch, offset, size, where, space)


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """The unpacked bytes, no more than were declared; reading to the end compares the checksum."""
    while piece := stream.read(PIECE):
        size -= len(piece)
        if size < 0:
            raise Refused("unpacks to more than the archive says; the file is damaged")
        yield piece


def _array(file: Opened, offset: int, size: int, where: str, space: Space) -> Stored:
    """The .npy data at a place of a file."""
    head = io.BytesIO(file.read(offset, min(size, HEADER)))
    try:
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise Refused(f"has .npy version {version[0]}.{version[1]}; structured arrays are not supported")
        header_of = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, fortran, dtype = header_of(head, max_header_size=HEADER)
    except Refused:
        raise
    except HEADER_DAMAGE as error:
        reason = " ".join(str(error).split())[:100]
        raise Refused(f"is not .npy data, or its header is damaged ({reason})") from None
    start = head.tell()
    if dtype.kind == "O":
        return PickledArray(where, file, offset + start, offset + size, space)
    check_dtype(dtype)
    check_size(dtype, shape, size - start)
    if not shape or prod(shape) * dtype.itemsize < SMALL:
        data = io.BytesIO(file.read(offset, size))
        return native(np.lib.format.read_array(data, allow_pickle=False, max_header_size=HEADER))
    large = StoredArray(file, offset + start, dtype, shape[::-1] if fortran else shape)
    if not fortran or len(shape) == 1:
        return large
    own = file if isinstance(file, Scratch) else Scratch(file.name, 2 * size)
    return large.transposed(tuple(range(len(shape)))[::-1], own)
