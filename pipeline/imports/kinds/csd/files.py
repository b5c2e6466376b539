"""Computational sequences of the CMU Multimodal SDK (`.csd`, HDF5), and the standard folds.

    <root name>/data/<video>/features     (T, D)
    <root name>/data/<video>/intervals    (T, 2) seconds in the video
    <root name>/metadata/<key>            (1,) JSON text, e.g. of the keys `root name`, `dimension names`

The root name may differ from the file's; other groups beside it are not looked at. What the SDK aligned has
entries `video[segment]` in place of `video`.

Source: https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK (mmsdk/mmdatasdk/computational_sequence)
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.columns import NAMES, numbered
from pipeline.core.errors import FormatError
from pipeline.formats.text import listed, read_json, text_of
from pipeline.imports.checks import split_of

SUFFIX = ".csd"
KNOWN = ("glove", "bert", "covarep", "facet", "openface", "opensmile")  # in names of files and roots
REST = ("happy", "sad", "anger", "surprise", "disgust", "fear")
MOST_BYTES = 50_000_000  # of a file of folds


@dataclass(frozen=True)
class CsdEntry:
    """One video of a sequence.

    Attributes
    ----------
    features : (T, D...), an HDF5 dataset
    intervals : (T, 2) seconds, float64; NaN where the file has NaN
    """

    features: Any
    intervals: np.ndarray


class Csd:
    """One file, open as long as this object is there; `name` is that of its root."""

    def __init__(self, path: Path):
        from pipeline.formats.hdf5 import open_hdf5

        self.path = path
        self._stack = ExitStack()
        file = self._stack.enter_context(open_hdf5(path))
        roots = [name for name in sorted(file) if _is_group(file[name]) and _is_group(file[name].get("data"))]
        if len(roots) != 1:
            raise FormatError(
                f"{path}: {len(roots)} groups with `data` (there are: {listed(sorted(file)) or 'none'}); "
                "expected a single root group of a computational sequence"
            )
        self.name = roots[0]
        self._root = file[self.name]
        self._data = self._root["data"]
        if not len(self._data):
            raise FormatError(f"{path}: {self.name}/data has no videos")

    @cached_property
    def keys(self) -> dict[str, None]:
        """`video`, or `video[segment]`, sorted."""
        return dict.fromkeys(sorted(self._data))

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def entry(self, key: str) -> CsdEntry:
        """Features and intervals of a video; FormatError where one is missing or they do not fit."""
        group = self._data[key]
        if not _is_group(group) or "features" not in group or "intervals" not in group:
            raise FormatError(f"{self.path}: {self.name}/data/{key}: no features or no intervals")
        features, intervals = group["features"], group["intervals"]
        if not all(getattr(values, "shape", ()) for values in (features, intervals)):
            raise FormatError(
                f"{self.path}: {self.name}/data/{key}: features or intervals are not arrays; "
                "expected (T, D) and (T, 2)"
            )
        if len(intervals.shape) != 2 or intervals.shape[1] != 2 or features.shape[0] != intervals.shape[0]:
            raise FormatError(
                f"{self.path}: {key}: features of shape {features.shape} and intervals of shape "
                f"{intervals.shape}; expected (T, D) and (T, 2)"
            )
        return CsdEntry(features, np.asarray(intervals, np.float64))

    @cached_property
    def width(self) -> int:
        """D."""
        return int(np.prod(self.entry(next(iter(self.keys))).features.shape[1:]))

    def columns(self, modality: str) -> list[str]:
        """The file's `dimension names` where they fit, else columns.py's, else numbers."""
        named = self._metadata("dimension names")
        if isinstance(named, list):
            names = [text_of(name).strip() for name in named]
            if len(names) == self.width == len(set(names)) and all(names):
                return names
        about = f"{self.name} {self.path.name}".lower()
        prefix = next((name for name in KNOWN if name in about), modality)
        usual = () if prefix in ("openface", "opensmile") else NAMES.get((modality, self.width), ())
        return list(usual) or numbered(prefix, self.width)

    def _metadata(self, key: str) -> Any:
        """JSON text under a key; None where it is not there or is none."""
        found = self._root.get("metadata")
        if not _is_group(found) or key not in found:
            return None
        try:
            return json.loads(text_of(np.asarray(found[key][()]).reshape(-1)[0]))
        except (ValueError, TypeError, IndexError, AttributeError):
            return None


def _is_group(item: Any) -> bool:
    return hasattr(item, "keys")


def read_folds(path: Path) -> dict[str, str]:
    """Video -> split, of one of three forms; else FormatError.

    - JSON: {"train": [videos], "valid": [...], "test": [...]}
    - the SDK's own Python file, whose lists `standard_train_fold`, ... are read and not executed
    - text: a line a video, `video split`, separated by blanks or a comma
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FormatError(f"{path}: {path.stat().st_size} bytes, expected at most {MOST_BYTES}")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); check settings.folds") from error
    pairs: list[tuple[str, str]] = []
    if path.suffix in (".json", ".py"):
        lists = read_json(path) if path.suffix == ".json" else _python(path, text)
        if not isinstance(lists, dict) or not all(isinstance(videos, list) for videos in lists.values()):
            raise FormatError(f"{path}: expected a list of videos under the name of each split")
        pairs = [(text_of(video), split_of(path, name)) for name, videos in lists.items() for video in videos]
    else:
        for line in filter(str.strip, text.splitlines()):
            parts = line.replace(",", " ").split()
            if len(parts) != 2:
                raise FormatError(f"{path}: line {line[:80]!r}; expected `video split`")
            pairs.append((parts[0], split_of(path, parts[1])))
    splits = dict(pairs)
    if twice := sorted({video for video, split in pairs if splits[video] != split}):
        raise FormatError(f"{path}: {len(twice)} videos are in two splits: {listed(twice)}")
    if not splits:
        raise FormatError(f"{path}: no videos; expected lists of videos by split")
    return splits


def _python(path: Path, text: str) -> Mapping[str, Any]:
    """Lists of the names `..train_fold`, `..valid_fold`, `..test_fold`."""
    try:
        tree = ast.parse(text)
        found = {}
        for node in tree.body:
            if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
                continue
            if name := re.fullmatch(r"(?:standard_)?(\w+?)_fold", node.targets[0].id):
                found[name[1]] = ast.literal_eval(node.value)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormatError(f"{path}: the lists of folds cannot be read ({error})") from error
    return found
