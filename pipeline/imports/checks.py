"""What importers check alike: ids, splits, repeated clips, widths; and how they name columns.

Every message names the file, the value, what was expected and how to fix it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ClipError, FormatError
from pipeline.core.names import bad_id
from pipeline.corpora.clips import full_id
from pipeline.corpora.tables.values import SPLIT_NAMES
from pipeline.formats.text import listed, text_of

ONLY_CLIP = "0"  # clip part of an id that names a video with one clip
PAUSE = "sp"  # what the CMU SDK writes where nobody speaks


def clip_of(source: object, video: object, clip: object) -> str:
    """`video$_$clip`, for ids of any type (text, bytes, numbers); FormatError where one cannot be an id."""
    parts = [text_of(video), text_of(clip)]
    for name, value in zip(("video", "clip"), parts, strict=True):
        if reason := bad_id(value):
            raise FormatError(f"{source}: {name} id {value[:80]!r}: {reason}; rename it in the file")
    return full_id(*parts)


def split_of(source: object, name: object) -> str:
    """A split by any of its usual names, case aside; FormatError where it is none."""
    split = SPLIT_NAMES.get(text_of(name).strip().lower())
    if split is None:
        raise FormatError(
            f"{source}: split {text_of(name)[:80]!r} is not known; expected one of {', '.join(SPLIT_NAMES)}"
        )
    return split


def refuse_repeats(source: object, rows: Sequence[Mapping[str, Any]]) -> None:
    """FormatError where a clip is twice in a split, or in two splits; they are listed."""
    splits: dict[str, list[str]] = {}
    for row in rows:
        splits.setdefault(row["clip_id"], []).append(row["split"])
    several = {clip: found for clip, found in splits.items() if len(found) > 1}
    apart = [
        f"{clip} ({' and '.join(dict.fromkeys(found))})"
        for clip, found in several.items()
        if len(set(found)) > 1
    ]
    twice = [f"{clip} ({found[0]})" for clip, found in several.items() if len(set(found)) == 1]
    wrong = {"in two splits": apart, "twice in a split": twice}
    problems = [f"{len(clips)} clip(s) are {what}: {listed(clips)}" for what, clips in wrong.items() if clips]
    if problems:
        raise FormatError(f"{source}: {'; '.join(problems)}; keep each clip once")


def read_npy(path: Path) -> Any:
    """What a clip's own .npy file holds; ClipError where that cannot be read: the clip alone has failed."""
    from pipeline.formats.npz import PickledArray, load_npy

    try:
        found = load_npy(path)
        return found.tree() if isinstance(found, PickledArray) else found
    except FormatError as error:
        raise ClipError(str(error).replace(str(path), path.name)) from error


def matrix(values: Any, width: int | None, where: str) -> np.ndarray:
    """The (T, D) numbers of one clip; one vector is one step, and a leading axis of one is dropped.

    Parameters
    ----------
    values : an array, nested lists, or anything that NumPy makes an array of
    width : the D that the other clips have; None = any
    where : file and clip, for messages
    """
    if isinstance(values, list | tuple) and _has_text(values):
        raise FormatError(f"{where}: has text; expected numbers of shape (T, D)")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise FormatError(f"{where}: its rows have different lengths ({error}); expected (T, D)") from error
    if array.dtype == object:
        try:
            array = np.stack([np.asarray(row, np.float64) for row in array])
        except (TypeError, ValueError) as error:
            raise FormatError(
                f"{where}: its rows are not numbers of equal length; expected (T, D)"
            ) from error
    if array.size == 0:
        return np.zeros((0, width or 0), np.float32)
    if array.ndim == 1:
        array = array[None]
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise FormatError(f"{where}: {array.dtype} of shape {array.shape}; expected numbers of shape (T, D)")
    if width is not None and array.shape[1] != width:
        raise FormatError(f"{where}: shape {array.shape}; the other clips have {width} columns")
    return array


def _has_text(values: Sequence[Any]) -> bool:
    """Whether lists hold text, of which NumPy makes an array with room for the longest everywhere."""
    return any(
        _has_text(value) if isinstance(value, list | tuple) else isinstance(value, str | bytes)
        for value in values
    )


def score_of(value: Any, where: str) -> float | None:
    """A label: a number, or an array or list of just one; None where it is NaN; else FormatError."""
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if len(numbers) != 1 or np.isinf(numbers[0]):
        shown = " ".join(repr(value).split())  # arrays have lines
        raise FormatError(f"{where}: label is {shown:.80}; expected one finite number")
    return None if np.isnan(numbers[0]) else float(numbers[0])


def index_of(value: Any, count: int, where: str) -> int | None:
    """A label as the index of one of `count` classes, None where it is NaN; FormatError: no such index."""
    number = score_of(value, where)
    if number is None:
        return None
    if number not in range(count):
        raise FormatError(f"{where}: label is {number:g}; expected a whole number from 0 to {count - 1}")
    return int(number)
