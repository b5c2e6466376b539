"""Links in data/raw to corpora and feature files that lie elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core.errors import ParamsError

RAW = Path("data/raw")
ELSE = "choose another --name, or remove it"


@contextmanager
def linked(name: str, paths: Sequence[Path]) -> Iterator[Path]:
    """data/raw/<name> as a link to one folder, or a folder of links to files; the same links again are fine.

    If what is done with it fails, the links that were made are removed again.

    Raises
    ------
    ParamsError : a path does not exist, two have one name, or something else lies in that place
    """
    made: list[Path] = []
    try:
        yield _place(RAW / name, paths, made)
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):  # a folder in which something else lies by now
                path.unlink() if path.is_symlink() else path.rmdir()
        raise


def _place(place: Path, paths: Sequence[Path], made: list[Path]) -> Path:
    for path in paths:
        if not path.exists():
            raise ParamsError(f"{path}: no such file or folder")
    if len(paths) == 1 and paths[0].is_dir():
        _link(place, paths[0], made)
        return place
    if folders := [path for path in paths if path.is_dir()]:
        raise ParamsError(
            f"{folders[0]}: a folder among several paths; give one folder that has them all, or only files "
            "(within a folder of links, DVC follows those to files, not those to folders)"
        )
    names = [path.name for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ParamsError(f"{', '.join(twice)}: several files have this name; rename them, or give a folder")
    if place.is_symlink():
        raise ParamsError(f"{place} is a link to {os.readlink(place)}; {ELSE}")
    if place.is_dir() and (others := sorted({path.name for path in place.iterdir()} - set(names))):
        raise ParamsError(
            f"{place} already exists and also has {others[0]!r}; name all of its files, or {ELSE}"
        )
    for path in paths:
        _link(place / path.name, path, made)
    return place


def _link(place: Path, target: Path, made: list[Path]) -> None:
    target = target.resolve()
    if place.resolve() == target:
        return
    if place.exists() or place.is_symlink():
        raise ParamsError(f"{place} already exists and is not {target}; {ELSE}")
    for folder in reversed(place.parents):
        if not folder.exists():
            folder.mkdir()
            made.append(folder)
    place.symlink_to(target, target_is_directory=target.is_dir())
    made.append(place)
