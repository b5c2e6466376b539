"""label.csv in MMSA's columns beside feature files: labels as they stand there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import LabelFileError
from pipeline.corpora.findings import shortened
from pipeline.corpora.labelling import Labelling
from pipeline.corpora.tables.labels import LabelFile, read_labels
from pipeline.params.params import ImportParams


def labelled_rows(folder: Path, params: ImportParams) -> tuple[LabelFile, list[dict[str, Any]], Labelling]:
    """The label file of a folder, the rows of an import that it gives, and what its labels are.

    Raises
    ------
    LabelFileError : it cannot be used; lists all its problems
    """
    labels = read_labels(folder, (-math.inf, math.inf), "imports", params.classes)
    if labels.problems:
        raise LabelFileError(str(labels.path), shortened(labels.problems))
    rows = [
        {
            "clip_id": row.id,
            "video_id": row.video_id,
            "split": row.split,
            "text": row.text or None,
            **row.labels,
        }
        for row in labels.rows
    ]
    return labels, rows, given_labelling(params, params.classes)


def given_labelling(params: ImportParams, classes: Sequence[str]) -> Labelling:
    """What params.yaml says of labels that say nothing of themselves; without classes they are scores."""
    if classes:
        return Labelling("classification", params.label_range, tuple(classes), params.language, "cls")
    return Labelling("regression", params.label_range, (), params.language, "mmsa")
