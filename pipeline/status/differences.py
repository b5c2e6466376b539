"""What differs between two states of a file or folder, in words, by what the files are.

Python: functions and classes. `constraints.txt`: versions. Tables of clips: rows. Other text: lines.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

import pyarrow as pa

from pipeline.core.stage_code import LOCK
from pipeline.params.explain import some_of
from pipeline.status.contents import Files
from pipeline.status.definitions import changed_definitions
from pipeline.status.rows import row_changes

MOST = 6  # names in a line
MOST_LINES = 20  # of one folder; what else differs is named in one
TABLE = ".parquet"
TEXT = (".csv", ".json", ".md", ".srt", ".toml", ".tsv", ".txt", ".vtt", ".yaml", ".yml")


def differences(path: str, old: Files, new: Files) -> list[str]:
    """Lines, each with the path or one below it; empty where nothing differs."""
    names = [name for name in {**old.hashes, **new.hashes} if old.hashes.get(name) != new.hashes.get(name)]
    lines: list[str] = []
    rest: dict[str, list[str]] = {}
    rows = _rows([name for name in names if _suffix(path, name) == TABLE], old, new)
    if rows:
        lines.append(f"{path}: {rows}")
        names = [name for name in names if _suffix(path, name) != TABLE]
    for name in names:
        if len(lines) < MOST_LINES and (words := _inside(path, name, old, new)):
            lines.append(f"{PurePosixPath(path, name)}: {words}")
        else:
            how = "added" if name not in old.hashes else "removed" if name not in new.hashes else "changed"
            rest.setdefault(how, []).append(name)
    for how, some in rest.items():
        named = "" if some == [""] else f"{some_of(sorted(some), MOST)} "
        lines.append(f"{path}: {named}{how}")
    return lines


def _suffix(path: str, name: str) -> str:
    return PurePosixPath(path, name).suffix


def _inside(path: str, name: str, old: Files, new: Files) -> str:
    """What differs inside a file of both states; empty where that cannot be told."""
    suffix = _suffix(path, name)
    if suffix not in (".py", *TEXT) or not (name in old.hashes and name in new.hashes):
        return ""
    contents = old.read(name), new.read(name)
    try:
        before, after = (content.decode("utf-8") for content in contents if content is not None)
        if suffix == ".py":
            return some_of(changed_definitions(before, after), MOST) or "only comments, docstrings or layout"
    except (ValueError, SyntaxError):  # also where a content is not there any more
        return ""
    return _versions(before, after) if PurePosixPath(path, name).name == LOCK else _lines(before, after)


def _versions(old: str, new: str) -> str:
    """`torch 2.6.0 -> 2.7.0, ray removed` of two lock files."""
    before, after = (
        dict(line.partition("#")[0].strip().split("==", 1) for line in text.splitlines() if "==" in line)
        for text in (old, new)
    )
    found = [
        f"{name} removed" if name not in after
        else f"{name} {after[name]} added" if name not in before
        else f"{name} {before[name]} -> {after[name]}"
        for name in {**before, **after} if before.get(name) != after.get(name)
    ]  # fmt: skip
    return some_of(found, MOST) or "no version differs, only comments or layout"


def _lines(old: str, new: str) -> str:
    """How many lines only one of two texts has."""
    before, after = Counter(old.splitlines()), Counter(new.splitlines())
    counts = (("added", after - before), ("removed", before - after))
    words = [f"{lines.total()} line{'s' * (lines.total() > 1)} {what}" for what, lines in counts if lines]
    return ", ".join(words) or "its lines are in another order"


def _rows(names: list[str], old: Files, new: Files) -> str:
    """What differs in the rows of these files; empty where that cannot be told."""
    sides = [{name: side.open(name) for name in names if name in side.hashes} for side in (old, new)]
    if any(content is None for side in sides for content in side.values()):
        return ""
    try:
        return ", ".join(row_changes(*sides))  # type: ignore[arg-type]
    except (pa.ArrowException, OSError):
        return ""
