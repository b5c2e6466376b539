"""CSV that no spreadsheet runs: what becomes of cells, and back."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.spreadsheets import cell, write_cells

DANGEROUS = [
    f"{sign}{rest}"
    for sign in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
    for rest in ("HYPERLINK(0)", "cmd|' /C calc'!A0", "SUM(A1)", "x", "")
]


@pytest.mark.parametrize("text", [*DANGEROUS, *(f"'{text}" for text in DANGEROUS)])
def test_no_cell_begins_as_a_formula_and_each_text_comes_back(text: str, tmp_path: Path) -> None:
    write_cells(tmp_path / "x.csv", ["id"], [[text]])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        (written,) = list(csv.reader(file))[1]
    assert written == f"'{text}"  # one apostrophe less gives the text, whatever it was


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_everything_else_stays_as_it_is(delimiter: Any, tmp_path: Path) -> None:
    texts = [
        "3g5y-AC",
        "a=b",
        "'tis",
        "",
        "7",
        "-0.5",
        "+1e-05",
        "-inf",
        "nan",
        "a,b\tc",
        'say "x"\n',
        "日本",
    ]
    values = [*texts, -0.25, 3, -7, None, True]
    write_cells(tmp_path / "x", ["-name", "b"], ([value, 1] for value in values), delimiter)
    with (tmp_path / "x").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    assert header == ["'-name", "b"]
    assert [row[0] for row in rows] == [*texts, "-0.25", "3", "-7", "", "True"]


def test_two_texts_never_become_one_cell() -> None:
    texts = [
        f"{'x' * x}{quotes}{sign}1" for x in (0, 1) for quotes in ("", "'", "''") for sign in ("=", "", "-a")
    ]
    assert len({cell(text) for text in texts}) == len(texts)


def test_what_is_not_unicode_is_escaped(tmp_path: Path) -> None:
    write_cells(tmp_path / "x.csv", ["id"], [["a\ud800"]])
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == "id\na\\ud800\n"
