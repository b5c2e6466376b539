"""`label.csv` of a raw corpus as typed rows, and everything that is wrong with it at once.

The file is UTF-8 (with or without a byte-order mark) with commas. Columns are found by name, in any order and
case: video_id, clip_id, text, label, mode, and where there are any label_T, label_A, label_V, annotation;
others are ignored. `mode` is train, valid (also val, dev), test or unlabeled, in any case.
Labels are numbers; of a classification the names of classes, in any case, or their indices from 0 (names
alone where one is a number).
Ids are text: `0001`, `1e5` and `-3g5yACwYnA` stay what they are.
CH-SIMS v2 calls the file `meta.csv`.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.clips import CLASSES, LABELS, SEPARATOR, SPLITS, UNLABELED, VALID, full_id
from pipeline.params import class_key

LABEL_FILES = ("label.csv", "meta.csv")
LAYOUT = "<root>/label.csv and <root>/Raw/<video_id>/<clip_id>.mp4"
MAX_BYTES = 200_000_000  # of a label file; the largest known one (CMU-MOSEI) has 4 MB
REQUIRED = ("video_id", "clip_id", "text", "label", "mode")
# name in the file -> column of the clip table
LABEL_COLUMNS = dict(zip(("label", "label_T", "label_A", "label_V"), LABELS, strict=True))
CLASS_COLUMNS = dict(zip(LABEL_COLUMNS, CLASSES, strict=True))
KNOWN = {name.lower() for name in (*REQUIRED, *LABEL_COLUMNS, "annotation")}
MODES = {**{split: split for split in SPLITS}, "val": VALID, "dev": VALID}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
SHOWN = 20  # problems of one kind that are spelt out; of the others only the line numbers


@dataclass(frozen=True)
class Problem:
    """Something fatal in the label file: which check found it, what to do about it, and where it is."""

    check: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


@dataclass(frozen=True)
class LabelRow:
    """One row of the label file; None where a value is absent (or wrong: then there is a Problem)."""

    line: int
    video_id: str
    clip_id: str
    text: str
    split: str | None
    labels: dict[str, float | None]  # by column of the clip table; of a classification indices of classes
    annotation: str

    @property
    def id(self) -> str:
        """`video_id$_$clip_id`."""
        return full_id(self.video_id, self.clip_id)


@dataclass
class LabelFile:
    """What a label file says, and everything that is wrong with it.

    Attributes
    ----------
    rows : one a clip, ids unique, in the file's order
    ignored : names of columns that have no meaning here
    """

    path: Path
    rows: list[LabelRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def reject(self, check: str, message: str, line: int | None = None) -> None:
        self.problems.append(Problem(check, message, line))


def read_labels(
    root: Path, label_range: tuple[float, float], setting: str, classes: Sequence[str] = ()
) -> LabelFile:
    """Read `<root>/label.csv`; problems are collected, never raised.

    Parameters
    ----------
    root : folder of the corpus
    label_range : smallest and largest label that is allowed in a regression
    setting : the section of params.yaml that holds these settings, for messages
    classes : names of the classes; none = a regression
    """
    path = next((root / name for name in LABEL_FILES if (root / name).is_file()), root / LABEL_FILES[0])
    labels = LabelFile(path)
    text = _decoded(labels, root, setting)
    if text is None:
        return labels
    records = _records(labels, text)
    columns = _columns(labels, *next(records, (1, [])))
    if columns is None:
        return labels
    seen: dict[str, LabelRow] = {}
    for line, fields in records:
        cells = _cells(labels, line, fields, columns)
        row = _row(labels, line, cells, label_range, classes) if cells else None
        if row is not None and row.id in seen:
            _reject_duplicate(labels, seen[row.id], row)
        elif row is not None:
            seen[row.id] = row
    labels.rows = list(seen.values())
    if not labels.rows and not labels.problems:
        labels.reject("empty", "there is a header and no row; expected one row a clip")
    outside = sum(problem.check == "label range" for problem in labels.problems)
    if outside:
        labels.reject(
            "range setting",
            f"{outside} label(s) lie outside of {_interval(label_range)}: correct them, or set "
            f"{setting}.label_range if this corpus is labelled on another scale",
        )
    unknown = sum(problem.check == "class" for problem in labels.problems)
    if unknown:
        labels.reject(
            "class setting",
            f"{unknown} label(s) are no class of this dataset: correct them, or set {setting}.classes, the "
            f"names in order; now they are {', '.join(classes)}",
        )
    return labels


def shortened(problems: Sequence[Problem]) -> list[str]:
    """All problems as lines, kind by kind; beyond `SHOWN` of one kind only their line numbers."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.check, []).append(problem)
    lines = []
    for check, same in kinds.items():
        lines += [str(problem) for problem in same[:SHOWN]]
        if len(same) > SHOWN:
            numbers = ", ".join(str(problem.line) for problem in same[SHOWN:])
            lines.append(f"{check}: the same in {len(same) - SHOWN} more line(s): {numbers}")
    return lines


