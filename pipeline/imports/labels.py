"""Labels of imports that tell little of themselves: label.csv beside feature files, and bare 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import LabelFileError
from pipeline.corpora.findings import shortened
from pipeline.corpora.kinds import mustard, urfunny
from pipeline.corpora.survey import CorpusClip, Labelling
from pipeline.corpora.tables.labels import read_labels
from pipeline.params.params import ImportParams

# word in the name of a file or import -> the classes of 0 (or -1) and 1
BINARY_CLASSES = {
    **dict.fromkeys(("humor", "funny"), urfunny.LABELLING.classes),
    **dict.fromkeys(("sarcasm", "mustard"), mustard.LABELLING.classes),
}
OTHER_CLASSES = ("negative", "positive")


def labelled_rows(
    folder: Path, params: ImportParams
) -> tuple[list[CorpusClip], list[dict[str, Any]], Labelling]:
    """Clips of a folder's label.csv, their rows and their labelling; LabelFileError lists all problems."""
    found = read_labels(folder, (-math.inf, math.inf), "imports", params.classes)
    if found.problems:
        raise LabelFileError(found.source, shortened(found.problems))
    rows = [
        {
            "clip_id": clip.id,
            "video_id": clip.video_id,
            "split": clip.split,
            "text": clip.text or None,
            **clip.labels,
        }
        for clip in found.clips
    ]
    return found.clips, rows, given_labelling(params, params.classes)


def given_labelling(params: ImportParams, classes: Sequence[str]) -> Labelling:
    """What params.yaml says of labels that say nothing of themselves; without classes they are scores."""
    if classes:
        return Labelling("classification", params.label_range, tuple(classes), params.language, "cls")
    return Labelling("regression", params.label_range, (), params.language, "mmsa")


def binary_labelling(rows: Sequence[dict[str, Any]], name: str, metrics: str) -> Labelling:
    """Turn labels that take two values, 0 or -1 and 1, into classes, in place; other labels stay scores.

    The files say nothing of it: the same project writes scores of CMU-MOSI and humor of UR-FUNNY alike.

    Parameters
    ----------
    rows : with `label`; where these are classes it becomes `class_label`
    name : of the files, which tells what the classes are
    metrics : metric set of scores
    """
    found = {row["label"] for row in rows} - {None}
    if not found or not (found <= {0, 1} or found <= {-1, 1}):
        return Labelling(metrics=metrics)
    for row in rows:
        label = row.pop("label")
        row["class_label"] = None if label is None else int(label > 0)
    known = (classes for word, classes in BINARY_CLASSES.items() if word in name.lower())
    return Labelling("classification", classes=next(known, OTHER_CLASSES), metrics="cls")
