"""One value of a label file: the name of a split, a score or a class; else why it is none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pipeline.core.vocabulary import ALL_SPLITS, TEST, TEST_OOD, TRAIN, UNLABELED, VALID
from pipeline.params.params import class_key

# in lower case, as label files and feature files write them -> ours
SPLIT_NAMES = {
    **{split: split for split in ALL_SPLITS},
    **{"training": TRAIN, "validation": VALID, "val": VALID, "dev": VALID, "unlabelled": UNLABELED},
    **{"test_iid": TEST, "iid": TEST, "ood": TEST_OOD},
}
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def label_value(
    value: str, label_range: tuple[float, float], classes: Sequence[str]
) -> tuple[float | None, str, str]:
    """A label as a score or, of a classification, as the index of its class.

    Returns
    -------
    label, check, expected : the label and two empty strings; or None, the check that it fails, and what was
        expected
    """
    if classes:
        return _class(value, classes)
    number = number_of(value)
    if number is None:
        hint = " with a decimal point" if "," in value else ""
        inside = "" if math.isinf(label_range[0]) else f" in {interval(label_range)}"
        words = "; if labels are classes, name them with --classes" if value[:1].isalpha() else ""
        return None, "label", f"a finite number{hint}{inside}{words}"
    if not label_range[0] <= number <= label_range[1]:
        return None, "label range", f"a number in {interval(label_range)}"
    return number, "", ""


def _class(value: str, classes: Sequence[str]) -> tuple[int | None, str, str]:
    names = [class_key(name) for name in classes]
    if class_key(value) in names:
        return names.index(class_key(value)), "", ""
    indices = ""
    if all(number_of(name) is None for name in names):  # else a number is the name of a class
        number = number_of(value)  # a table that was written with empty cells may say 1.0 for 1
        if number is not None and number in range(len(names)):
            return int(number), "", ""
        indices = f", or an index from 0 to {len(classes) - 1}"
    return None, "class", f"one of {', '.join(classes)}{indices}"


def number_of(value: str) -> float | None:
    """A finite number in plain notation; None for anything else (float() would take `nan` and `1_0`)."""
    number = float(value) + 0.0 if NUMBER.fullmatch(value) else math.nan  # -0.0 becomes 0.0
    return number if math.isfinite(number) else None


def interval(label_range: tuple[float, float]) -> str:
    return f"[{label_range[0]:g}, {label_range[1]:g}]"


def without_zeros(name: str) -> str:
    """A number without leading zeros; any other name as it is."""
    return (name.lstrip("0") or "0") if name.isascii() and name.isdigit() else name