# ------------------------------------------------------------------------------------------ file and header
def _decoded(labels: LabelFile, root: Path, setting: str) -> str | None:
    """The file as text, or None and the reason among the problems."""
    path = labels.path
    if not root.is_dir():
        labels.reject(
            "file", f"{setting}.root is {str(root)!r}: no such folder; expected the layout {LAYOUT}"
        )
        return None
    if not path.is_file():
        suffixes = {".csv", ".tsv", ".xls", ".xlsx"}
        tables = sorted(file.name for file in root.iterdir() if file.suffix.lower() in suffixes)
        there = f" (there is {', '.join(tables)}: save it as label.csv)" if tables else ""
        where = f"{setting}.root is {str(root)!r}, expected the layout {LAYOUT}"
        labels.reject("file", f"no such file{there}; {where}")
        return None
    if path.stat().st_size > MAX_BYTES:
        labels.reject(
            "file", f"{path.stat().st_size} bytes, expected at most {MAX_BYTES}: is it a label file?"
        )
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        labels.reject("file", f"cannot be read ({error.strerror}); check its permissions")
        return None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        labels.reject("encoding", "the text is UTF-16, expected UTF-8: save it as `CSV UTF-8`")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        strange = data[error.start : error.start + 4]
        labels.reject(
            "encoding",
            f"the bytes {strange.hex(' ')} are not UTF-8, the expected encoding: save it as `CSV UTF-8`; "
            f"a file from a Chinese Windows: iconv -f GB18030 -t UTF-8 {path.name} > utf8.csv",
            data.count(b"\n", 0, error.start) + 1,
        )
        return None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        labels.reject("encoding", "NUL character: not a text file, or UTF-16; save it as `CSV UTF-8`", line)
        return None
    if not text.strip():
        labels.reject("empty", f"the file is empty; expected a header with {', '.join(REQUIRED)}")
        return None
    return text


def _records(labels: LabelFile, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped fields) of every record that is not blank; broken ones become problems."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            labels.reject(
                "csv",
                f'cannot be read as CSV ({error}): a text with commas or quotes is written "in quotes", '
                'a quote inside it twice ("")',
                line,
            )
            continue
        if any(fields):
            yield line, fields


def _columns(labels: LabelFile, line: int, header: list[str]) -> list[str] | None:
    """Lower-case names of the columns in their order, or None and the reason among the problems."""
    names = [name.lower() for name in header]
    missing = [name for name in REQUIRED if name not in names]
    for sign, called in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
        cells = {cell.strip(' "') for cell in ",".join(names).split(sign)}
        if missing and set(REQUIRED) <= cells:
            labels.reject("delimiter", f"columns are separated by {called}, expected ',': save it so", line)
            return None
    if missing:
        labels.reject(
            "columns",
            f"missing column(s) {', '.join(missing)} (there are: {', '.join(header)}); the first line must "
            f"name the columns, at least {', '.join(REQUIRED)}",
            line,
        )
    twice = sorted({name for name in names if name in KNOWN and names.count(name) > 1})
    if twice:
        labels.reject("columns", f"column(s) {', '.join(twice)} occur twice: remove one", line)
    labels.ignored = [name for name in header if name and name.lower() not in KNOWN]
    return None if missing or twice else names


# ----------------------------------------------------------------------------------------------------- rows
def _cells(labels: LabelFile, line: int, fields: list[str], columns: list[str]) -> dict[str, str] | None:
    """A record's values by column; None and a problem where their number is not the header's."""
    extra = any(fields[len(columns) :])
    cut = [name for name in columns[len(fields) :] if name in REQUIRED]
    if extra or cut:
        hint = "write a text that has commas in quotes" if extra else f"no {', '.join(cut)}"
        labels.reject("fields", f"{len(fields)} values, the header has {len(columns)}: {hint}", line)
        return None
    return dict.fromkeys(columns, "") | dict(zip(columns, fields, strict=False))


