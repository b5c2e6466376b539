"""dvc.lock of two branches merged stage by stage, as git's merge driver.

An entry says: with these dependencies and params the stage gave these outputs. That stays true wherever it is
put, so that any choice of entries is a right dvc.lock: DVC compares each with what is there. Each entry is
taken from the side that changed it. One that both sides changed is left out, so that `dvc repro` decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError
from pipeline.core.files import write_text
from pipeline.params.differing import MISSING

STAGES = "stages"


def merge_lock(base: Path, ours: Path, theirs: Path) -> list[str]:
    """Write the merged file to `ours`; the names of stages that both sides changed, which are left out.

    Raises
    ------
    FormatError : one of them is no dvc.lock, or they differ in what is no stage; nothing is written
    """
    from dvc.utils.serialize import dumps_yaml

    sides = [_read(path) for path in (base, ours, theirs)]
    old, our, their = (side.pop(STAGES, {}) for side in sides)
    merged, both = _merged(*sides)
    if both:
        raise FormatError(f"dvc.lock: both sides changed {both[0]!r}, which is not a stage; merge it by hand")
    merged[STAGES], left_out = _merged(old, our, their)
    write_text(dumps_yaml(merged), ours)
    return left_out


def _merged(base: Any, ours: Any, theirs: Any) -> tuple[dict[str, Any], list[str]]:
    """Each key from the side that changed it, in the order of `ours`; and the keys that both changed."""
    merged, both = {}, []
    for key in {**ours, **theirs}:
        old, our, their = (side.get(key, MISSING) for side in (base, ours, theirs))
        if our != old and their != old and our != their:
            both.append(key)
        elif (value := their if our == old else our) is not MISSING:
            merged[key] = value
    return merged, both


def _read(path: Path) -> dict[str, Any]:
    from dvc.utils.serialize import ParseError, parse_yaml

    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), path)
    except (ParseError, ValueError) as error:
        raise FormatError(f"{path}: not a dvc.lock ({error}); merge it by hand") from error
    if not (isinstance(tree, dict) and isinstance(tree.get(STAGES, {}), dict)):
        raise FormatError(f"{path}: not a dvc.lock; merge it by hand")
    return tree
