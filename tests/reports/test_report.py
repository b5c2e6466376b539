"""The report: NumPy's means and spreads, only what params.yaml names, the same bytes, readable pictures."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.made_results import (
    DATASETS,
    MAE,
    METHODS,
    MOODS,
    SEEDS,
    chosen,
    make_params,
    write_moods,
    write_result,
)
from matplotlib.figure import Figure
from scipy import stats

from pipeline.core.errors import MsaError
from pipeline.evaluation.comparison import compare_runs
from pipeline.evaluation.saved import Spread, read_runs
from pipeline.evaluation.standing import standings
from pipeline.params.params import Params
from pipeline.reports.figures import Drawing
from pipeline.reports.overview_figures import draw_curves, draw_forest, draw_predictions
from pipeline.reports.report import report
from pipeline.reports.tables import summarize


@pytest.fixture(autouse=True)
def _no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """test_page.py looks at them; their pictures take time."""
    monkeypatch.setattr("pipeline.reports.report.index_page", lambda *of: "")
    monkeypatch.setattr("pipeline.reports.report.set_page", lambda *of: "")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for dataset in DATASETS:
        for method in METHODS:
            for seed in SEEDS:
                write_result(tmp_path, method, dataset, seed)
    return tmp_path


def make(place: Path, params: Params) -> str:
    return report(params, place / "results", place / "reports")


def unpadded(text: str) -> str:
    return re.sub(" +", " ", text)


def test_scores_are_numpys_mean_and_sample_deviation(place: Path) -> None:
    summary = {name: summarize(runs) for name, runs in read_runs(make_params(), place / "results").items()}
    assert list(summary) == list(DATASETS)
    for method in METHODS:
        found = summary["mosi"][method]
        assert list(found) == ["mae", "corr", "acc7", "valid_mae"]
        assert found["mae"].mean == pytest.approx(np.mean(MAE[method]), abs=1e-6)
        assert found["mae"].sd == pytest.approx(np.std(MAE[method], ddof=1), abs=1e-6)
        assert found["corr"] == Spread(0.5, 0.0, 3)
        assert found["valid_mae"].mean == pytest.approx(np.mean(MAE[method]) + 0.1, abs=1e-6)


def test_markdown(place: Path) -> None:
    text = make(place, make_params())
    assert (place / "reports" / "report.md").read_text(encoding="utf-8") == text
    sample, mosi = unpadded(text).split("## mosi")
    assert "numbers mean nothing" in sample
    assert "numbers mean nothing" not in mosi
    assert "| MISR | 0.750 ± 0.050 | 0.500 ± 0.000 | 0.420 ± 0.010 | 0.850 ± 0.050 | 2, 2, 2 |" in mosi
    assert "| train median | 1.250 | – | – | 1.500 | – |" in mosi
    assert "audio `librosa33`, text `minilm` (feature set `abcdef012345`)" in mosi
    assert "4 valid, 30 test (15 videos, too few to test differences on)." in mosi
    assert "- other, seed 3, test: Corr is 0: all predictions are 1" in mosi


def test_methods_with_other_encoders_are_told(place: Path) -> None:
    tuned = {"text": "minilm (fine-tuned)", "audio": "librosa33"}
    for seed in SEEDS:
        write_result(place, "other", "mosi", seed, features=tuned)
    text = report(make_params(), place / "results", place / "reports")
    assert "text `minilm` or `minilm (fine-tuned)`" in text.partition("## mosi")[2]


def test_one_seed_has_no_deviation(place: Path) -> None:
    text = make(place, make_params(seeds=[2], datasets_run=["mosi"]))
    assert "| MISR | 0.800 | 0.500 |" in unpadded(text)


def test_only_what_params_name_is_reported(place: Path) -> None:
    text = make(place, make_params(models_run=["misr"], seeds=[3, 1], datasets_run=["mosi"]))
    assert "other" not in text and "## sample" not in text
    means = [np.mean([MAE["misr"][i] for i in (0, 2)]), np.std([MAE["misr"][i] for i in (0, 2)], ddof=1)]
    assert f"| MISR | {means[0]:.3f} ± {means[1]:.3f} |" in unpadded(text)
    with (place / "reports" / "predictions.csv").open() as file:
        assert {(r["method"], r["seed"]) for r in csv.DictReader(file)} == {("misr", "1"), ("misr", "3")}


def test_tables_for_plots(place: Path) -> None:
    make(place, make_params())
    with (place / "reports" / "curves.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == [
        *("method", "dataset", "seed", "epoch"),
        *("total", "prior", "swap", "valid_loss", "lr"),
    ]
    assert len(rows) == 2 * 2 * 3 * 3
    assert (rows[0]["prior"], rows[0]["swap"], rows[0]["epoch"]) == ("1", "", "1")
    with (place / "reports" / "predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == 2 * 2 * 3 * 30
    saved = pq.read_table(place / "results" / "sample" / "misr" / "predictions.parquet").to_pydict()
    assert float(predictions[5]["prediction"]) == pytest.approx(saved["prediction_1"][5], rel=1e-5)
    assert predictions[5]["clip_id"] == "video02$_$05"


def test_same_bytes_and_pictures(place: Path) -> None:
    make(place, make_params())
    files = ("report.md", "index.html", "curves.tsv", "predictions.csv")
    files += ("learning_curves.png", "predicted_vs_true.png", "sets/sample.html", "sets/mosi.html")
    before = {name: (place / "reports" / name).read_bytes() for name in files}
    assert sum(file.is_file() for file in (place / "reports").rglob("*")) == len(files)
    shutil.rmtree(place / "reports")
    make(place, make_params())
    assert {name: (place / "reports" / name).read_bytes() for name in files} == before
    for name in ("learning_curves.png", "predicted_vs_true.png"):
        assert before[name].startswith(b"\x89PNG")


def test_missing_or_mixed_results(place: Path) -> None:
    with pytest.raises(
        MsaError, match=r"mosi/misr/metrics\.json has no seed 4, .*misr on mosi.*evaluate@misr-mosi`"
    ):
        make(place, make_params(seeds=[1, 4], datasets_run=["mosi"]))
    path = place / "results" / "mosi" / "misr" / "metrics.json"
    path.rename(path.with_suffix(".gone"))
    with pytest.raises(MsaError, match=r"metrics\.json is missing.*misr on mosi.*evaluate@misr-mosi`"):
        make(place, make_params())
    path.with_suffix(".gone").rename(path)
    write_result(place, "misr", "mosi", 2, feature_set="0" * 16)
    with pytest.raises(MsaError, match=r"runs on mosi saw different features: .*abcdef012345.*000000000000"):
        make(place, make_params())
    with pytest.raises(MsaError, match="nothing to report"):
        make(place, make_params(models_run=[]))


# ----------------------------------------------------------------------------------------- classifications
@pytest.fixture
def mixed(place: Path) -> tuple[Path, Params]:
    """Results of two regressions and a classification, and params that run the three."""
    for method in METHODS:
        for seed in SEEDS:
            write_moods(place, method, seed)
    names = (*DATASETS, "moods")
    moods = {"root": "moods", "task": "classification", "classes": MOODS}
    params = make_params(
        datasets={**{name: {"root": name} for name in DATASETS}, "moods": moods},
        datasets_run=list(names),
        assemble={name: chosen(name, "cls" if name == "moods" else "mmsa") for name in names},
        models={name: {"corpora": {dataset: {} for dataset in names}} for name in METHODS},
    )
    return place, params


def test_both_tasks_in_one_report(mixed: tuple[Path, Params]) -> None:
    place, params = mixed
    text = make(place, params)
    mosi, moods = unpadded(text).split("## mosi")[1].split("## moods")
    assert "| train median | 1.250 | – | – | 1.500 | – |" in mosi
    assert (
        "| method | Accuracy | F1, weighted | F1, macro | F1, anger | F1, joy | F1, no_mood \\| none "
        "| Valid Accuracy | best epochs |"
    ) in moods
    assert "| MISR | 0.600 ± 0.100 | 0.450 ± 0.000 | 0.400 ± 0.000 | 0.100 ± 0.000 |" in moods
    assert "| train majority | 0.400 | 0.250 | – | – | – | – | 0.350 | – |" in moods
    assert "Metric set: cls." in moods
    found = summarize(read_runs(params, place / "results")["moods"])["other"]
    assert list(found) == [
        "accuracy",
        "f1_weighted",
        "f1_macro",
        *(f"f1_{n}" for n in MOODS),
        "valid_accuracy",
    ]
    assert found["accuracy"] == Spread(0.6, 0.1, 3)
    assert found["valid_accuracy"].mean == pytest.approx(0.7)


def test_predictions_of_a_classification_are_indices(mixed: tuple[Path, Params]) -> None:
    place, params = mixed
    make(place, params)
    with (place / "reports" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "moods"]
    assert len(rows) == 2 * 3 * 6
    assert [(row["label"], row["prediction"]) for row in rows[:3]] == [("0", "0"), ("0", "0"), ("0", "1")]


def painted(drawing: Drawing) -> Figure:
    figure = Figure(figsize=(drawing.width, drawing.height), layout="constrained")
    drawing.paint(figure)
    return figure


def test_confusion_matrix_counts_the_clips_of_all_seeds(mixed: tuple[Path, Params]) -> None:
    place, params = mixed
    moods = read_runs(params, place / "results")["moods"]
    panel = painted(draw_predictions("moods", moods, (-3, 3))).axes[0]
    assert panel.get_title() == "MISR"
    assert [label.get_text() for label in panel.get_yticklabels()] == MOODS
    # by hand: seed 1 as in write_moods, the seeds 2 and 3 without an error; rows are labels
    expected = np.array([[2, 1, 0], [0, 1, 0], [1, 0, 1]]) + 2 * np.diag([3, 1, 2])
    counts = np.array([int(text.get_text()) for text in panel.texts]).reshape(3, 3)
    np.testing.assert_array_equal(counts, expected)
    places = [text.get_position() for text in panel.texts]
    assert places[1] == (1, 0)  # anger that was taken for joy stands right of the first
    shown = np.asarray(panel.collections[0].get_array()).reshape(3, 3)
    np.testing.assert_allclose(shown, expected / expected.sum(axis=1, keepdims=True))
    assert panel.get_ylim()[0] > panel.get_ylim()[1]  # the first class is the upper row
    curves = painted(draw_curves("moods", moods))
    assert curves.get_supylabel() == "cross-entropy (nats)"


def test_pictures_of_many_methods(mixed: tuple[Path, Params]) -> None:
    """Panels go on below, none is left empty that need not be, and each has its method's curves."""
    place, params = mixed
    seeds = next(iter(read_runs(params, place / "results")["mosi"].values()))
    for count, empty in ((1, 0), (6, 0), (22, 2), (24, 0)):
        runs = {f"method{number}": seeds for number in range(count)}
        curves = painted(draw_curves("mosi", runs))
        assert sum(not panel.axison for panel in curves.axes) == empty
        assert all(len(panel.lines) == 1 + 2 * len(seeds) for panel in curves.axes[:count])  # and the best
        assert [panel.get_title() for panel in curves.axes[:count]] == list(runs)
        assert sum(panel.axison for panel in painted(draw_predictions("m", runs, (-3, 3))).axes) == count
    first = {"update": {"epoch": 1}}
    fitted = [replace(run, curves=run.curves[:1], result=run.result.model_copy(**first)) for run in seeds]
    assert painted(draw_curves("mosi", {"ridge": fitted})).axes[0].get_title() == "Ridge"
    assert len(painted(draw_curves("mosi", {"misr": seeds, "ridge": fitted})).axes) == 1
    imported = painted(draw_curves("mosi", {"llm": [replace(run, curves=[]) for run in seeds]}))
    assert "imported" in imported.texts[0].get_text()


