"""What a loaded tree amounts to: parts that are shared count as often as they are referred to.

A pickle of a hundred bytes can say 2^60 values: each of its lists holds the one below twice. Whoever makes an
array of them would need them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from pipeline.formats.pickle.plain import Name
from pipeline.formats.pickle.space import POINTER, Space
from pipeline.formats.stored import Refused, StoredArray

SCALARS = frozenset({type(None), bool, int, float, complex, np.bool_, *np.sctypeDict.values()})
SIZED = (str, bytes, bytearray)
ARRAYS = (np.ndarray, StoredArray)
FEW = 8  # items that are weighed faster than remembered
CONTAINERS = (dict, list, tuple, set, frozenset)


class Weight(NamedTuple):
    """What a value amounts to.

    Attributes
    ----------
    data : bytes of arrays and text
    memory : bytes of the containers
    depth : containers within each other, itself included
    """

    data: int
    memory: int
    depth: int


UNWEIGHED = Weight(0, 0, 1)  # of any container, at least


class Weigher:
    """Weighs values; Refused where one holds itself, is no data, or exceeds what the file may amount to."""

    def __init__(self, space: Space):
        self._most = Weight(space.unpacked, space.most, space.limits.depth)
        self._known: dict[int, Weight | None] = {}  # by id; None = is being weighed
        self._equal: dict[Weight, Weight] = {}  # millions of parts weigh the same

    def weigh(self, item: Any, level: int = 0) -> Weight:
        """The weight of a value that lies within so many containers."""
        if not isinstance(item, CONTAINERS):
            return Weight(_size(item), 0, 0)
        found = self._known.get(id(item), UNWEIGHED)
        if found is None:
            raise Refused("contains itself; plain data does not")
        if level + found.depth > self._most.depth:
            raise Refused(f"has containers nested more than {self._most.depth} deep, the limit")
        return self._weighed(item, level) if found is UNWEIGHED else found

    def _weighed(self, item: Any, level: int) -> Weight:
        values: Iterable[Any] = item.values() if isinstance(item, dict) else item
        data, memory, depth = 0, POINTER * len(item), 0
        if not set(map(type, values)) <= SCALARS:
            self._known[id(item)] = None
            for value in values:
                part = self.weigh(value, level + 1)
                data, memory, depth = data + part.data, memory + part.memory, max(depth, part.depth)
        if data > self._most.data:
            raise Refused(f"takes up more than {self._most.data:,} bytes, the limit")
        if memory > self._most.memory:
            raise Refused(f"takes up more than {self._most.memory:,} bytes of lists, the limit")
        weight = Weight(data, memory, depth + 1)
        if depth or len(item) > FEW:  # the others are weighed again where they are referred to again
            self._known[id(item)] = self._equal.setdefault(weight, weight)
        else:
            self._known.pop(id(item), None)
        return weight


def _size(value: Any) -> int:
    if isinstance(value, ARRAYS):
        return value.nbytes
    if isinstance(value, SIZED):
        return len(value)
    if type(value) in SCALARS:
        return 8
    what = value.full if isinstance(value, Name) else type(value).__name__
    raise Refused(f"has {what} as a value, which is not data; save it as text or numbers")
