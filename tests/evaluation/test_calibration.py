"""Calibration from its definitions and as scikit-learn has it, coverage on made data, tasks side by side."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.tiny_runs import made_run, made_set
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, f1_score

from pipeline.core.git import open_revision
from pipeline.evaluation.calibration import BINS, LEVELS, half_width, of_scores, reliability
from pipeline.evaluation.clusters import clusters_of
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.metrics import mmsa, sims
from pipeline.evaluation.saved import read_results
from pipeline.evaluation.significance import mean_interval
from pipeline.evaluation.tasks import side_by_side

RANDOM = np.random.default_rng(0)


def test_reliability_is_scikit_learns_and_ece_the_definition() -> None:
    probability = RANDOM.dirichlet(np.full(4, 0.4), 500)
    label = RANDOM.integers(0, 4, 500)
    found = reliability(probability, label)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == label
    accuracies, confidences = calibration_curve(right, confidence, n_bins=BINS, strategy="uniform")
    known = found.counts > 0
    assert found.accuracy[known] == pytest.approx(accuracies)
    assert found.confidence[known] == pytest.approx(confidences)
    assert np.isnan(found.accuracy[~known]).all()
    ece = 0.0
    for b in range(BINS):
        mine = (confidence > b / BINS) & (confidence <= (b + 1) / BINS)
        if mine.any():
            ece += mine.mean() * abs(right[mine].mean() - confidence[mine].mean())
    assert found.ece == pytest.approx(ece)


def test_known_answers() -> None:
    sure = np.array([[1.0, 0.0]] * 10)
    assert reliability(sure, np.zeros(10)).ece == 0
    assert reliability(sure, np.array([0] * 6 + [1] * 4)).ece == pytest.approx(0.4)
    errors = np.arange(1, 10) / 10
    assert half_width(errors[::-1], 0.9) == 0.9  # the 9th of 9
    assert half_width(errors[:8], 0.9) == math.inf  # the 9th of 8
    assert half_width(errors, 0.5) == 0.5
    assert half_width(np.arange(19.0), 0.95) == 18


def test_coverage_of_exchangeable_clips_and_of_few_videos() -> None:
    """Of n clips like the new one the interval holds exactly ⌈.9 (n + 1)⌉ / (n + 1) in the mean; errors of
    three videos, each with its own size, say less of those of a fourth.
    """
    random, times, n = np.random.default_rng(1), 1500, 60
    held = []
    for _ in range(times):
        errors = np.abs(random.normal(size=n + 20))
        held.append((errors[n:] <= half_width(errors[:n], 0.9)).mean())
    expected = math.ceil(0.9 * (n + 1)) / (n + 1)
    assert np.mean(held) == pytest.approx(expected, abs=4 * np.std(held) / math.sqrt(times))
    held = []
    for _ in range(times):
        size = np.repeat(np.exp(random.normal(size=4)), 20)
        errors = size * np.abs(random.normal(size=80))
        held.append((errors[n:] <= half_width(errors[:n], 0.9)).mean())
    assert np.mean(held) < 0.88  # 0.85 here


def test_too_few_clips_for_a_level() -> None:
    found = of_scores(np.ones(10), {"test": np.array([0.5, 2.0])})
    assert found["clips"] == 10
    assert found["intervals"]["0.9"] == {"half_width": 1, "coverage": {"test": 0.5}}
    assert found["intervals"]["0.95"] == {"half_width": None, "coverage": {}}


def test_interval_of_a_mean_leaves_out_videos() -> None:
    videos = [f"v{i // 3}" for i in range(20)]
    values = RANDOM.random(20)
    low, high = mean_interval(values, clusters_of([None] * 20, videos))
    without = np.array([values[np.array(videos) != v].mean() for v in sorted(set(videos))])
    count = len(without)
    sd = math.sqrt((count - 1) / count * np.square(without - without.mean()).sum())
    assert (high - low) / 2 == pytest.approx(2.446912 * sd)  # t of 6 degrees of freedom
    assert (high + low) / 2 == pytest.approx(values.mean())


@pytest.mark.parametrize(("metric_set", "limit"), [("mmsa", 3), ("magbert", 3), ("sims", 1)])
def test_tasks_of_one_regression(metric_set: str, limit: int) -> None:
    label = (RANDOM.integers(-5 * limit, 5 * limit + 1, 300) / 5).astype(np.float32)
    prediction = (label + RANDOM.normal(scale=limit / 4, size=300)).astype(np.float32)
    found = side_by_side(prediction, label, metric_set)
    own = sims(prediction, label) if metric_set == "sims" else mmsa(prediction, label)
    assert found["polarity"]["accuracy"] == own["acc3"]
    assert found["intensity"] == {"mae": own["mae"], "corr": own["corr"]}
    edges = [-0.7, -0.1, 0.1, 0.7] if metric_set == "sims" else [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    true, guess = (
        np.digitize(values.astype(np.float64).round(6), edges, right=True) for values in (label, prediction)
    )
    classes = found[f"classes_{len(edges) + 1}"]
    assert classes["accuracy"] == pytest.approx(accuracy_score(true, guess))
    assert classes["f1_weighted"] == pytest.approx(f1_score(true, guess, average="weighted"))
    three = [np.digitize(v, [1.5, 2.5] if metric_set == "sims" else [2.5, 3.5]) for v in (true, guess)]
    assert found["polarity"]["f1_weighted"] == pytest.approx(f1_score(*three, average="weighted"))


@pytest.mark.parametrize("classes", [(), ("bad", "so", "good")])
def test_evaluate_writes_both(tmp_path: Path, classes: tuple[str, ...]) -> None:
    assembled = made_set(tmp_path / "set", classes)
    run = made_run(tmp_path, "text_only", assembled, classes=bool(classes))
    out = tmp_path / "results" / "tiny" / "text_only"
    evaluate([run], assembled, out, "cls" if classes else "mmsa", "cpu")
    valid = pq.read_table(run / "valid.predictions.parquet").to_pydict()
    test = pq.read_table(out / "predictions.parquet").to_pydict()
    (entry,) = json.loads((out / "metrics.json").read_text())["runs"]
    (saved,) = read_results(open_revision(None, tmp_path), "results/tiny/text_only")
    if classes:
        for name, chances, labels in (
            ("valid", valid["probability"], valid["label"]),
            ("test", test["probability_1"], test["label"]),
        ):
            ece = reliability(np.array(chances), np.array(labels)).ece
            assert entry["calibration"]["ece"][name] == pytest.approx(ece, abs=1e-5)
        assert saved.result.calibration.ece == entry["calibration"]["ece"] and "tasks" not in entry
        return
    errors = np.sort(np.abs(np.array(valid["prediction"]) - np.array(valid["label"])))
    assert list(entry["calibration"]["intervals"]) == [f"{level:g}" for level in LEVELS]
    half = saved.result.calibration.intervals[0.8]
    assert half.half_width == pytest.approx(errors[math.ceil(9 * 0.8) - 1], abs=1e-6)  # of 8 clips
    tested = np.abs(np.array(test["prediction_1"]) - np.array(test["label"]))
    assert half.coverage["test"] == pytest.approx((tested <= half.half_width).mean(), abs=1e-6)
    assert saved.result.calibration.intervals[0.9].half_width is None
    assert entry["tasks"]["polarity"]["accuracy"] == entry["test"]["acc3"]
    assert entry["tasks"]["classes_7"]["accuracy"] == entry["test"]["acc7"]
    assert not {"tasks", "calibration"} & json.loads((out / "metrics.json").read_text()).keys()
