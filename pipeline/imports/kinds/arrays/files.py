"""References `file:array` to what lies in npz, npy, HDF5, CSV and pickle files, and in folders of .npy."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.corpora.survey import CorpusSurvey
from pipeline.corpora.tables.csv import decoded, records
from pipeline.corpora.tables.values import number_of
from pipeline.formats.npz import PickledArray, load_npy, load_npz
from pipeline.formats.source import HDF5, PICKLES, Source
from pipeline.formats.text import listed
from pipeline.imports.checks import read_npy

SUFFIXES = (".npz", ".npy", *HDF5)
EACH = "*"  # in a reference: of every clip of a group, of every entry of a list
MOST_CELLS = 10_000_000  # of a CSV file
FORMULAS = ("=", "@")  # how a cell begins that a spreadsheet would run


class ArrayFolder(Mapping[str, Any]):
    """A folder of .npy files, each named after its clip and read when it is asked for."""

    def __init__(self, folder: Path):
        self._places = {path.stem: path for path in sorted(folder.glob("[!.]*.npy"))}

    def __getitem__(self, name: str) -> Any:
        return read_npy(self._places[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class TableColumns(dict[str, list[str]]):
    """Columns of a CSV file by their names in the first line: cells as they stand there."""

    def __init__(self, path: Path, columns: Mapping[str, list[str]]):
        super().__init__(columns)
        self.path = path

    def matrix(self, patterns: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Names of the columns that match a pattern (`AU*`), in their order, and their numbers, (rows, D).

        An empty cell, or `nan`, is NaN. FormatError: a pattern matches nothing, or a cell is no number.
        """
        for pattern in patterns:
            if not fnmatch.filter(self, pattern):
                raise FormatError(f"{self.path}: no column {pattern!r} (there are: {listed(list(self))})")
        names = [name for name in self if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
        numbers = [[self._number(name, row, cell) for row, cell in enumerate(self[name])] for name in names]
        return names, np.array(numbers, np.float64).T

    def _number(self, name: str, row: int, cell: str) -> float:
        number = math.nan if cell.lower() in ("", "nan") else number_of(cell)
        if number is None:
            said = f"row {row + 1} of column {name} is {cell[:40]!r}, not a number"
            raise FormatError(f"{self.path}: {said}; list the feature columns under `columns`")
        return number


class ArrayFiles:
    """The files of an import, each opened once and open as long as this object is there."""

    def __init__(self, source: Source):
        self.source = source
        self._open: dict[Path, Any] = {}
        self._found: dict[str, Any] = {}
        self._stack = ExitStack()

    def find(self, reference: str) -> Any:
        """What a reference names: an array in its file, a list, or a mapping (a group) of them."""
        if reference not in self._found:
            self._found[reference] = self._find(reference)
        return self._found[reference]

    def _find(self, reference: str) -> Any:
        name, _, inner = reference.partition(":")
        path = self.source.place(name)
        if not path.exists():
            raise FormatError(f"{reference}: no file {name!r} in {path.parent}; expected `file:array`")
        found = ArrayFolder(path) if path.is_dir() else self.opened(path)
        if not inner and path.suffix.lower() == ".npz":
            raise FormatError(
                f"{reference}: which array? Expected `file:array`, or `file:*` for one per clip"
            )
        try:
            return _inside(found, [inner] if isinstance(found, dict) and inner in found else inner.split("/"))
        except KeyError as error:
            raise FormatError(f"{reference}: no {error.args[0]!r} in it") from None

    def values(self, reference: str, count: int | None = None) -> list[Any]:
        """One value a clip: ids, splits, labels, texts; as many as `count` where that is given."""
        found = self.find(reference)
        if isinstance(found, Mapping):
            raise FormatError(f"{reference}: is a group; expected one value per clip")
        if isinstance(found, list | tuple):
            values = [_single(entry) for entry in found]
            if odd := next((entry for entry in values if np.ndim(entry)), None):
                raise FormatError(f"{reference}: has {odd!r:.80}; expected one value per clip")
        elif not (shape := np.shape(found)) or any(axis != 1 for axis in shape[1:]):
            raise FormatError(f"{reference}: has shape {shape}; expected one value per clip")
        else:
            values = list(np.asarray(found).reshape(-1))
        if count is not None and len(values) != count:
            raise FormatError(f"{reference}: {len(values)} values, but there are {count} ids")
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
            return load_npz(path)
        if suffix == ".npy":
            found = load_npy(path)
            return found.tree() if isinstance(found, PickledArray) else found
        raise FormatError(f"{path}: expected a file ending in {', '.join((*SUFFIXES, '.csv', *PICKLES))}")


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array, which is not read for it, or of nested lists; ValueError of ragged ones."""
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def inside(found: Any, name: Any) -> Any:
    """What a group, dict or list holds under a name; objects of an npz are read now."""
    held = found[name]
    if isinstance(held, PickledArray):
        held = found[name] = held.tree()
    return held


def _inside(found: Any, parts: Sequence[str]) -> Any:
    """What lies below the parts of a path; KeyError of the part that is not there."""
    if not parts or not parts[0]:
        return _inside(found, parts[1:]) if parts else found
    part, rest = parts[0], parts[1:]
    if isinstance(found, Mapping):
        if part in found:
            return _inside(inside(found, part), rest)
        if part == EACH and not rest and not isinstance(found, dict):
            return found  # its clips are read when they are asked for
        if part == EACH:
            there = {name: below for name in found for below in _if_there(inside(found, name), rest)}
            if there or not len(found):
                return there
            part = "/".join(parts)
        elif numbers := [name for name in found if isinstance(name, int) and str(name) == part]:
            return _inside(found[numbers[0]], rest)
    elif isinstance(found, list | tuple):
        if part == EACH:
            return [_inside(entry, rest) for entry in found]
        if part.isdecimal() and int(part) < len(found):
            return _inside(found[int(part)], rest)
    raise KeyError(part)


def _if_there(found: Any, parts: Sequence[str]) -> list[Any]:
    try:
        return [_inside(found, parts)]
    except KeyError:
        return []


def _single(value: Any) -> Any:
    """The one item of lists within lists."""
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value


def _columns(path: Path) -> TableColumns:
    found = CorpusSurvey(str(path))
    text = decoded(path, found, "a name for each column in the first line")
    rows = [] if text is None else list(records(text, found))
    if found.problems:
        raise FormatError(f"{path}: {found.problems[0]}")
    if len(rows) < 2 or len(rows) * len(rows[0][1]) > MOST_CELLS:
        raise FormatError(f"{path}: {len(rows)} lines; expected a header and at most {MOST_CELLS} cells")
    header = rows[0][1]
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise FormatError(f"{path}: line {line} has {len(cells)} cells, the header has {len(header)}")
        if formula := next((cell for cell in cells if cell[:1] in FORMULAS), None):
            raise FormatError(f"{path}: line {line}: {formula[:40]!r} is a spreadsheet formula, not a value")
    return TableColumns(
        path, {name: [cells[place] for _, cells in rows[1:]] for place, name in enumerate(header)}
    )
