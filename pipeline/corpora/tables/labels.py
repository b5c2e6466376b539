"""`label.csv` of a raw corpus as clips, and everything that is wrong with it at once.

Columns: video_id, clip_id, text, label, mode, and where there are any label_T, label_A, label_V, annotation;
others are ignored. `mode` is train, valid (also val, dev), test or unlabeled, in any case.
Labels are numbers; of a classification the names of classes, in any case, or their indices from 0 (names
alone where one is a number).
Ids are text: `0001`, `1e5` and `-3g5yACwYnA` stay what they are.
CH-SIMS v2 calls the file `meta.csv`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.names import bad_id
from pipeline.core.vocabulary import CLASSES, LABELS, UNLABELED
from pipeline.corpora.clips import full_id
from pipeline.corpora.survey import CorpusClip, CorpusSurvey
from pipeline.corpora.tables.csv import read_table
from pipeline.corpora.tables.values import SPLIT_NAMES, interval, label_value

LABEL_FILES = ("label.csv", "meta.csv")
LAYOUT = "<root>/label.csv and <root>/Raw/<video_id>/<clip_id>.mp4"
REQUIRED = ("video_id", "clip_id", "text", "label", "mode")
# name in the file -> column of the clip table
LABEL_COLUMNS = dict(zip(("label", "label_T", "label_A", "label_V"), LABELS, strict=True))
CLASS_COLUMNS = dict(zip(LABEL_COLUMNS, CLASSES, strict=True))
KNOWN = {name.lower() for name in (*REQUIRED, *LABEL_COLUMNS, "annotation")}


def read_labels(
    root: Path, label_range: tuple[float, float], setting: str, classes: Sequence[str] = ()
) -> CorpusSurvey:
    """The clips of `<root>/label.csv` without media, in the file's order; problems are collected.

    Parameters
    ----------
    root : folder of the corpus
    label_range : smallest and largest label that is allowed in a regression
    setting : the section of params.yaml that holds these settings, for messages
    classes : names of the classes; none = a regression
    """
    path = label_file(root) or root / LABEL_FILES[0]
    found = CorpusSurvey(str(path))
    if not _is_there(found, root, path, setting):
        return found
    table = read_table(path, found, REQUIRED, KNOWN)
    if ignored := [name for name in table.header if name and name.lower() not in KNOWN]:
        found.note("columns", f"{path}: unused columns: {', '.join(ignored)}")
    if not table.columns:
        return found
    seen: dict[str, CorpusClip] = {}
    for line, cells in table.rows:
        clip = _clip(found, line, cells, label_range, classes)
        if clip is not None and (first := seen.setdefault(clip.id, clip)) is not clip:
            check, there = "duplicate ids", f"already in line {first.line}"
            if first.split != clip.split:
                check, there = (
                    "id in two splits",
                    f"in {clip.split}, and in line {first.line} in {first.split}",
                )
            found.reject(check, f"clip {clip.id} is {there}: remove one", line)
    found.clips = list(seen.values())
    if not found.clips and not found.problems:
        found.reject("empty", "a header and no rows; expected one row per clip")
    name_settings(found, label_range, classes, setting)
    return found


def label_file(root: Path) -> Path | None:
    """The label file of a folder."""
    return next((root / name for name in LABEL_FILES if (root / name).is_file()), None)


def name_settings(
    found: CorpusSurvey, label_range: tuple[float, float], classes: Sequence[str], setting: str
) -> None:
    """Add to wrong labels which setting says what is right."""
    outside = sum(problem.check == "label range" for problem in found.problems)
    unknown = sum(problem.check == "class" for problem in found.problems)
    if outside:
        message = (
            f"{outside} label(s) lie outside {interval(label_range)}: correct them, or set "
            f"{setting}.label_range if this corpus is labelled on another scale"
        )
        found.reject("range setting", message)
    if unknown:
        message = (
            f"{unknown} label(s) are not classes of this dataset: correct them, or set {setting}.classes, "
            f"the names in order (now {', '.join(classes)})"
        )
        found.reject("class setting", message)


def labels_of(
    found: CorpusSurvey,
    line: int,
    cells: Mapping[str, str],
    called: str,
    label_range: tuple[float, float],
    classes: Sequence[str],
) -> dict[str, float | None]:
    """The labels of a row by column of the clip table; a wrong one is None and a problem."""
    labels: dict[str, float | None] = {}
    for name, column in (CLASS_COLUMNS if classes else LABEL_COLUMNS).items():
        value = cells.get(name.lower(), "")
        labels[column], check, expected = label_value(value, label_range, classes)
        if value and check:
            found.reject(check, f"{name} of {called} is {value!r}, expected {expected}", line)
    return labels


def _is_there(found: CorpusSurvey, root: Path, path: Path, setting: str) -> bool:
    where = f"{setting}.root is {str(root)!r}"
    if not root.is_dir():
        found.reject("file", f"{where}: no such folder; expected the layout {LAYOUT}")
    elif not path.is_file():
        suffixes = {".csv", ".tsv", ".xls", ".xlsx"}
        tables = sorted(file.name for file in root.iterdir() if file.suffix.lower() in suffixes)
        there = f" (found {', '.join(tables)}: save it as label.csv)" if tables else ""
        found.reject("file", f"no such file{there}; {where}, expected the layout {LAYOUT}")
    return not found.problems


def _clip(
    found: CorpusSurvey,
    line: int,
    cells: dict[str, str],
    label_range: tuple[float, float],
    classes: Sequence[str],
) -> CorpusClip | None:
    """The clip of a row; a wrong value becomes None and a problem, a row without usable ids None."""
    video, clip = cells["video_id"], cells["clip_id"]
    reasons = {name: bad_id(cells[name]) for name in ("video_id", "clip_id")}
    for name, reason in reasons.items():
        if reason:
            found.reject("ids", f"{name} is {cells[name]!r}: {reason}", line)
    if any(reasons.values()):
        return None
    called = f"clip {full_id(video, clip)}"
    split = SPLIT_NAMES.get(cells["mode"].lower())
    if split is None:
        found.reject(
            "mode", f"mode of {called} is {cells['mode']!r}, expected {', '.join(SPLIT_NAMES)}", line
        )
    if not cells["label"] and split != UNLABELED:
        found.reject("label", f"label of {called} is empty; only mode unlabeled may have none", line)
    labels = labels_of(found, line, cells, called, label_range, classes)
    annotation = cells.get("annotation", "")
    return CorpusClip(video, clip, split, cells["text"], labels, annotation=annotation, line=line)
