"""Opening HDF5 files of others: everything that leads out of the file is refused before a value is read.

HDF5 can refer to other files (external links, external storage, virtual datasets), load plugins (filters),
hold references to objects that no path leads to and groups within themselves, and claim values that are
nowhere. None of that belongs to features, and each is refused with its path; a tree of groups is left.
A `h5py.Dataset` is then used as a StoredArray: `.shape`, `.dtype`, `dataset[3:5]`.
"""

from __future__ import annotations

import mmap
import posixpath
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.names import encodable, escaped
from pipeline.formats.signatures import refuse_stranger
from pipeline.formats.stored import Limits, Opened, Refused

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
MOST_OBJECTS = 2_000_000
HEAP = b"GCOL\x01\0\0\0"
OBJECT = 48  # bytes of a short text in memory, beside its letters
MOST_CHUNK = 1 << 30  # bytes that HDF5 unpacks to read one value


@contextmanager
def open_hdf5(path: Path, limits: Limits = Limits()) -> Iterator[h5py.File]:  # noqa: B008  (immutable)
    """An HDF5 file for reading, after all of it but the numbers has been checked.

    Raises
    ------
    FormatError : no HDF5 file, damaged (also while it is open), over a limit, or part of it lies elsewhere
    """
    import h5py

    refuse_stranger(path, own=SIGNATURE)
    size = Opened.path(path, limits).size
    with _no_plugins():
        try:
            with h5py.File(path, "r") as file:
                try:
                    _check_heaps(path)
                    _check(file, size, limits)
                except Refused as error:
                    raise FormatError(f"{path}: {escaped(str(error))}") from None
                yield file
        except FormatError:
            raise
        except (OSError, RuntimeError, KeyError) as error:
            if getattr(error, "errno", None) or not _from_h5py(error):
                raise  # of whoever uses the file
            reason = " ".join(str(error).split())[:160]
            raise FormatError(
                f"{path}: is not an HDF5 file, or is damaged ({reason}); copy or download it again"
            ) from error


