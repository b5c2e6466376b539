"""A CSV file that people made, as records with line numbers; what is wrong with its form becomes problems.

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

from pipeline.corpora.survey import CorpusSurvey

MAX_BYTES = 200_000_000  # of a label file; the largest known one (CMU-MOSEI) has 4 MB
# -3g5yACwYnA and +0.5 are none; +cmd|' /C calc'!A0, -SUM(A1) and =1+1 are
FORMULA = re.compile(r"[=@]|[+-][^|!(]*[|!(]")


def decoded(path: Path, found: CorpusSurvey, expected: str) -> str | None:
    """The file as text; None and a problem where it cannot be used.

    Parameters
    ----------
    path : a file that exists
    expected : what it should hold, for messages
    """
    line = None
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            check, wrong = "file", f"{size} bytes, expected at most {MAX_BYTES}: is it a label file?"
        else:
            text = path.read_bytes().decode("utf-8-sig")
            if "\0" not in text and text.strip():
                return text
            check, wrong = "empty", f"the file is empty; expected {expected}"
            if "\0" in text:
                check, wrong = "encoding", "NUL character: not a text file, or UTF-16; save it as `CSV UTF-8`"
                line = text.count("\n", 0, text.index("\0")) + 1
    except OSError as error:
        check, wrong = "file", f"cannot be read ({error.strerror}); check its permissions"
    except UnicodeDecodeError as error:
        check, wrong = "encoding", "the text is UTF-16, expected UTF-8: save it as `CSV UTF-8`"
        if not error.object.startswith((b"\xff\xfe", b"\xfe\xff")):
            strange = error.object[error.start : error.start + 4]
            wrong = (
                f"the bytes {strange.hex(' ')} are not UTF-8, the expected encoding: save it as `CSV UTF-8`; "
                f"a file from Chinese Windows: iconv -f GB18030 -t UTF-8 {path.name} > utf8.csv"
            )
            line = error.object.count(b"\n", 0, error.start) + 1
    found.reject(check, wrong, line)
    return None


def records(text: str, found: CorpusSurvey) -> Iterator[tuple[int, list[str]]]:
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
                f'cannot be read as CSV ({error}): put text with commas or quotes "in quotes", '
                'and double each quote inside it ("")'
            )
            found.reject("csv", reason, line)
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
    found: CorpusSurvey,
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
    text = decoded(path, found, f"a header with {', '.join((*required, *either))}")
    if text is None:
        return CsvTable([], [], iter(()))
    lines = records(text, found)
    line, header = next(lines, (1, []))
    there = {name.lower() for name in header}
    needed = [*required, *[name for name in either if name in there or not there & {*either}][:1]]
    columns = _columns(line, header, needed, {*known, *required, *either}, found)
    return CsvTable(header, columns, _rows(lines, columns, needed, known, found) if columns else iter(()))


def _columns(
    line: int, header: list[str], required: Collection[str], known: Collection[str], found: CorpusSurvey
) -> list[str]:
    """Lower-case names of the columns in their order; empty and a problem where they are not as required."""
    names = [name.lower() for name in header]
    missing = [name for name in required if name not in names]
    for sign, called in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        cells = {cell.strip(' "') for cell in ",".join(names).split(sign)}
        if missing and set(required) <= cells:
            found.reject(
                "delimiter", f"columns are separated by {called}, expected ',': save it with commas", line
            )
            return []
    if missing:
        message = (
            f"missing column(s) {', '.join(missing)} (there are: {', '.join(header)}); the first line must "
            f"name the columns, at least {', '.join(required)}"
        )
        found.reject("columns", message, line)
    twice = sorted({name for name in names if name in known and names.count(name) > 1})
    if twice:
        found.reject("columns", f"column(s) {', '.join(twice)} occur twice: remove one", line)
    return [] if missing or twice else names


def _rows(
    lines: Iterator[tuple[int, list[str]]],
    columns: list[str],
    required: Collection[str],
    known: Collection[str],
    found: CorpusSurvey,
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, fields in lines:
        extra = any(fields[len(columns) :])
        cut = [name for name in columns[len(fields) :] if name in required]
        if extra or cut:
            hint = "put text with commas in quotes" if extra else f"no {', '.join(cut)}"
            found.reject("fields", f"{len(fields)} values, the header has {len(columns)}: {hint}", line)
            continue
        cells = dict.fromkeys(columns, "") | dict(zip(columns, fields, strict=False))
        formulas = [name for name, value in cells.items() if name in known and _is_formula(name, value)]
        for name in formulas:
            what = "a formula, not speech" if name == "text" else "a spreadsheet formula, not a value"
            way_out = "write the intended value, or copy the row from the source again"
            found.reject("formula", f"{name} is {cells[name][:40]!r}: {what}; {way_out}", line)
        if not formulas:
            yield line, cells


def _is_formula(column: str, value: str) -> bool:
    """Whether a spreadsheet would run a cell; speech may begin with a dash and go on with brackets."""
    if column == "annotation":  # what people wrote beside the label, which nobody computes with
        return False
    return value[:1] in ("=", "@") if column == "text" else FORMULA.match(value) is not None
