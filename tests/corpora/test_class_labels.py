"""Label files of classifications -> clip table: classes by name or index, and what is none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.mmsa_corpus import corpus, problems_of, rows_of

from pipeline.corpora.ingest import ingest
from pipeline.corpora.tables.values import number_of
from pipeline.params.params import MediaLimits

MOODS = {"task": "classification", "classes": ["Anger", "no mood", "高兴"]}


@pytest.mark.parametrize(
    ("cell", "index"),
    [("Anger", 0), ("aNGER", 0), ("no mood", 1), ("高兴", 2), ("0", 0), ("2", 2), ("1.0", 1), ("+2", 2)],
)
def test_names_and_indices_of_classes(tmp_path: Path, cell: str, index: int) -> None:
    dataset = corpus(tmp_path, f"a,1,x,{cell},{cell},,,Positive,train", **MOODS)
    (row,) = rows_of(dataset).values()
    names = ("class_label", "class_text", "class_audio", "class_visual")
    assert [row[name] for name in names] == [index, index, None, None]
    assert [row[name] for name in ("label", "label_text")] == [None, None]
    _, facts = ingest("moods", dataset, MediaLimits())
    assert (facts.task, facts.class_names) == ("classification", tuple(MOODS["classes"]))


def test_a_number_that_names_a_class_is_no_index(tmp_path: Path) -> None:
    """Classes 1 and 2 with labels 1 and 2: the label 1 is the first of them, and 0 is none."""
    stars = {**MOODS, "classes": ["1", "2"]}
    rows = rows_of(corpus(tmp_path, "a,1,x,1,,,,,train", "a,2,x,2,,,,,train", **stars))
    assert [row["class_label"] for row in rows.values()] == [0, 1]
    row, setting = problems_of(corpus(tmp_path, "a,1,x,0,,,,,train", **stars))
    assert row == "line 2: label of clip a$_$1 is '0', expected one of 1, 2"
    assert "datasets.tiny.classes" in setting


def test_unknown_classes_are_listed_at_once(tmp_path: Path) -> None:
    lines = [
        "a,1,x,angry,,,,,train",
        "a,2,x,3,,,,,train",
        "a,3,x,-1,,,,,valid",
        "a,4,x,0.5,,,,,test",
        "a,5,x,0,,nan,,,test",
        "a,6,x,,,,,,test",
        "a,7,x,,,,,,unlabeled",
    ]
    *wrong, empty, setting = problems_of(corpus(tmp_path, *lines, **MOODS))
    expected = "expected one of Anger, no mood, 高兴, or an index from 0 to 2"
    assert wrong == [
        f"line 2: label of clip a$_$1 is 'angry', {expected}",
        f"line 3: label of clip a$_$2 is '3', {expected}",
        f"line 4: label of clip a$_$3 is '-1', {expected}",
        f"line 5: label of clip a$_$4 is '0.5', {expected}",
        f"line 6: label_A of clip a$_$5 is 'nan', {expected}",
    ]
    assert empty == "line 7: label of clip a$_$6 is empty; only mode unlabeled may have none"
    assert setting.startswith(
        "5 label(s) are not classes of this dataset: correct them, or set datasets.tiny."
    )


def test_range_of_a_regression_is_nothing_to_classes(tmp_path: Path) -> None:
    many = {**MOODS, "classes": [f"mood {letter}" for letter in "abcdefgh"]}
    (row,) = rows_of(corpus(tmp_path, "a,1,x,7,,,,,train", **many)).values()
    assert row["class_label"] == 7


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), ("-1.", -1.0), (".5", 0.5), ("1e3", 1000.0), ("9" * 300_000 + "x", None), ("nan", None)],
)
def test_numbers_in_plain_notation(text: str, number: float | None) -> None:
    """A long cell takes no longer than it is long: minutes, were it tried at every digit."""
    assert number_of(text) == number
