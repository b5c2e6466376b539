"""Labels that are 0 and 1, or -1 and 1, and nothing else: classes of humor, sarcasm or sentiment.

The files say nothing of it: the same project writes scores of CMU-MOSI and humor of UR-FUNNY alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.corpora import mustard, urfunny
from pipeline.corpora.labelling import Labelling

# word in the name of a file or import -> the classes of 0 (or -1) and 1
CLASSES = {
    **dict.fromkeys(("humor", "funny"), urfunny.LABELLING.classes),
    **dict.fromkeys(("sarcasm", "mustard"), mustard.LABELLING.classes),
}
OTHER_CLASSES = ("negative", "positive")


def binary_labelling(rows: Sequence[dict[str, Any]], name: str, metrics: str) -> Labelling:
    """Turn labels that take two values into classes, in place; other labels stay scores.

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
    known = next((classes for word, classes in CLASSES.items() if word in name.lower()), OTHER_CLASSES)
    return Labelling("classification", classes=known, metrics="cls")
