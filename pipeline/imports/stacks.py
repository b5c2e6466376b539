"""Pickles whose splits hold one stack of all clips a key: `{train: {audio: (n, T, D), labels: (n,)}, ...}`.

MMSA, MIRD, MultiBench and their kin differ in the names of the keys alone. A stack is an array (n, T, D),
padded to one T; an array (n, D), one vector a clip; or n arrays (T, D), a list or an array of objects. It
stays where it is: a clip's rows are read when they are asked for.

Symbols: n clips of a split, T steps with padding, D columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import numpy as np

from pipeline.core.columns import columns_of
from pipeline.core.errors import FormatError
from pipeline.corpora.tables.values import SPLIT_NAMES
from pipeline.formats.source import PICKLES, Source
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import matrix
from pipeline.imports.clip_names import made_rows, named_rows
from pipeline.imports.contract import FeatureSequences

Places = Mapping[str, tuple[int, int]]  # clip id -> number of its split in the file, and its row there

TRAIN_MIX = "train_mix"  # CH-SIMS v2: labeled and unlabeled clips together
OBJECTS = "O"  # kind of an array of objects


# -------------------------------------------------------------------------------------------------- the tree
def tree_of(source: Source) -> Any:
    """What a pickle holds, or {name: what it holds} for pickles named after splits; None of other sources."""
    if source.pickle is not None:
        return source.tree(source.pickle)
    pickles = source.with_suffix(*PICKLES)
    stems = [path.stem.lower() for path in pickles]
    if not pickles or len(set(stems)) < len(stems) or not all(is_split(stem) for stem in stems):
        return None
    return {path.stem: source.tree(path) for path in pickles}


def is_split(name: Any) -> bool:
    """Whether that is the name of a split, case aside."""
    return isinstance(name, str | bytes) and text_of(name).lower() in {*SPLIT_NAMES, TRAIN_MIX}


def splits_of(tree: Any) -> dict[str, Any]:
    """The splits of a tree by name as written there; empty where it is no mapping."""
    if not isinstance(tree, Mapping):
        return {}
    return {text_of(name): content for name, content in tree.items() if is_split(name)}


def has_keys(tree: Any, *keys: str) -> bool:
    """Whether each split that is not empty has all of these keys, and there is one."""
    filled = [content for content in splits_of(tree).values() if not isinstance(content, Mapping) or content]
    return bool(filled) and all(
        isinstance(content, Mapping) and all(key in content for key in keys) for content in filled
    )


# ------------------------------------------------------------------------------------------------- one split
@dataclass(frozen=True)
class SplitPart:
    """One split of a file.

    Attributes
    ----------
    name : as in the file
    where : file and split, for messages
    content : what it holds, by key
    count : clips
    """

    name: str
    where: str
    content: Mapping[str, Any]
    count: int

    @classmethod
    def of(cls, source: object, name: str, content: Any, keys: Sequence[str]) -> SplitPart:
        """A split of which the values of `keys`, where they are there, must have one row a clip."""
        where = f"{source}: {name}"
        if not isinstance(content, Mapping):
            raise FormatError(
                f"{where} is a {type(content).__name__}; expected a mapping with {listed(keys)}"
            )
        # an empty list beside filled values is a key that its writer had nothing for
        shapes = {key: shape_of(content[key], f"{where}: {key}") for key in keys if key in content}
        filled = {key: shape for key, shape in shapes.items() if shape != (0,)}
        if len({shape[0] for shape in filled.values()}) > 1:
            sizes = ", ".join(f"{key} has shape {shape}" for key, shape in filled.items())
            raise FormatError(f"{where}: {sizes}; expected the same number of clips in each")
        count = next((shape[0] for shape in filled.values()), 0)
        return cls(name, where, {key: content[key] for key in filled}, count)

    def column(self, key: str) -> list[Any] | None:
        """One value a clip, None where the split has no such key."""
        if key not in self.content:
            return None
        values = self.content[key]
        return list(np.asarray(values)) if hasattr(values, "dtype") else list(values)

    def stack(self, key: str) -> ModalityStack | None:
        """A modality of the split, None where it has no such key or no clips."""
        if key not in self.content or not self.count:
            return None
        return ModalityStack.of(self.content[key], f"{self.where}: {key}")

    def rows(self) -> list[dict[str, Any]]:
        """`clip_id` and `video_id` of every clip by `id`, or made ones where the split has none."""
        ids = self.column("id")
        return made_rows(self.name, self.count) if ids is None else named_rows(self.where, ids)


def parts_of(source: object, splits: Mapping[str, Any], keys: Sequence[str]) -> list[SplitPart]:
    """All splits of a file; see `SplitPart.of`."""
    return [SplitPart.of(source, name, content, keys) for name, content in splits.items()]


def shape_of(values: Any, where: str) -> tuple[int, ...]:
    """The shape of an array, or the length of a list; FormatError of a single value or a mapping."""
    shape = getattr(values, "shape", None)
    if shape is None and isinstance(values, list | tuple):
        shape = (len(values),)
    if not shape:
        raise FormatError(f"{where} is a {type(values).__name__}, expected an array or a list of all clips")
    return tuple(shape)


@dataclass(frozen=True)
class ModalityStack:
    """A modality of one split.

    Attributes
    ----------
    values : (n, T, D) or (n, D), or n times (T, D)
    where : file, split and key, for messages
    width : D; None where no clip has a row
    steps : T of each clip, in the split's order
    padded : made to one T; None where the clips are a list, which does not say
    """

    values: Any
    where: str
    width: int | None
    steps: list[int] = field(repr=False)
    padded: bool | None

    @classmethod
    def of(cls, values: Any, where: str) -> ModalityStack:
        """Take arrays or a list of them; their shapes are checked, their numbers not read."""
        dtype = getattr(values, "dtype", None)
        if dtype is not None and dtype.kind != OBJECTS:
            shape = tuple(values.shape)
            if len(shape) not in (2, 3) or dtype.kind not in "biuf":
                raise FormatError(f"{where}: {dtype} of shape {shape}; expected numbers of shape (n, T, D)")
            steps = shape[1] if len(shape) == 3 else 1
            return cls(values, where, shape[-1], [steps] * shape[0], len(shape) == 3)
        shapes = [matrix_shape(item, f"{where}[{row}]") for row, item in enumerate(values)]
        widths = {columns: row for row, (steps, columns) in enumerate(shapes) if steps}
        if len(widths) > 1:
            first, second = sorted(widths.values())[:2]
            raise FormatError(
                f"{where}: clip {first} has shape {shapes[first]}, clip {second} {shapes[second]}; "
                "expected the same number of columns"
            )
        steps = [steps for steps, _ in shapes]
        return cls(values, where, next(iter(widths), None), steps, None)

    def read(self, row: int) -> np.ndarray:
        """(T, D) of one clip, as in the file."""
        return matrix(self.values[row], self.width, f"{self.where}[{row}]")


def matrix_shape(item: Any, where: str) -> tuple[int, int]:
    """(T, D) of one clip of a list; arrays are not read for it."""
    shape = getattr(item, "shape", None)
    if shape is None or item.dtype.kind == OBJECTS or len(shape) != 2:
        return matrix(item, None, where).shape
    return tuple(shape)


# ----------------------------------------------------------------------------------------------- all splits
def stacks_of(parts: Sequence[SplitPart], keys: Mapping[str, str]) -> dict[str, list[ModalityStack | None]]:
    """The stacks of each modality (by the key that it has in the file), one a split."""
    return {modality: [part.stack(key) for part in parts] for modality, key in keys.items()}


def sequences_of(
    modality: str, stacks: Sequence[ModalityStack | None], places: Places, **more: Any
) -> FeatureSequences | None:
    """One modality of a file, None where no split has it; `more` are attributes of `FeatureSequences`."""
    there = [stack for stack in stacks if stack is not None and stack.width is not None]
    if not there:
        return None
    odd = [stack for stack in there if stack.width != there[0].width]
    if odd:
        raise FormatError(
            f"{there[0].where} has {there[0].width} columns and {odd[0].where} {odd[0].width}; "
            "expected the same number in all splits"
        )

    def read(clip: str) -> np.ndarray | None:
        part, row = places[clip]
        stack = stacks[part]
        return None if stack is None else stack.read(row)

    width = there[0].width
    assert width is not None
    clips = [clip for clip, (part, _) in places.items() if stacks[part] is not None]
    said = {stack.padded for stack in there}
    steps = [count for stack in there for count in stack.steps]
    # clips of a list have lengths of their own, unless all of them have one and the same
    padded = True in said or (None in said and len(steps) > len(set(steps)) == 1)
    return FeatureSequences(columns_of(modality, width), read, clips, padded=padded, **more)


def modalities_of(
    stacks: Mapping[str, Sequence[ModalityStack | None]], places: Places
) -> dict[str, FeatureSequences]:
    """`sequences_of` every modality that a split has."""
    found = {name: sequences_of(name, of_splits, places) for name, of_splits in stacks.items()}
    return {name: sequences for name, sequences in found.items() if sequences is not None}


def one_length(stacks: Mapping[str, Sequence[ModalityStack | None]]) -> bool:
    """Whether every split has the same T for all clips of all modalities, at least two of them, and T > 1."""
    for group in zip(*stacks.values(), strict=True):
        steps = {count for stack in group if stack is not None for count in stack.steps}
        if len(steps) > 1 or steps == {1}:
            return False
    return len(stacks) > 1


def texts_of(part: SplitPart, key: str) -> list[str | None]:
    """Raw text of every clip: None where the split has none, or a clip's is empty or NaN."""
    values = part.column(key)
    if values is None:
        return [None] * part.count
    return [
        None
        if value is None or (isinstance(value, float) and isnan(value))
        else text_of(value).strip() or None
        for value in values
    ]


def left_out(tree: Mapping[Any, Any], known: Sequence[str]) -> list[str]:
    """A note on keys of a file that are no splits and not otherwise known."""
    names = [text_of(name) for name in tree if not is_split(name) and text_of(name) not in known]
    return [f"skipped, not a split: {listed(names)}"] if names else []
