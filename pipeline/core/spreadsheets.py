"""CSV and TSV files of ours: what a spreadsheet would run as a formula stands behind an apostrophe there."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from pipeline.core.files import atomic_write

# also behind apostrophes, so that taking one away gives every text back
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|inf|nan)", re.ASCII | re.IGNORECASE)


def write_cells(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: Literal[",", "\t"] = ","
) -> None:
    """A table in UTF-8; numbers in full or as they were written, None is an empty cell."""
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        # a writer puts only what ends its lines into quotes: lone carriage returns would end rows else
        lines = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))
        writer = csv.writer(lines, delimiter=delimiter, lineterminator="\r\n")
        writer.writerows([cell(value) for value in row] for row in chain((header,), rows))


def cell(value: Any) -> Any:
    """A value as a cell: text that is no number and would be a formula gets an apostrophe in front."""
    formula = isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value)
    return f"'{value}" if formula else value
