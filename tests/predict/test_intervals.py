"""The interval around a score, from the validation predictions of the same runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.two_corpora import Corpus, make_set, train_on

from pipeline.predict import report
from pipeline.predict.intervals import half_width_of
from pipeline.predict.prediction import ClipFeatures, ClipPrediction, Facts, Outcome
from pipeline.reports.blocks import as_markdown
from pipeline.training.runs import open_runs
from pipeline.transcripts.stage import Transcript


def test_half_width_of_the_mean_of_runs(tmp_path: Path) -> None:
    corpus = Corpus.made("c", 40, 0.0, 1.0)
    clips = [*corpus.scores]
    parts = {"train": clips[:16], "valid": clips[16:35], "test": clips[35:]}
    assembled = make_set(tmp_path, "c", {split: (corpus, own) for split, own in parts.items()})
    folders = [train_on(tmp_path, assembled, seed, 1) for seed in (1, 2)]
    tables = [pq.read_table(folder / "valid.predictions.parquet").to_pydict() for folder in folders]
    mean = np.mean([table["prediction"] for table in tables], axis=0)
    errors = np.sort(np.abs(mean - np.array(tables[0]["label"])))
    assert half_width_of(open_runs(folders)) == pytest.approx(errors[17])  # the 18th of 19
    few = pq.read_table(folders[0] / "valid.predictions.parquet")
    pq.write_table(few.slice(0, 8), folders[0] / "valid.predictions.parquet")
    assert half_width_of(open_runs(folders[:1])) is None  # too few
    assert half_width_of(open_runs(folders)) is None  # not the same clips


def test_it_is_said(tmp_path: Path) -> None:
    spoken = Transcript("clip", tmp_path / "clip.mp4", None, None, "en", "so")
    found = ClipPrediction(
        Facts("c", (-3.0, 3.0), ()),
        ClipFeatures("clip", tmp_path / "clip.mp4", spoken, {}, {}),
        [Outcome("r", "early_fusion", np.array([2.5]), np.array([0.0]), {}, {})],
    )
    assert found.interval is None and "interval" not in as_markdown(report.blocks([found]))
    found.half_width = 1.25
    assert found.interval == (1.25, 3.0)  # no label is larger
    assert "90% interval: 1.250 to 3.000" in as_markdown(report.blocks([found]))
    table = report.to_table([found], found.facts)
    assert (table["low"].to_pylist(), table["high"].to_pylist()) == ([1.25], [3.0])
    assert report._clip(found)["interval"] == {"level": 0.9, "low": 1.25, "high": 3.0}
