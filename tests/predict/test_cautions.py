"""Cautions: the made corpus is named, and a clip that is far from the training clips is told from others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.predict import cautions

COLUMNS = [f"c{number}" for number in range(20)]
ENTRY = {"columns": COLUMNS, "normalized": COLUMNS[:-1], "sd": [1.0] * 18 + [0.0, 1.0], "max_steps": 50}
ENTRY |= {"shorten": "pool"}


def told(values: np.ndarray) -> list[cautions.Caution]:
    """Of a run that reads sight alone, about scaled values (frames, columns)."""
    reading = SimpleNamespace(context=0, tokenizer=None, waveform=0)
    run: Any = SimpleNamespace(reading=reading, entries={"visual": ENTRY}, config={"method": "misr"})
    inputs: Any = SimpleNamespace(before=None, sound=None, sequences={"visual": values})
    row: Any = SimpleNamespace(features=values)
    spoken: Any = SimpleNamespace(text="", words=None)
    return cautions.of_run(run, inputs, {"visual": row}, spoken)


def normal(frames: int = 400) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(frames, len(COLUMNS)))


def test_a_clip_like_those_of_training_is_not_far() -> None:
    assert told(normal()) == []
    one = normal()
    one[:, 3] += 5  # one column of eighteen
    assert told(one) == []


def test_columns_that_are_far_on_average_are_named() -> None:
    moved = normal()
    moved[:, 3] += 4
    moved[:, 7] -= 6
    (found,) = told(moved)
    assert (found.kind, found.modality) == ("out_of_range", "visual")
    assert "means of 2 of its 18 columns (c7, c3) are 3 or more standard deviations" in found.message


def test_values_at_the_limit_come_first() -> None:
    moved = normal()
    moved[:, 5] = 10
    (found,) = told(moved)
    assert "6% of its values (c5) are 10 or more standard deviations" in found.message


@pytest.mark.parametrize("column", [18, 19])
def test_columns_that_are_not_scaled_do_not_count(column: int) -> None:
    moved = normal()
    moved[:, column] = 1000
    assert told(moved) == []


@pytest.mark.parametrize(
    ("dataset", "said"), [("sample", True), ("sample-f0", True), ("mosi", False), ("sampled", False)]
)
def test_runs_of_the_made_corpus_say_so(dataset: str, said: bool) -> None:
    found = cautions.of_training(dataset)
    assert [one.kind for one in found] == (["sample"] if said else [])
    assert not said or "means nothing" in str(found[0])
