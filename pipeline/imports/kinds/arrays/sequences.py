"""One modality of kind `arrays`: (n, T, D), (n, D), a list of (T, D), or one array a clip by id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.core.columns import numbered
from pipeline.core.errors import ClipError, FormatError
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import matrix
from pipeline.imports.contract import FeatureSequences
from pipeline.imports.kinds.arrays.files import ArrayFiles, TableColumns, shape_of
from pipeline.imports.kinds.arrays.settings import ArraySettings


def read_sequences(
    files: ArrayFiles,
    modality: str,
    settings: ArraySettings,
    ids: Mapping[str, int] | None,
    clip_of: Callable[[object], str],
) -> FeatureSequences:
    """What the settings of a modality name.

    Parameters
    ----------
    ids : clip -> place in the array; None where nothing says it
    clip_of : clip of a name in a group
    """
    reference = settings.array
    array = files.find(reference)
    columns: Sequence[str] | str | None = settings.columns
    if table := isinstance(array, TableColumns):
        patterns = ["*"] if columns is None else [columns] if isinstance(columns, str) else columns
        columns, array = array.matrix(patterns)
    places: dict[str, Any] = {}
    if isinstance(array, Mapping):
        for name in array:
            if places.setdefault(clip_of(name), name) != name:
                raise FormatError(
                    f"{reference}: {name} and {places[clip_of(name)]} are the same clip; keep one"
                )
    elif ids is None:
        raise FormatError(f"{reference}: which clips are its entries? Give `ids`, a reference to their ids")
    else:
        if len(array) != len(ids):
            raise FormatError(f"{reference}: shape {_shape(array)}, but there are {len(ids)} ids")
        places = dict(ids)
    if not len(array):
        raise FormatError(f"{reference}: is empty")
    whole = hasattr(array, "dtype") and array.dtype.kind != "O"  # HDF5 has arrays of arrays
    shape = tuple(array.shape[1:]) if whole else _first_shape(array)
    if len(shape) not in (1, 2):
        raise FormatError(f"{reference}: {_shape(array)}, with {shape} per clip; expected (T, D) or (D,)")
    width = int(shape[-1])
    padded = whole and len(shape) == 2

    def rows_of(clip: str) -> np.ndarray | None:
        if clip not in places:
            return None
        entry = (array if table else files.find(reference))[places[clip]]  # `files` keeps its file open
        return matrix(entry, width, f"{reference}: clip {clip}")

    if settings.lengths and not padded:
        raise FormatError(f"{reference}: {_shape(array)} has no padding; remove `lengths`")
    return FeatureSequences(
        _columns(files, columns, width, modality, reference),
        rows_of,
        list(places),
        lengths=_lengths(files, settings.lengths, places),
        padded=padded and settings.padded,
        side=settings.side,
        side_key=f"settings.{modality}.side",
    )


def joined(reference: str, parts: Sequence[FeatureSequences]) -> FeatureSequences:
    """The clips of all splits as one modality; FormatError where a split has other columns, or no padding."""
    first = parts[0]
    for part in parts[1:]:
        if part.columns != first.columns or part.padded != first.padded:
            shapes = [f"{len(one.columns)}{' padded' * one.padded}" for one in (first, part)]
            raise FormatError(f"{reference}: {' columns in one split, '.join(shapes)} in another")
    owners = {clip: part for part in parts for clip in part.clips}
    return replace(
        first,
        read=lambda clip: owners[clip].read(clip) if clip in owners else None,
        clips=list(owners),
        lengths={clip: steps for part in parts for clip, steps in part.lengths.items()},
    )


def _first_shape(array: Any) -> tuple[int, ...]:
    """The shape of a group's or list's first entry that can be read."""
    for place in array if isinstance(array, Mapping) else range(len(array)):
        try:
            return shape_of(array[place])
        except ClipError:
            continue
    return ()


def _shape(array: Any) -> str:
    if isinstance(array, Mapping):
        return f"a group of {len(array)}"
    return str(tuple(array.shape)) if hasattr(array, "shape") else f"a list of {len(array)}"


def _lengths(files: ArrayFiles, reference: str | None, places: Mapping[str, Any]) -> dict[str, int]:
    if reference is None:
        return {}
    values = files.values(reference, len(places))
    try:
        steps = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        steps = np.full(len(values), np.nan)
    if not (np.isfinite(steps) & (steps >= 0) & (steps % 1 == 0)).all():
        raise FormatError(f"{reference}: {listed(values)}; expected a whole number of steps per clip")
    return {clip: int(count) for clip, count in zip(places, steps, strict=True)}


def _columns(
    files: ArrayFiles, given: Sequence[str] | str | None, width: int, modality: str, reference: str
) -> list[str]:
    if given is None:
        return numbered(modality, width)
    names = [text_of(name) for name in (files.values(given) if isinstance(given, str) else given)]
    if len(names) != width or len(set(names)) != len(names):
        raise FormatError(
            f"{reference}: {width} columns, but {len(names)} names, {len(set(names))} of them distinct; "
            "name each column once"
        )
    return names