def _row(
    labels: LabelFile,
    line: int,
    cells: dict[str, str],
    label_range: tuple[float, float],
    classes: Sequence[str],
) -> LabelRow | None:
    """A typed row; a wrong value becomes None and a problem, a row without usable ids None."""
    video, clip = cells["video_id"], cells["clip_id"]
    reasons = {name: _bad_id(cells[name]) for name in ("video_id", "clip_id")}
    for name, reason in reasons.items():
        if reason:
            labels.reject("ids", f"{name} is {cells[name]!r}: {reason}", line)
    if any(reasons.values()):
        return None
    called = f"of clip {full_id(video, clip)}"
    split = MODES.get(cells["mode"].lower())
    if split is None:
        labels.reject("mode", f"mode {called} is {cells['mode']!r}, expected {', '.join(MODES)}", line)
    found: dict[str, float | None] = {}
    for name, column in (CLASS_COLUMNS if classes else LABEL_COLUMNS).items():
        value = cells.get(name.lower(), "")
        found[column] = None
        if value:
            found[column], check, expected = _class(value, classes) if classes else _score(value, label_range)
            if check:
                labels.reject(check, f"{name} {called} is {value!r}, expected {expected}", line)
        elif name == "label" and split != UNLABELED:
            labels.reject("label", f"label {called} is empty; only mode unlabeled may have none", line)
    return LabelRow(line, video, clip, cells["text"], split, found, cells.get("annotation", ""))


def _bad_id(value: str) -> str | None:
    """Why this cannot be the id of a video or clip, which names files and folders; None if it can."""
    if not value:
        return "an id must not be empty"
    if value in {".", ".."} or "/" in value or "\\" in value:
        return "an id must not lead to another folder; write the name alone, without / or \\"
    if any(unicodedata.category(char) == "Cc" for char in value):
        return "an id must not hold control characters"
    if SEPARATOR in value:
        return f"{SEPARATOR} separates video_id from clip_id and must not be in one of them"
    return None


def _score(value: str, label_range: tuple[float, float]) -> tuple[float | None, str, str]:
    """A label as a number; else None, the check that it fails, and what was expected."""
    number = _number(value)
    if number is None:
        hint = " with a decimal point" if "," in value else ""
        return None, "label", f"a finite number{hint} in {_interval(label_range)}"
    if not label_range[0] <= number <= label_range[1]:
        return None, "label range", f"a number in {_interval(label_range)}"
    return number, "", ""


def _class(value: str, classes: Sequence[str]) -> tuple[int | None, str, str]:
    """A label as the index of a class; else None, the check that it fails, and what was expected."""
    names = [class_key(name) for name in classes]
    if class_key(value) in names:
        return names.index(class_key(value)), "", ""
    # a table that was written with empty cells may say 1.0 for 1
    number = _number(value) if _have_indices(names) else None
    if number is not None and number in range(len(names)):
        return int(number), "", ""
    return None, "class", _listed(classes)


def _listed(classes: Sequence[str]) -> str:
    indices = f", or an index of 0 to {len(classes) - 1}" if _have_indices(classes) else ""
    return f"one of {', '.join(classes)}{indices}"


def _have_indices(classes: Sequence[str]) -> bool:
    """Whether the label file may name classes by index; not where a number is the name of a class."""
    return all(_number(class_key(name)) is None for name in classes)


def _number(value: str) -> float | None:
    """A finite number in plain notation; None for anything else (float() would take `nan` and `1_0`)."""
    number = float(value) + 0.0 if NUMBER.fullmatch(value) else math.nan  # -0.0 becomes 0.0
    return number if math.isfinite(number) else None


def _interval(label_range: tuple[float, float]) -> str:
    return f"[{label_range[0]:g}, {label_range[1]:g}]"


def _reject_duplicate(labels: LabelFile, first: LabelRow, second: LabelRow) -> None:
    if first.split == second.split:
        labels.reject(
            "duplicate ids", f"clip {second.id} is in line {first.line} already: remove one", second.line
        )
    else:
        labels.reject(
            "id in two splits",
            f"clip {second.id} is in {second.split}, and in line {first.line} in {first.split}: remove one",
            second.line,
        )
