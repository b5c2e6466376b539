"""A CSV file that people made, as records with line numbers, and everything that is wrong with its form.

UTF-8 (with or without a byte-order mark), commas, a header; columns are found by name, in any order and case.
Cells are stripped. A cell that a spreadsheet would run as a formula is never a label or an id.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.corpora.problems import Problem

MAX_BYTES = 200_000_000  # of a label file; the largest known one (CMU-MOSEI) has 4 MB
# -3g5yACwYnA and +0.5 are none; +cmd|' /C calc'!A0, -SUM(A1) and =1+1 are
FORMULA = re.compile(r"[=@]|[+-][^|!(]*[|!(]")


def decoded(path: Path, problems: list[Problem], columns: Collection[str]) -> str | None:
    """The file as text, or None and the reason among the problems.

    Parameters
    ----------
    path : a file that exists
    columns : names that its header must have, for messages
    """
    text = _decoded(path)
    if isinstance(text, str) and not text.strip():
        text = Problem("empty", f"the file is empty; expected a header with {', '.join(columns)}")
    if isinstance(text, Problem):
        problems.append(text)
        return None
    return text


def _decoded(path: Path) -> str | Problem:
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        return Problem("file", f"cannot be read ({error.strerror}); check its permissions")
    if size > MAX_BYTES:
        return Problem("file", f"{size} bytes, expected at most {MAX_BYTES}: is it a label file?")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Problem("encoding", "the text is UTF-16, expected UTF-8: save it as `CSV UTF-8`")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        strange = data[error.start : error.start + 4]
        return Problem(
            "encoding",
            f"the bytes {strange.hex(' ')} are not UTF-8, the expected encoding: save it as `CSV UTF-8`; "
            f"a file from a Chinese Windows: iconv -f GB18030 -t UTF-8 {path.name} > utf8.csv",
            data.count(b"\n", 0, error.start) + 1,
        )
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return Problem("encoding", "NUL character: not a text file, or UTF-16; save it as `CSV UTF-8`", line)
    return text


def records(text: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped fields) of every record that is not blank; broken ones become problems."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            reason = (
                f'cannot be read as CSV ({error}): a text with commas or quotes is written "in quotes", '
                'a quote inside it twice ("")'
            )
            problems.append(Problem("csv", reason, line))
            continue
        if any(fields):
            yield line, fields


def columns_of(
    line: int, header: list[str], required: Collection[str], known: Collection[str], problems: list[Problem]
) -> list[str] | None:
    """Lower-case names of the columns in their order, or None and the reason among the problems.

    Parameters
    ----------
    required : lower-case names that must be there
    known : lower-case names that must not be there twice
    """
    names = [name.lower() for name in header]
    missing = [name for name in required if name not in names]
    for sign, called in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        cells = {cell.strip(' "') for cell in ",".join(names).split(sign)}
        if missing and set(required) <= cells:
            message = f"columns are separated by {called}, expected ',': save it so"
            problems.append(Problem("delimiter", message, line))
            return None
    if missing:
        message = (
            f"missing column(s) {', '.join(missing)} (there are: {', '.join(header)}); the first line must "
            f"name the columns, at least {', '.join(required)}"
        )
        problems.append(Problem("columns", message, line))
    twice = sorted({name for name in names if name in known and names.count(name) > 1})
    if twice:
        problems.append(Problem("columns", f"column(s) {', '.join(twice)} occur twice: remove one", line))
    return None if missing or twice else names


def cells_of(
    line: int, fields: list[str], columns: list[str], required: Collection[str], problems: list[Problem]
) -> dict[str, str] | None:
    """A record's values by column; None and a problem where their number is not the header's."""
    extra = any(fields[len(columns) :])
    cut = [name for name in columns[len(fields) :] if name in required]
    if extra or cut:
        hint = "write a text that has commas in quotes" if extra else f"no {', '.join(cut)}"
        message = f"{len(fields)} values, the header has {len(columns)}: {hint}"
        problems.append(Problem("fields", message, line))
        return None
    return dict.fromkeys(columns, "") | dict(zip(columns, fields, strict=False))


def reject_formulas(
    line: int, cells: dict[str, str], known: Collection[str], problems: list[Problem]
) -> bool:
    """Whether a cell of a column that is used holds a formula; each becomes a problem."""
    found = False
    for name, value in cells.items():
        speech = name == "text"  # which may begin with a dash and go on with brackets
        if name in known and (value[:1] in ("=", "@") if speech else FORMULA.match(value)):
            what = "a formula, not speech" if speech else "a spreadsheet formula, not a value"
            way_out = "write what was meant, or take the row from the source again"
            problems.append(Problem("formula", f"{name} is {value[:40]!r}: {what}; {way_out}", line))
            found = True
    return found
