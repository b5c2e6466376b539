"""Files and folders that are never half written, locks between processes, hashes of files: each here alone.

What is written lies under a temporary name beside its place until it is whole and on the disk, and is then
renamed: a process that is killed at any moment leaves the old content or the new. The temporary name holds
the writer's process number, so that the orphaned child of a killed run cannot write into its successor's
file; what dead processes left there is removed by the next writer.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import FormatError, MsaError

if TYPE_CHECKING:
    import pyarrow as pa

_SUFFIX = ".tmp"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` at the end, unless there is an exception.

    The folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # its bytes are on the disk before its name is
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `out` at the end, unless there is an exception."""
    temporary = _temporary(out)
    before = temporary.with_suffix(f".old{_SUFFIX}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if out.exists():
            out.rename(before)  # removing it here could be interrupted half-way
        temporary.rename(out)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def json_hash(content: Any) -> str:
    """SHA-256 (hex) of content as JSON; the order of its keys does not count."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(content: Any, path: Path, *, sort_keys: bool = True) -> None:
    """One object as a JSON file; NaN and infinities are refused. Equal content has equal bytes."""
    text = json.dumps(content, indent=1, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_parquet(table: pa.Table, path: Path) -> None:
    """A table as a Parquet file; one that holds it stays, whichever PyArrow wrote its bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(OSError, pa.ArrowInvalid):
        there = pq.read_table(path)
        if there.equals(table) and there.schema.metadata == table.schema.metadata:
            return
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_described(path: Path, what: str, version: int, remedy: str) -> dict[str, Any]:
    """The JSON object that describes a folder; FormatError where it is none, or of another `format`.

    `what` is what the folder should be, such as "a run folder"; `remedy` how to get one.
    """
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = tree["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"{path.parent}: not {what} ({path.name}: {reason}); {remedy}") from error
    if found != version:
        raise FormatError(
            f"{path.parent}: {what} of format {found}, this version reads {version}; {remedy} again"
        )
    return tree


def rounded(tree: Any, decimals: int) -> Any:
    """Plain data with fewer decimals of its floats."""
    if isinstance(tree, dict):
        return {key: rounded(value, decimals) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value, decimals) for value in tree]
    return round(tree, decimals) if isinstance(tree, float) else tree


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(path: Path, busy: str | None = None, *, shared: bool = False) -> Iterator[None]:
    """The lock of a folder that is there, or of a file that is made if need be; it ends with its process.

    Where the file system has no locks, there is none.

    Parameters
    ----------
    busy : message of the error where another process holds it; None = wait for that process
    shared : others that share it may hold it, too

    Raises
    ------
    MsaError : another process holds it, and `busy` is given
    """
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, mode, 0o666)
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if busy is None else fcntl.LOCK_NB)
    try:
        try:
            fcntl.flock(descriptor, kind)
        except OSError as error:
            if busy is not None and error.errno in (errno.EACCES, errno.EAGAIN):
                raise MsaError(busy) from error
        yield
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    """This process' temporary name for a path; those of dead processes are removed."""
    for left in path.parent.glob(f".{escape(path.name)}.*{_SUFFIX}"):
        owner = left.name[len(path.name) + 2 :].partition(".")[0]
        if owner.isdecimal() and (int(owner) == os.getpid() or not _alive(int(owner))):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:  # someone else's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