def test_forest_has_numpys_means_and_the_intervals_of_the_differences(mixed: tuple[Path, Params]) -> None:
    place, params = mixed
    methods = read_runs(params, place / "results")["mosi"]
    found, clusters = standings(methods, "mae")
    assert clusters is not None and (clusters.count, clusters.kind) == (15, "videos")
    assert [one.method for one in found] == ["misr", "other"]  # errors of .7 and .95
    for one in found:
        errors = [
            np.abs(run.predictions["test"].prediction - run.predictions["test"].label)
            for run in methods[one.method]
        ]
        whole = np.mean(errors, axis=0)
        assert one.score[0] == pytest.approx(whole.mean())
        # leave out one video of two clips at a time, by hand
        left = [np.delete(whole, [i, i + 1]).mean() for i in range(0, 30, 2)]
        reach = stats.t.ppf(0.975, 14) * np.sqrt(14 / 15 * np.sum((left - np.mean(left)) ** 2))
        assert one.score[1:] == pytest.approx((one.score[0] - reach, one.score[0] + reach))
    assert found[0].from_best is None
    entry = compare_runs("", methods["misr"], methods["other"], 100, 0)
    test = next(row.test for row in entry.rows if row.metric == "mae")
    assert test is not None and found[1].from_best == (test.difference, test.low, test.high)
    drawn = painted(draw_forest("f", found, "mae", 1.25, "train median", clusters))
    left_panel, right_panel = drawn.axes
    assert [label.get_text() for label in left_panel.get_yticklabels()] == ["MISR", "other"]
    assert left_panel.lines[0].get_xdata() == pytest.approx(found[0].score[1:])
    ends = [line.get_xdata() for line in right_panel.lines if len(line.get_xdata()) == 2]
    assert any(one == pytest.approx(found[1].from_best[1:]) for one in ends)


