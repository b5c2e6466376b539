"""Below 20 clips nothing can be chosen or judged, and `validate` says so; labels stand in a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.mmsa_corpus import corpus

from pipeline.params.params import Params
from pipeline.reports.blocks import Table
from pipeline.validate.labels import FEW
from pipeline.validate.page import blocks
from pipeline.validate.subjects import Subject
from pipeline.validate.validate import Validation, examine


def found(root: Path, valid: int, test: int) -> Validation:
    """Of a corpus with two train clips and these others; labels -2.9 and 1 by turns."""
    splits = ["train"] * 2 + ["valid"] * valid + ["test"] * test
    lines = [f"v{i},1,words,{-2.9 if i % 2 else 1},,,,,{split}" for i, split in enumerate(splits)]
    return examine(Subject("few", corpus(root, *lines)), Params())


@pytest.mark.parametrize(("valid", "test"), [(FEW - 1, FEW), (FEW, FEW - 1), (1, 2)])
def test_few_clips_are_a_warning_of_their_split(valid: int, test: int, tmp_path: Path) -> None:
    said = [one.message for one in found(tmp_path, valid, test).findings if one.check == "few clips"]
    expected = [f"{n} {of} clips" for of, n in (("valid", valid), ("test", test)) if n < FEW]
    assert [" ".join(line.split()[:3]) for line in said] == expected
    assert all(("judge" in line) == (" test " in line) for line in said)


def test_labels_stand_in_a_table_and_in_no_line(tmp_path: Path) -> None:
    page = blocks(found(tmp_path, FEW, FEW))
    table = next(one for one in page if isinstance(one, Table) and one.head[0] == "label")
    assert table.head == ["label", "train", "valid", "test"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["-3.00 to -2.14"] == ["1 (50%)", "10 (50%)", "10 (50%)"]
    assert rows["0.43 to 1.29"] == ["1 (50%)", "10 (50%)", "10 (50%)"]
    assert rows["in the middle third"] == ["50%", "50%", "50%"]
    assert not any(
        "equal bins" in str(cell)
        for one in page
        if isinstance(one, Table)
        for row in one.rows
        for cell in row
    )
