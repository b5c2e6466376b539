"""One modality of kind `arrays`: (n, T, D), (n, D), a list of (T, D), or one array a clip by id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core.columns import numbered
from pipeline.core.errors import FormatError
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import matrix
from pipeline.imports.contract import FeatureSequences
from pipeline.imports.kinds.arrays.files import ArrayFiles


def read_sequences(
    files: ArrayFiles,
    modality: str,
    settings: Mapping[str, Any],
    ids: Mapping[str, int] | None,
    clip_of: Callable[[object], str],
) -> FeatureSequences:
    """What the settings of a modality name.

    Parameters
    ----------
    settings : array, lengths, columns, padded, side; see `ArraySettings`
    ids : clip -> place in the array; None where nothing says it
    clip_of : clip of a name in a group
    """
    reference = settings["array"]
    array = files.find(reference)
    if isinstance(array, Mapping):
        places: dict[str, Any] = {}
        for name in array:
            if places.setdefault(clip_of(name), name) != name:
                raise FormatError(f"{reference}: {name} and {places[clip_of(name)]} are one clip; keep one")
        shape = np.shape(array[next(iter(array))]) if len(array) else ()
    else:
        if ids is None:
            raise FormatError(f"{reference}: whose entries are they? Give `ids`, a reference to their ids")
        if len(array) != len(ids):
            raise FormatError(f"{reference}: shape {_shape(array)}, and there are {len(ids)} ids")
        places = dict(ids)
        shape = np.shape(array[0]) if isinstance(array, list) else tuple(array.shape[1:])
        if not isinstance(array, list) and array.dtype == object:
            shape = np.shape(array[0])
    if len(shape) not in (1, 2):
        raise FormatError(
            f"{reference}: {_shape(array)}, of which a clip has {shape}; expected (T, D) or (D,)"
        )
    width = int(shape[-1])
    whole = not isinstance(array, (Mapping, list)) and array.dtype != object and len(shape) == 2

    def rows_of(clip: str) -> np.ndarray | None:
        if clip not in places:
            return None
        entry = files.find(reference)[places[clip]]  # `files` keeps its file open
        return matrix(entry[()] if isinstance(array, Mapping) else entry, width, f"{reference}: clip {clip}")

    if settings["lengths"] and not whole:
        raise FormatError(f"{reference}: {_shape(array)} has no padding; take `lengths` away")
    lengths = _lengths(files, settings["lengths"], places)
    columns = _columns(files, settings["columns"], width, modality, reference)
    return FeatureSequences(
        columns,
        rows_of,
        list(places),
        lengths=lengths,
        padded=whole and settings["padded"],
        side=settings["side"],
    )


def _shape(array: Any) -> str:
    if isinstance(array, Mapping):
        return f"a group of {len(array)}"
    return f"a list of {len(array)}" if isinstance(array, list) else str(tuple(array.shape))


def _lengths(files: ArrayFiles, reference: str | None, places: Mapping[str, Any]) -> dict[str, int]:
    if reference is None:
        return {}
    values = files.values(reference, len(places))
    try:
        steps = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        steps = np.full(len(values), np.nan)
    if not (np.isfinite(steps) & (steps >= 0) & (steps % 1 == 0)).all():
        raise FormatError(f"{reference}: {listed(values)}; expected a whole number of steps a clip")
    return {clip: int(count) for clip, count in zip(places, steps, strict=True)}


def _columns(
    files: ArrayFiles, given: Sequence[str] | str | None, width: int, modality: str, reference: str
) -> list[str]:
    if given is None:
        return numbered(modality, width)
    names = [text_of(name) for name in (files.values(given) if isinstance(given, str) else given)]
    if len(names) != width or len(set(names)) != len(names):
        raise FormatError(
            f"{reference}: {width} columns, and {len(names)} names, of which {len(set(names))} differ; "
            "name each column once"
        )
    return names
