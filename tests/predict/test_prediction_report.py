"""Scores in words, names of clips, and remarks that need no run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import MsaError
from pipeline.predict import cautions
from pipeline.predict.predict import clips_of
from pipeline.predict.report import GRADES, grade
from pipeline.transcripts.stage import Transcript


@pytest.mark.parametrize("label_range", [(-3.0, 3.0), (-1.0, 1.0), (1.0, 5.0)])
def test_grades_divide_the_range_evenly(label_range: tuple[float, float]) -> None:
    low, high = label_range
    steps = np.linspace(low, high, 7)
    assert [grade(step, label_range) for step in steps] == list(GRADES)
    edge = (steps[3] + steps[4]) / 2
    width = (high - low) / 1000
    assert (grade(edge - width, label_range), grade(edge + width, label_range)) == (GRADES[3], GRADES[4])
    assert (grade(low - 9, label_range), grade(high + 9, label_range)) == (GRADES[0], GRADES[-1])


def test_clips_have_names(tmp_path: Path) -> None:
    for name in ("a.mp4", "sub/b.c.mkv", "sub/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert clips_of([tmp_path]) == {"a": tmp_path / "a.mp4", "sub/b.c": tmp_path / "sub" / "b.c.mkv"}
    other = tmp_path / "sub" / "a.mov"
    other.touch()
    with pytest.raises(MsaError, match="both be named 'a'"):
        clips_of([tmp_path / "a.mp4", other])


def test_another_language_than_the_corpus_is_said() -> None:
    spoken = Transcript("a", None, None, None, "zh")
    assert [one.kind for one in cautions.of_language(spoken, "en")] == ["language"]
    assert cautions.of_language(spoken, "zh") == cautions.of_language(spoken, None) == []
    for text, trained, warned in (
        ("今天很好", "en", True),
        ("so good", "zh", True),
        ("so good", "en", False),
        ("今天 OK", "zh", False),
        ("123 :-)", "zh", False),
        ("так себе", "xx", False),
    ):
        assumed = Transcript("a", None, None, None, trained, text)
        assert bool(cautions.of_language(assumed, trained)) == warned
