"""What importers check alike: ids, splits, repeated clips, widths; and how they name columns.

Every message names the file, the value, what was expected and the way out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.corpora.clips import CONTEXT, TEST, TEST_OOD, TRAIN, UNLABELED, VALID, full_id
from pipeline.corpora.tables.values import bad_id

SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "valid": VALID,
    "validation": VALID,
    "val": VALID,
    "dev": VALID,
    "test": TEST,
    "test_iid": TEST,
    "test_ood": TEST_OOD,
    "unlabeled": UNLABELED,
    "unlabelled": UNLABELED,
    "context": CONTEXT,
}
ONLY_CLIP = "0"  # clip part of an id that names a video with one clip
PAUSE = "sp"  # what the CMU SDK writes where nobody speaks
SHOWN = 10  # ids that a message lists
MOST_JSON_BYTES = 500_000_000  # the largest known one (CHERMA) has a few MB


def clip_of(source: object, video: object, clip: object) -> str:
    """`video$_$clip`, for ids of any type (text, bytes, numbers).

    Raises
    ------
    FormatError : an id that is empty, holds `/`, `\\`, `$_$` or control characters, or is `.` or `..`
    """
    parts = [text_of(video), text_of(clip)]
    for name, value in zip(("video", "clip"), parts, strict=True):
        if reason := bad_id(value):
            raise FormatError(f"{source}: id of a {name} is {value[:80]!r}: {reason}; rename it in the file")
    return full_id(*parts)


def text_of(value: object) -> str:
    """Text, bytes (UTF-8, else Latin-1), NumPy's of both, whole numbers, or an array of one of them."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def split_of(source: object, name: object) -> str:
    """A split by any of its usual names, case aside.

    Raises
    ------
    FormatError : it is none of them
    """
    split = SPLIT_NAMES.get(text_of(name).strip().lower())
    if split is None:
        raise FormatError(
            f"{source}: split {text_of(name)[:80]!r} is not known; expected one of {', '.join(SPLIT_NAMES)}"
        )
    return split


def refuse_repeats(source: object, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every clip stands once.

    Raises
    ------
    FormatError : ids twice in a split, or in two splits; they are listed
    """
    splits: dict[str, list[str]] = {}
    for row in rows:
        splits.setdefault(row["clip_id"], []).append(row["split"])
    several = {clip: found for clip, found in splits.items() if len(found) > 1}
    apart = [f"{clip} ({' and '.join(found)})" for clip, found in several.items() if len(set(found)) > 1]
    twice = [f"{clip} ({found[0]})" for clip, found in several.items() if len(set(found)) == 1]
    problems = []
    if apart:
        problems.append(f"{len(apart)} clip(s) are in two splits: {listed(apart)}")
    if twice:
        problems.append(f"{len(twice)} clip(s) are twice in a split: {listed(twice)}")
    if problems:
        raise FormatError(f"{source}: {'; '.join(problems)}; keep each clip once")


def listed(names: Sequence[object]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(str(name) for name in names[:SHOWN]) + more


def read_json(path: Path) -> Any:
    """What a JSON file holds; every object's keys stand there once.

    Raises
    ------
    FormatError : too large, no JSON, or a key that is there twice
    """
    if path.stat().st_size > MOST_JSON_BYTES:
        raise FormatError(f"{path}: {path.stat().st_size} bytes, expected at most {MOST_JSON_BYTES}")
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = Counter(key for key, _ in pairs)
        twice.extend(sorted(key for key, count in keys.items() if count > 1))
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: cannot be read as JSON ({error})") from error
    if twice:
        raise FormatError(f"{path}: {len(twice)} keys occur twice: {listed(twice)}; keep each once")
    return content


def matrix(values: Any, width: int | None, where: str) -> np.ndarray:
    """The (T, D) numbers of one clip; one vector is one step, and a leading axis of one is dropped.

    Parameters
    ----------
    values : an array, nested lists, or anything that NumPy makes an array of
    width : the D that the other clips have; None = any
    where : file and clip, for messages

    Raises
    ------
    FormatError : no numbers, rows of different length, or another shape
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise FormatError(f"{where}: its rows have different lengths ({error}); expected (T, D)") from error
    if array.dtype == object:
        try:
            array = np.stack([np.asarray(row, np.float64) for row in array])
        except (TypeError, ValueError) as error:
            raise FormatError(f"{where}: its rows are no numbers of one length; expected (T, D)") from error
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


def score_of(value: Any, where: str) -> float | None:
    """A label: a number, or an array or list of just one; None where it is NaN.

    Raises
    ------
    FormatError : anything else
    """
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if len(numbers) != 1 or np.isinf(numbers[0]):
        raise FormatError(f"{where}: label is {value!r:.80}; expected one finite number")
    return None if np.isnan(numbers[0]) else float(numbers[0])


def index_of(value: Any, count: int, where: str) -> int | None:
    """A label as the index of one of `count` classes.

    Raises
    ------
    FormatError : no whole number of 0 to count - 1
    """
    number = score_of(value, where)
    if number is None:
        return None
    if number not in range(count):
        raise FormatError(f"{where}: label is {number:g}; expected a whole number of 0 to {count - 1}")
    return int(number)