def _check_heaps(path: Path) -> None:
    """Texts lie in heaps: where free space in one has no size, HDF5 (2.0.0) reads it for ever."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start, left = data.find(HEAP), len(data) // 16  # objects that fit in
        while start >= 0:
            at, end = start + 16, start + int.from_bytes(data[start + 8 : start + 16], "little")
            while at + 16 <= min(end, len(data)):
                size = int.from_bytes(data[at + 8 : at + 16], "little")
                step = 16 + -(-size // 8) * 8 if any(data[at : at + 2]) else size
                left -= 1
                if step == 0 or left < 0:
                    raise Refused(f"the string heap at byte {start:,} is damaged; copy or download it again")
                at += step
            start = data.find(HEAP, start + 16)


def _check(file: h5py.File, size: int, limits: Limits) -> None:
    import h5py

    datasets, soft = set[str](), list[tuple[str, str]]()
    claimed = held = 0
    for path, item in _walk(file, limits):
        if isinstance(item, h5py.SoftLink):
            soft.append((path, item.path))
        elif isinstance(item, h5py.Dataset):
            datasets.add(path)
            _check_dataset(path, item)
            claimed += item.nbytes
            if claimed > (most := limits.unpacked(size)):
                raise Refused(
                    f"{path} claims {item.shape} values of {item.dtype}: with it all values exceed {most:,} "
                    "bytes, the limit for a file of its size"
                )
            if item.dtype.hasobject and item.shape is not None:
                held += _long(path, item, size, limits.memory(size) - held)
    for path, target in soft:
        full = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if ".." in target.split("/") or full not in datasets:
            raise Refused(f"{path} is a soft link to {target[:80]!r}, which is not a dataset in the file")


def _long(path: str, dataset: h5py.Dataset, size: int, room: int) -> int:
    """Bytes of values of any length: a thousand of them may be the same place of the file."""
    found = OBJECT * dataset.size
    step = max(1, room // size)  # each is a part of the file
    for index in np.ndindex(dataset.shape[:-1]):
        for start in range(0, dataset.shape[-1] if dataset.shape else 1, step):
            if found <= room:
                part = dataset[(*index, slice(start, start + step))] if dataset.shape else dataset[()]
                found += sum(getattr(value, "nbytes", len(value)) for value in np.ravel(part))
            if found > room:
                raise Refused(f"{path} has more than {room:,} bytes of text, the limit for its size")
    return found


def _walk(group: h5py.Group, limits: Limits) -> Iterator[tuple[str, Any]]:
    """Paths with groups, datasets and soft links below a group; links are looked at, then followed."""
    import h5py

    waiting, seen, count = [(group.name, group, 0)], {h5py.h5o.get_info(group.id).addr}, 0
    while waiting:
        base, current, depth = waiting.pop()
        if depth > limits.depth:
            raise Refused(f"{base[:80]} is more than {limits.depth} groups deep, the limit")
        for name in current:
            if not isinstance(name, str) or encodable(name) != name:
                shown = ascii(name)[:80]
                raise Refused(f"{base} contains {shown}, a name that is not UTF-8; rename it")
            path = posixpath.join(base, name)
            if (count := count + 1) > min(MOST_OBJECTS, limits.objects):
                raise Refused(f"has more than {min(MOST_OBJECTS, limits.objects):,} objects, the limit")
            link = _link(current, name, path)
            if isinstance(link, h5py.SoftLink):
                yield path, link
                continue
            item = current[name]
            yield path, item
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    raise Refused(f"{path} is a link to a group elsewhere in the file; copy the data")
                seen.add(address)
                waiting.append((path, item, depth + 1))


def _link(group: h5py.Group, name: str, path: str) -> Any:
    import h5py

    try:
        link = group.get(name, getlink=True)
    except TypeError:
        raise Refused(f"{path} is a link of unknown type") from None
    if isinstance(link, h5py.ExternalLink):
        raise Refused(
            f"{path} is a link to another file ({link.filename[:80]!r}); copy the data into this one"
        )
    return link


def _check_dataset(path: str, dataset: h5py.Dataset) -> None:
    import h5py

    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        raise Refused(f"{path} is a virtual dataset built from other files; copy the data into this one")
    if plan.get_external_count():
        raise Refused(f"{path} keeps its values in another file; copy the data into this one (h5repack)")
    for index in range(plan.get_nfilters()):
        if (number := plan.get_filter(index)[0]) not in FILTERS:
            raise Refused(
                f"{path} is compressed with filter {number}, which needs a plugin; "
                "repack it (h5repack -f GZIP=4)"
            )
    try:
        dtype = dataset.dtype
    except (TypeError, ValueError) as error:  # bit fields, times and what else NumPy has not
        raise Refused(f"{path} has values of an unsupported type ({error})") from None
    inner = h5py.check_vlen_dtype(dtype)
    if any(h5py.check_ref_dtype(kind) for kind in (dtype, inner) if kind is not None):
        raise Refused(f"{path} has references to other objects instead of values")
    if dtype.hasobject and inner is None:
        raise Refused(f"{path} has values of type {str(dtype)[:80]}; expected numbers or text")
    if (chunk := prod((dtype.itemsize, *(dataset.chunks or ())))) > MOST_CHUNK:
        raise Refused(
            f"{path} is stored in chunks of {chunk:,} bytes; the limit is {MOST_CHUNK:,} (h5repack)"
        )


@contextmanager
def _no_plugins() -> Iterator[None]:
    """HDF5 looks for plugins nowhere."""
    from h5py import h5pl

    folders = [h5pl.get(index) for index in range(h5pl.size())]
    for _ in folders:
        h5pl.remove(0)
    try:
        yield
    finally:
        for folder in folders:
            h5pl.append(folder)


def _from_h5py(error: BaseException) -> bool:
    """Whether an exception was raised by HDF5 and not by the code that uses the file."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "h5py" in frames[-1].filename
