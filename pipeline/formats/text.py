"""Text in foreign files: values as text, and JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.names import escaped

MOST_JSON_BYTES = 64_000_000  # the largest known one (CHERMA) has a few MB; objects take thirty times that
SHOWN = 10  # names that a message lists
LONGEST = 200  # letters of each


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


def listed(names: Any) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(escaped(str(name)[:LONGEST]) for name in names[:SHOWN]) + more


def read_json(path: Path) -> Any:
    """What a JSON file holds; every object's keys stand there once.

    Raises
    ------
    FormatError : too large, no JSON, or a key that is there twice
    """
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = Counter(key for key, _ in pairs)
        twice.extend(sorted(key for key, count in keys.items() if count > 1))
        return dict(pairs)

    try:
        if (size := path.stat().st_size) > MOST_JSON_BYTES:
            raise FormatError(f"{path}: {size} bytes, expected at most {MOST_JSON_BYTES}")
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: cannot be read as JSON in UTF-8 ({error})") from error
    if twice:
        raise FormatError(f"{path}: {len(twice)} keys occur twice: {listed(twice)}; keep each once")
    return content
