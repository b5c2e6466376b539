"""References `file:array` to what lies in npz, npy, HDF5, CSV and pickle files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.corpora.survey import CorpusSurvey
from pipeline.corpora.tables.csv import decoded, records
from pipeline.formats.source import HDF5, PICKLES, Source
from pipeline.formats.text import listed

SUFFIXES = (".npz", ".npy", *HDF5)
MOST_CELLS = 10_000_000  # of a CSV file
FORMULAS = ("=", "@")  # how a cell begins that a spreadsheet would run
MOST_SHOWN = 100  # arrays that are listed


class ArrayFiles:
    """The files of an import, each opened once and open as long as this object is there."""

    def __init__(self, source: Source):
        self.source = source
        self._open: dict[Path, Any] = {}
        self._stack = ExitStack()

    def find(self, reference: str) -> Any:
        """What a reference names: an array in its file, a list, or a mapping (a group) of them."""
        name, _, inner = reference.partition(":")
        path = self.source.place(name)
        if not path.is_file():
            raise FormatError(f"{reference}: no file {name!r} in {path.parent}; expected `file:array`")
        found = self.opened(path)
        for part in filter(None, [inner] if isinstance(found, dict) and inner in found else inner.split("/")):
            if not _is_mapping(found) or part not in found:
                there = listed(sorted(map(str, found))) if _is_mapping(found) else "an array"
                raise FormatError(f"{reference}: no {part!r} there (there is: {there})")
            found = found[part]
        if _is_mapping(found) and not inner and path.suffix.lower() == ".npz":
            raise FormatError(f"{reference}: which array? There is: {listed(sorted(found))}")
        return found

    def values(self, reference: str, count: int | None = None) -> list[Any]:
        """One value a clip: ids, splits, labels, texts; as many as `count` where that is given."""
        found = self.find(reference)
        shape = np.shape(found) if not isinstance(found, list) else (len(found),)
        if _is_mapping(found) or not shape or any(axis != 1 for axis in shape[1:]):
            kind = "a group" if _is_mapping(found) else f"of shape {shape}"
            raise FormatError(f"{reference}: is {kind}; expected one value a clip")
        values = list(found) if isinstance(found, list) else list(np.asarray(found).reshape(-1))
        if count is not None and len(values) != count:
            raise FormatError(f"{reference}: {len(values)} values, and there are {count} ids")
        return values

    def opened(self, path: Path) -> Any:
        """What a whole file holds."""
        if path not in self._open:
            self._open[path] = self._read(path)
        return self._open[path]

    def _read(self, path: Path) -> Any:
        suffix = path.suffix.lower()
        if suffix == ".csv":
            return _columns(path)
        if suffix in PICKLES:
            return self.source.tree(path)
        if suffix in HDF5:
            from pipeline.formats.hdf5 import open_hdf5

            return self._stack.enter_context(open_hdf5(path))
        if suffix == ".npz":
            from pipeline.formats.npz import load_npz

            return load_npz(path)
        if suffix == ".npy":
            from pipeline.formats.npz import load_npy

            return load_npy(path)
        raise FormatError(f"{path}: expected a file of {', '.join((*SUFFIXES, '.csv', *PICKLES))}")


def survey(source: Source) -> list[str]:
    """A line an array of all files: its reference and shape."""
    files = ArrayFiles(source)
    lines: list[str] = []
    for path in source.with_suffix(*SUFFIXES):
        name = path.relative_to(source.root).as_posix() if source.root.is_dir() else path.name
        for inner, array in _arrays(files.opened(path)):
            lines.append(f"  {name}{':' if inner else ''}{inner} {tuple(array.shape)} {array.dtype}")
            if len(lines) == MOST_SHOWN:
                return [*lines, "  ..."]
    return lines


def _arrays(found: Any, inner: str = "") -> Iterator[tuple[str, Any]]:
    if not _is_mapping(found):
        yield inner, found
        return
    for name in found:
        yield from _arrays(found[name], f"{inner}/{name}" if inner else str(name))


def _is_mapping(found: Any) -> bool:
    """A dict or a group of HDF5."""
    return isinstance(found, Mapping)


def _columns(path: Path) -> dict[str, Sequence[str]]:
    """Columns of a CSV file by their names in the first line."""
    found = CorpusSurvey(str(path))
    text = decoded(path, found, ("a name for each column",))
    rows = [] if text is None else list(records(text, found))
    if found.problems:
        raise FormatError(f"{path}: {found.problems[0]}")
    if len(rows) < 2 or len(rows) * len(rows[0][1]) > MOST_CELLS:
        raise FormatError(f"{path}: {len(rows)} lines; expected a header and at most {MOST_CELLS} cells")
    header = rows[0][1]
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise FormatError(f"{path}: line {line} has {len(cells)} cells, the header {len(header)}")
        if formula := next((cell for cell in cells if cell[:1] in FORMULAS), None):
            raise FormatError(f"{path}: line {line}: {formula[:40]!r} is a spreadsheet formula, not a value")
    return {name: [cells[place] for _, cells in rows[1:]] for place, name in enumerate(header)}