def test_pictures_of_a_classification_alone(mixed: tuple[Path, Params]) -> None:
    place, params = mixed
    alone = params.model_copy(update={"datasets_run": ["moods"], "models_run": ["misr"], "seeds": [1]})
    pictures = []
    for _ in range(2):
        make(place, alone)
        pictures.append((place / "reports" / "predicted_vs_true.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_needs_no_torch() -> None:
    script = (
        "import sys, pipeline.reports.report; assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------ protocols
def test_folds_are_summed_up(place: Path) -> None:
    names = ["sample-f0", "sample-f1"]
    for method in METHODS:
        for seed in SEEDS:
            write_result(place, method, names[0], seed)
            write_result(place, method, names[1], seed, test={"acc7": 0.4, "mae": 2.0, "corr": 0.5})
    folds = {"number": 2, "by": "video"}
    params = make_params(
        datasets_run=names,
        assemble={
            name: {**chosen("sample"), "protocol": {"folds": {**folds, "fold": fold}}}
            for fold, name in enumerate(names)
        },
        models={method: {"corpora": {name: {} for name in names}} for method in METHODS},
    )
    text = make(place, params)
    table = text[text.index("## sample-f0 to sample-f1, cross-validated") :]
    assert "2 of 2 folds by video" in table
    row = next(line for line in table.splitlines() if line.startswith("| MISR "))
    found = [np.mean(MAE["misr"]), 2.0]
    assert row.split(" | ")[1] == f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}"


def test_a_second_test_split_has_a_table_of_its_own(place: Path) -> None:
    for method in METHODS:
        for seed in SEEDS:
            n = {"test": 4, "valid": 4, "test_ood": 9}
            write_result(place, method, "sample", seed, test_ood={"mae": 1.5, "corr": 0.1}, n=n)
    params = make_params(
        datasets_run=["sample"],
        assemble={"sample": chosen("sample")},
        models={method: {"corpora": {"sample": {}}} for method in METHODS},
    )
    text = make(place, params)
    table = unpadded(text[text.index("Out of distribution: 9 clips") :])
    assert "| method | MAE | Corr |" in table
    assert "| MISR | 1.500 ± 0.000 | 0.100 ± 0.000 |" in table
    assert "ood" not in text[: text.index("Out of distribution")].replace("test_ood", "")
