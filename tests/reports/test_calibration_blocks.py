"""Calibration as the report and the page say it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from made.small_repository import save_runs

from pipeline.core.git import open_revision
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.saved import Result, SavedRun, read_results
from pipeline.reports.blocks import as_markdown
from pipeline.reports.calibration import calibration_blocks, calibration_drawing
from pipeline.reports.figures import picture

INTERVALS = {
    "0.5": {"half_width": 0.25, "coverage": {"test": 0.5}},
    "0.9": {"half_width": 1.0, "coverage": {"test": 0.9}},
    "0.95": {"half_width": None, "coverage": {}},
}


def unpadded(text: str) -> str:
    return re.sub(" +", " ", text)


def test_scores(tmp_path: Path) -> None:
    save_runs(tmp_path, "misr", (1, 2), 0.6, calibration={"clips": 12, "intervals": INTERVALS})
    save_runs(tmp_path, "older", (1, 2), 0.6)
    here = open_revision(None, tmp_path)
    methods = {name: read_results(here, f"results/mosi/{name}") for name in ("misr", "older")}
    text = unpadded(as_markdown(calibration_blocks(methods)))
    errors = [np.abs(r.predictions["test"].prediction - r.predictions["test"].label) for r in methods["misr"]]
    half, most = (np.mean([e <= width for e in errors]) for width in (0.25, 1.0))
    assert re.search(rf"\| MISR \| {half:.3f} \| {most:.3f} \| \S+ to \S+ \| 1.000 ± 0.000 \|", text)
    assert "older" not in text and "coverage at 95%" not in text and "exchangeable" in text
    drawing = calibration_drawing(methods)
    assert drawing is not None and picture(drawing).svg.count("<svg") == 1
    assert f"MISR 50%: {half:.3f}, 90%: {most:.3f}" in drawing.alt
    assert calibration_blocks({"older": methods["older"]}) == []
    assert calibration_drawing({"older": methods["older"]}) is None


def test_classes() -> None:
    random = np.random.default_rng(0)
    runs = []
    for seed in (1, 2):
        chances = random.dirichlet(np.ones(3), 50)
        guess = chances.argmax(axis=1).astype(float)
        label = random.integers(0, 3, 50).astype(float)
        ids = tuple(f"v{i:02d}$_$0" for i in range(50))
        found = Predictions(ids, ids, (None,) * 50, label, guess, {}, chances)
        accuracy = float((guess == label).mean())
        result = Result(
            format=2, method="m", dataset="d", seed=seed, metric_set="cls", feature_set="f", features={},
            class_names=tuple("abc"), test={"accuracy": accuracy}, valid={}, n={}, floor={}, remarks={},
        )  # fmt: skip
        runs.append(SavedRun("results/d/m", "here", result, {"test": found}))
    (_, table, _) = calibration_blocks({"m": runs})
    sure = [r.predictions["test"].probability.max(axis=1).mean() for r in runs]  # type: ignore[union-attr]
    name, _, confidence, accuracy_cell = table.rows[0]  # type: ignore[union-attr]
    assert name == "m" and str(confidence).startswith(f"{np.mean(sure):.3f} ± ")
    assert str(accuracy_cell).startswith(f"{np.mean([r.result.test['accuracy'] for r in runs]):.3f}")
    drawing, again = (calibration_drawing({"m": runs, "n": runs}) for _ in range(2))
    assert drawing is not None and again is not None and "Reliability" in drawing.title
    assert picture(drawing) == picture(again)  # the same bytes
