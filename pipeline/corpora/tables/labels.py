"""`label.csv` of a raw corpus as typed rows, and everything that is wrong with it at once.

Columns: video_id, clip_id, text, label, mode, and where there are any label_T, label_A, label_V, annotation;
others are ignored. `mode` is train, valid (also val, dev), test or unlabeled, in any case.
Labels are numbers; of a classification the names of classes, in any case, or their indices from 0 (names
alone where one is a number).
Ids are text: `0001`, `1e5` and `-3g5yACwYnA` stay what they are.
CH-SIMS v2 calls the file `meta.csv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.corpora.clips import CLASSES, LABELS, UNLABELED, full_id
from pipeline.corpora.findings import Finding, problem
from pipeline.corpora.tables.csv import read_table
from pipeline.corpora.tables.values import MODES, bad_id, interval, label_value

LABEL_FILES = ("label.csv", "meta.csv")
LAYOUT = "<root>/label.csv and <root>/Raw/<video_id>/<clip_id>.mp4"
REQUIRED = ("video_id", "clip_id", "text", "label", "mode")
# name in the file -> column of the clip table
LABEL_COLUMNS = dict(zip(("label", "label_T", "label_A", "label_V"), LABELS, strict=True))
CLASS_COLUMNS = dict(zip(LABEL_COLUMNS, CLASSES, strict=True))
KNOWN = {name.lower() for name in (*REQUIRED, *LABEL_COLUMNS, "annotation")}


@dataclass(frozen=True)
class LabelRow:
    """One row of the label file; None where a value is absent (or wrong: then there is a finding)."""

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
    problems: list[Finding] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def reject(self, check: str, message: str, line: int | None = None) -> None:
        self.problems.append(problem(check, message, line))


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
    if not _is_there(labels, root, setting):
        return labels
    table = read_table(path, labels.problems, REQUIRED, KNOWN)
    labels.ignored = [name for name in table.header if name and name.lower() not in KNOWN]
    if not table.columns:
        return labels
    seen: dict[str, LabelRow] = {}
    for line, cells in table.rows:
        row = _row(labels, line, cells, label_range, classes)
        if row is not None and row.id in seen:
            _reject_duplicate(labels, seen[row.id], row)
        elif row is not None:
            seen[row.id] = row
    labels.rows = list(seen.values())
    if not labels.rows and not labels.problems:
        labels.reject("empty", "there is a header and no row; expected one row a clip")
    name_settings(labels.problems, label_range, classes, setting)
    return labels


def name_settings(
    problems: list[Finding], label_range: tuple[float, float], classes: Sequence[str], setting: str
) -> None:
    """Add to wrong labels which setting says what is right."""
    outside = sum(problem.check == "label range" for problem in problems)
    if outside:
        message = (
            f"{outside} label(s) lie outside of {interval(label_range)}: correct them, or set "
            f"{setting}.label_range if this corpus is labelled on another scale"
        )
        problems.append(problem("range setting", message))
    unknown = sum(problem.check == "class" for problem in problems)
    if unknown:
        message = (
            f"{unknown} label(s) are no class of this dataset: correct them, or set {setting}.classes, the "
            f"names in order; now they are {', '.join(classes)}"
        )
        problems.append(problem("class setting", message))


def _is_there(labels: LabelFile, root: Path, setting: str) -> bool:
    where = f"{setting}.root is {str(root)!r}"
    if not root.is_dir():
        labels.reject("file", f"{where}: no such folder; expected the layout {LAYOUT}")
        return False
    if not labels.path.is_file():
        suffixes = {".csv", ".tsv", ".xls", ".xlsx"}
        tables = sorted(file.name for file in root.iterdir() if file.suffix.lower() in suffixes)
        there = f" (there is {', '.join(tables)}: save it as label.csv)" if tables else ""
        labels.reject("file", f"no such file{there}; {where}, expected the layout {LAYOUT}")
        return False
    return True


def _row(
    labels: LabelFile,
    line: int,
    cells: dict[str, str],
    label_range: tuple[float, float],
    classes: Sequence[str],
) -> LabelRow | None:
    """A typed row; a wrong value becomes None and a problem, a row without usable ids None."""
    video, clip = cells["video_id"], cells["clip_id"]
    reasons = {name: bad_id(cells[name]) for name in ("video_id", "clip_id")}
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
            found[column], check, expected = label_value(value, label_range, classes)
            if check:
                labels.reject(check, f"{name} {called} is {value!r}, expected {expected}", line)
        elif name == "label" and split != UNLABELED:
            labels.reject("label", f"label {called} is empty; only mode unlabeled may have none", line)
    return LabelRow(line, video, clip, cells["text"], split, found, cells.get("annotation", ""))


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
