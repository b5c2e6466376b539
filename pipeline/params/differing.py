"""Where two trees of params differ, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.params.search import leaves

MISSING = object()  # a key that one side has not
FEW_KEYS = 8  # of a section that one side lacks, up to which each is shown


def differing(a: Any, b: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key and both values where trees differ; a large section that one side lacks is one value.

    Lists are values. 1 and 1.0 are equal, 1 and true are not.
    """
    if a is MISSING and _few(b):
        a = {}
    if b is MISSING and _few(a):
        b = {}
    if isinstance(a, dict) and isinstance(b, dict):
        for name in {**a, **b}:
            below = f"{key}.{name}" if key else str(name)
            yield from differing(a.get(name, MISSING), b.get(name, MISSING), below)
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        yield key, a, b


def _few(section: Any) -> bool:
    return isinstance(section, dict) and 0 < len([*leaves(section)]) <= FEW_KEYS
