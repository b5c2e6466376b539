"""Messages that a person can read, whatever a file holds."""

from __future__ import annotations

import inspect

import pytest

from pipeline.core import errors
from pipeline.core.errors import LONGEST, LabelFileError, MsaError, first_line

FAMILY = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, MsaError)]


@pytest.mark.parametrize("kind", [kind for kind in FAMILY if kind is not LabelFileError])
def test_of_a_long_line_the_middle_is_left_out(kind: type[MsaError]) -> None:
    name = "x" * 1_000_000
    said = str(kind(f"labels.csv: split {name!r} is not known; expected train, valid or test"))
    assert len(said) == LONGEST and said.startswith("labels.csv: split 'xxx")
    assert said.endswith("xxx' is not known; expected train, valid or test")
    assert first_line(kind(f"a: {name}")) == str(kind(f"a: {name}"))


def test_each_problem_of_a_label_file_is_readable() -> None:
    said = str(LabelFileError("labels.csv", ["line 1: " + "x" * 10_000, "line 2: short", "y" * LONGEST]))
    head, *lines = said.split("\n")
    assert head == "labels.csv: 3 problem(s)" and lines[1] == "  - line 2: short"
    assert [len(line) for line in lines] == [LONGEST, 17, LONGEST]


@pytest.mark.parametrize("said", ["", "short", "two\nlines", "x" * LONGEST])
def test_what_is_short_stays_as_it_is(said: str) -> None:
    assert str(MsaError(said)) == said
