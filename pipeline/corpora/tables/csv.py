"""A CSV file that people made, as records with line numbers, and everything that is wrong with its form.

UTF-8 (with or without a byte-order mark), commas, a header; columns are found by name, in any order and case.
Cells are stripped. A cell that a spreadsheet would run as a formula is never a label or an id.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.corpora.findings import Finding, problem

MAX_BYTES = 200_000_000  # of a label file; the largest known one (CMU-MOSEI) has 4 MB
# -3g5yACwYnA and +0.5 are none; +cmd|' /C calc'!A0, -SUM(A1) and =1+1 are
FORMULA = re.compile(r"[=@]|[+-][^|!(]*[|!(]")


def decoded(path: Path, problems: list[Finding], columns: Collection[str]) -> str | None:
    """The file as text, or None and the reason among the problems.

    Parameters
    ----------
    path : a file that exists
    columns : names that its header must have, for messages
    """
    text = _decoded(path)
    if isinstance(text, str) and not text.strip():
        text = problem("empty", f"the file is empty; expected a header with {', '.join(columns)}")
    if isinstance(text, Finding):
        problems.append(text)
        return None
    return text


def _decoded(path: Path) -> str | Finding:
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        return problem("file", f"cannot be read ({error.strerror}); check its permissions")
    if size > MAX_BYTES:
        return problem("file", f"{size} bytes, expected at most {MAX_BYTES}: is it a label file?")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return problem("encoding", "the text is UTF-16, expected UTF-8: save it as `CSV UTF-8`")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        strange = data[error.start : error.start + 4]
        return problem(
            "encoding",
            f"the bytes {strange.hex(' ')} are not UTF-8, the expected encoding: save it as `CSV UTF-8`; "
            f"a file from a Chinese Windows: iconv -f GB18030 -t UTF-8 {path.name} > utf8.csv",
            data.count(b"\n", 0, error.start) + 1,
        )
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return problem("encoding", "NUL character: not a text file, or UTF-16; save it as `CSV UTF-8`", line)
    return text


def records(text: str, problems: list[Finding]) -> Iterator[tuple[int, list[str]]]:
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
            problems.append(problem("csv", reason, line))
            continue
        if any(fields):
            yield line, fields


class CsvTable(NamedTuple):
    """A CSV file under its header.

    Attributes
    ----------
    header : names as they stand there
    columns : the same in lower case; empty where the file cannot be used, which is a problem
    rows : line number and values by column; a record that cannot be used becomes a problem
    """

    header: list[str]
    columns: list[str]
    rows: Iterator[tuple[int, dict[str, str]]]


def read_table(
    path: Path,
    problems: list[Finding],
    required: Sequence[str],
    known: Collection[str],
    either: Sequence[str] = (),
) -> CsvTable:
    """A table whose rows are read one by one; what is wrong with it is collected, never raised.

    Parameters
    ----------
    path : a file that exists
    required : lower-case names that must be there
    known : those of columns that are used: once in the header, and without formulas
    either : names of which one must be there, too
    """
    text = decoded(path, problems, (*required, *either))
    if text is None:
        return CsvTable([], [], iter(()))
    found = records(text, problems)
    line, header = next(found, (1, []))
    there = {name.lower() for name in header}
    needed = [*required, *[name for name in either if name in there or not there & {*either}][:1]]
    columns = _columns(line, header, needed, {*known, *required, *either}, problems)
    return CsvTable(header, columns, _rows(found, columns, needed, known, problems) if columns else iter(()))


def _rows(
    found: Iterator[tuple[int, list[str]]],
    columns: list[str],
    required: Collection[str],
    known: Collection[str],
    problems: list[Finding],
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, fields in found:
        cells = _cells(line, fields, columns, required, problems)
        if cells is not None and not _has_formula(line, cells, known, problems):
            yield line, cells


def _columns(
    line: int, header: list[str], required: Collection[str], known: Collection[str], problems: list[Finding]
) -> list[str]:
    """Lower-case names of the columns in their order; empty, and the reason among the problems."""
    names = [name.lower() for name in header]
    missing = [name for name in required if name not in names]
    for sign, called in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        cells = {cell.strip(' "') for cell in ",".join(names).split(sign)}
        if missing and set(required) <= cells:
            message = f"columns are separated by {called}, expected ',': save it so"
            problems.append(problem("delimiter", message, line))
            return []
    if missing:
        message = (
            f"missing column(s) {', '.join(missing)} (there are: {', '.join(header)}); the first line must "
            f"name the columns, at least {', '.join(required)}"
        )
        problems.append(problem("columns", message, line))
    twice = sorted({name for name in names if name in known and names.count(name) > 1})
    if twice:
        problems.append(problem("columns", f"column(s) {', '.join(twice)} occur twice: remove one", line))
    return [] if missing or twice else names


def _cells(
    line: int, fields: list[str], columns: list[str], required: Collection[str], problems: list[Finding]
) -> dict[str, str] | None:
    """A record's values by column; None and a problem where their number is not the header's."""
    extra = any(fields[len(columns) :])
    cut = [name for name in columns[len(fields) :] if name in required]
    if extra or cut:
        hint = "write a text that has commas in quotes" if extra else f"no {', '.join(cut)}"
        message = f"{len(fields)} values, the header has {len(columns)}: {hint}"
        problems.append(problem("fields", message, line))
        return None
    return dict.fromkeys(columns, "") | dict(zip(columns, fields, strict=False))


def _has_formula(line: int, cells: dict[str, str], known: Collection[str], problems: list[Finding]) -> bool:
    """Whether a cell of a column that is used holds a formula; each becomes a problem."""
    found = False
    for name, value in cells.items():
        if name == "annotation":  # what people wrote beside the label, which nobody computes with
            continue
        speech = name == "text"  # which may begin with a dash and go on with brackets
        if name in known and (value[:1] in ("=", "@") if speech else FORMULA.match(value)):
            what = "a formula, not speech" if speech else "a spreadsheet formula, not a value"
            way_out = "write what was meant, or take the row from the source again"
            problems.append(problem("formula", f"{name} is {value[:40]!r}: {what}; {way_out}", line))
            found = True
    return found
