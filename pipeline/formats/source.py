"""The files of one import, opened when an importer looks at them and only once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core.errors import FormatError
from pipeline.core.files import file_hash

PICKLES = (".pkl", ".pickle", ".p", ".dat", ".joblib")
HDF5 = (".hdf5", ".h5")
MOST_FILES = 500_000  # of a folder


class Source:
    """One file, or a folder with all files below it, which is looked into once and may hold links."""

    def __init__(self, root: Path):
        if not root.exists():
            raise FormatError(f"{root}: no such file or folder")
        self.root = root
        self.folder = root if root.is_dir() else root.parent
        self._trees: dict[Path, Any] = {}

    def __str__(self) -> str:
        return str(self.root)

    @cached_property
    def files(self) -> list[Path]:
        """All files, sorted; hidden ones (`.DS_Store`, `._x`) are left out."""
        if self.root.is_file():
            return [self.root]
        found: list[Path] = []
        for folder, names in walk(self.root):
            found += [Path(folder, name) for name in names]
            if len(found) > MOST_FILES:
                raise FormatError(f"{self.root}: over {MOST_FILES} files; is it the right folder?")
        return sorted(path for path in found if path.is_file())

    def named(self, *names: str) -> Path | None:
        """The one file of any of these names (case aside), the first name that is there; None = none is."""
        for name in names:
            found = [path for path in self.files if path.name.lower() == name.lower()]
            if len(found) > 1:
                listed = ", ".join(str(path.relative_to(self.root)) for path in found)
                raise FormatError(f"{self.root}: {name} occurs {len(found)} times ({listed}); keep one")
            if found:
                return found[0]
        return None

    def place(self, name: str) -> Path:
        """Where a file that the settings name would be; FormatError outside of the folder (unseen by DVC)."""
        if (place := below(self.folder, name)) is None:
            raise FormatError(
                f"{name}: leads out of {self.root}; put the file, or a link to it, into the folder, or "
                "import it with the others"
            )
        return place

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """The files with one of these endings, e.g. `.csd`."""
        return [path for path in self.files if path.name.lower().endswith(suffixes)]

    @cached_property
    def pickle(self) -> Path | None:
        """The pickle where there is just one; None otherwise."""
        found = self.with_suffix(*PICKLES)
        return found[0] if len(found) == 1 else None

    def tree(self, path: Path) -> Any:
        """What a pickle holds, read by the allow-list reader; large arrays stay on disk."""
        if path not in self._trees:
            from pipeline.formats.pickle import load

            self._trees[path] = load(path)
        return self._trees[path]

    def hashes(self, paths: Iterable[Path]) -> dict[str, str]:
        """SHA-256 (hex) by name, relative to the folder."""
        return {path.relative_to(self.folder).as_posix(): file_hash(path) for path in sorted(paths)}


def walk(root: Path, passed_over: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Each folder below a folder, entered once and links followed, with its names; hidden ones left out.

    Parameters
    ----------
    passed_over : gets the path of what was not looked into, and why: folders that may not be listed, links
        that lead nowhere or to a folder that was entered already
    """
    missed = {} if passed_over is None else passed_over
    entered: set[str] = set()
    folders, links = [os.fspath(root)], list[str]()  # a link waits: its target may be entered by its own name
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(folder)
        if real in entered:
            missed[folder] = "a link to a folder already read"
            continue
        entered.add(real)
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda one: one.name)
        except OSError as error:
            missed[folder] = f"cannot be listed ({error.strerror}); check its permissions"
            continue
        names = []
        for entry in found:
            if entry.is_file(follow_symlinks=False):
                names.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif os.path.isdir(entry.path):
                links.append(entry.path)
            elif os.path.exists(entry.path):
                names.append(entry.name)
            else:
                missed[entry.path] = "a broken link"
        yield folder, names


def below(folder: Path, name: str) -> Path | None:
    """The place of that name in a folder; None where the name leads out of it."""
    given = PurePosixPath(name)
    return None if given.is_absolute() or ".." in given.parts else folder / given


@contextmanager
def understood(where: str) -> Iterator[None]:
    """Foreign values of another shape than their reader expects and tells of: one line, no traceback.

    It stands around the reading of such values and nothing else: what our own code does with them later is
    no damage of theirs.

    Parameters
    ----------
    where : files and kind, for the message
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # of the disk; HDF5's own, of damaged values, have no number
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise FormatError(
            f"{where}: the contents are not laid out as expected ({reason}); are they damaged, or from "
            "another version or project?"
        ) from error
