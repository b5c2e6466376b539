"""Files and folders that are never half written, locks between processes, hashes of files: each here alone.

What is written lies under a temporary name beside its place until it is whole and on the disk, and is then
renamed: a process that is killed at any moment leaves the old content or the new (of a folder, for the moment
between its two renames, none). The temporary name holds the writer's process number, so that the orphaned
child of a killed run cannot write into its successor's file; what dead processes left there is removed by the
next writer.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from glob import escape
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.console import note
from pipeline.core.errors import FormatError, MsaError

if TYPE_CHECKING:
    import pyarrow as pa

_SUFFIX = ".tmp"
_RUN = secrets.token_hex(4)  # tells this process from a dead one that had its number
_NUMBERS = count()  # of temporary names, so that threads do not share one
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {*_FULL, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` at the end, unless there is an exception.

    The folder is made if need be. OSError: see `writing`.
    """
    if path.exists() and not path.is_file():  # a pipe, /dev/stdout: nothing takes its place
        with writing(path):
            yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    with writing(path, temporary):
        try:
            yield temporary
            _sync(temporary)  # its bytes are on the disk before its name is
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `out` at the end, unless there is an exception.

    OSError: see `writing`.
    """
    temporary = _temporary(out)
    before = temporary.with_suffix(f".old{_SUFFIX}")
    with writing(out, temporary), _folder(temporary):
        yield temporary
        _sync(*temporary.rglob("*"), temporary)
        if out.exists():
            out.rename(before)  # removing it here could be interrupted half-way
        temporary.rename(out)
        _sync(out.parent)
        shutil.rmtree(before, ignore_errors=True)


@contextmanager
def replaced_files(folder: Path) -> Iterator[Path]:
    """As `replaced_folder`, but the new files go into `folder`, where all others stay.

    None goes there before all are on the disk.
    """
    temporary = _temporary(folder / "files")
    with writing(folder, temporary), _folder(temporary):
        yield temporary
        _sync(*temporary.iterdir())
        for file in sorted(temporary.iterdir()):
            os.replace(file, folder / file.name)
        _sync(folder)


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """What any library raises where it cannot write, as an OSError that names `path`, why, and how to fix it.

    `temporary` is the name that it is written under. Full, read-only and failing disks are meant; all other
    errors, and those that name a file elsewhere, stay as they are.
    """
    under = str(temporary or path)
    try:
        yield
    except MsaError:
        raise
    except Exception as error:
        number = _system_error(error)
        named = [getattr(error, name, None) for name in ("filename2", "filename")]
        names = [str(name) for name in named if name is not None]
        ours = [f"{path}{name.removeprefix(under)}" for name in names if name.startswith(under)]
        if number is None or (names and not ours):
            raise
        first = "free some space" if number in _FULL else "make sure that it can be written to"
        reason = f"cannot be written: {os.strerror(number)}; {first}, or write to another folder"
        raise OSError(number, reason, ours[0] if ours else str(path)) from error


def json_hash(content: Any) -> str:
    """SHA-256 (hex) of content as JSON; the order of its keys does not count."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_text(text: str, path: Path) -> None:
    """A text as a file, in UTF-8, at once or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(content: Any, path: Path, *, sort_keys: bool = True) -> None:
    """One object as a JSON file; NaN and infinities are refused. Equal content has equal bytes."""
    text = json.dumps(content, indent=1, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    write_text(text + "\n", path)


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


def read_described(
    path: Path, what: str, version: int, remedy: str, keys: Collection[str] = ()
) -> dict[str, Any]:
    """The JSON object that describes a folder; FormatError where it is none, or of another `format`.

    `what` is what the folder should be, such as "a run folder"; `remedy` how to get one; `keys`, dotted, are
    those that are read of it.
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
    if lacking := dict.fromkeys(filter(None, (_missing(tree, key) for key in keys))):
        raise FormatError(f"{path}: {', '.join(lacking)} is missing; {remedy} again")
    return tree


def _missing(tree: Any, key: str) -> str | None:
    """The first part of a dotted key under which there is nothing."""
    parts = key.split(".")
    for number, part in enumerate(parts, 1):
        if not isinstance(tree, dict) or part not in tree:
            return ".".join(parts[:number])
        tree = tree[part]
    return None


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
def one_writer(out: Path) -> Iterator[None]:
    """This process alone makes `out` and the state that belongs to it; another one waits, and says so.

    The lock is `.<name>.lock` beside `out`, which git and DVC ignore, and which is removed at the end.
    """
    file = out.absolute().with_name(f".{out.absolute().name}.lock")
    waiting = f"{out}: another process is writing it; waiting"
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        with lock(file, waiting=waiting) as descriptor:
            if not _is_file(descriptor, file):
                continue  # its holder has removed it since
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


@contextmanager
def lock(
    path: Path, busy: str | None = None, *, shared: bool = False, waiting: str | None = None
) -> Iterator[int]:
    """The lock of a folder that is there, or of a file that is made if need be; it ends with its process.

    Where the file system has no locks, there is none. The file's descriptor is given.

    Parameters
    ----------
    busy : message of the error where another process holds it; None = wait for that process
    shared : others that share it may hold it, too
    waiting : is said on stderr where that process is waited for

    Raises
    ------
    MsaError : another process holds it, and `busy` is given
    """
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    with writing(path):
        descriptor = os.open(path, mode, 0o666)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                if busy is not None:
                    raise MsaError(busy) from error
                if waiting is not None:
                    note(waiting)
                fcntl.flock(descriptor, kind)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(out: Path) -> bool:
    """Whether a process makes `out` at this moment (one_writer)."""
    file = out.absolute().with_name(f".{out.absolute().name}.lock")
    try:
        with lock(file, busy="it is") if file.exists() else nullcontext():
            return False
    except MsaError:
        return True


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """A new folder, which is removed at the end, if it is there still."""
    path.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sync(*paths: Path) -> None:
    """Put files, and the names in folders, on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with suppress(OSError) if path.is_dir() else nullcontext():  # not every file system can
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _system_error(error: BaseException | None) -> int | None:
    """The system's error number behind an error of any library, where it is one that a disk gives."""
    while error is not None:
        found = re.search(r"(?:os error|errno) (\d+)", str(error), re.IGNORECASE)
        if found is not None and int(found[1]) in _UNWRITABLE:
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None


def _temporary(path: Path) -> Path:
    """A temporary name of this process for a path; those of dead processes are removed."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)-([0-9a-f]+)-\d+(\.old)?{re.escape(_SUFFIX)}")
    for left in path.parent.glob(f".{escape(path.name)}.*{_SUFFIX}"):
        found = name.fullmatch(left.name)
        if found and (found[2] != _RUN if int(found[1]) == os.getpid() else not _alive(int(found[1]))):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}-{_RUN}-{next(_NUMBERS)}{_SUFFIX}")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:  # someone else's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
