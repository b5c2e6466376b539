"""What an extraction says at its end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.vocabulary import FAILED, OK
from pipeline.execution.progress import ExtractionReport, by_reason
from pipeline.store.shard import FeatureRow
from pipeline.store.store import Update

FAILURES = {
    "a": "a.mp4: empty file",
    "b": "clip_17.mp4: empty file",
    "c": "took longer than 3 s",
    "d": "d.mp4: empty file",
    "e": "1000 samples of sound are less than one frame",
    "f": "20 samples of sound are less than one frame",
}


def test_reasons_that_differ_in_names_and_numbers_are_one() -> None:
    found = by_reason(FAILURES)
    assert list(found.values()) == [["a", "b", "d"], ["e", "f"], ["c"]]
    assert next(iter(found)) == "a.mp4: empty file"


def test_the_end_is_a_table_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = ExtractionReport("audio toy on sample")
    with report.progress:
        report.plan(4, 8)
        for i in range(8):
            report.row(FeatureRow(f"r{i}", "s", FAILED if i < 6 else OK))
    update = Update(12, 4, 8, 0, Counter(ok=6, failed=6), FAILURES)
    report.end(update, tmp_path / "logs", "sample-audio-toy")
    said = capsys.readouterr().out
    assert "audio toy on sample: 4 kept, 8 to compute" in said
    assert "6 failed, 6 ok, " in said and "clips/s" in said
    assert "a.mp4: empty file" in said and "a, b, d" in said
    summary = json.loads((tmp_path / "logs" / "extraction-sample-audio-toy.json").read_text())
    assert summary["failed"] == FAILURES
    assert (summary["clips"], summary["kept"], summary["computed"], summary["missing"]) == (12, 4, 8, 0)
    assert summary["status"] == {"failed": 6, "ok": 6} and summary["clips_a_second"] > 0
