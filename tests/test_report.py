"""The report: NumPy's means and spreads, only what params.yaml names, the same bytes, readable pictures."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import MsaError
from pipeline.params import Params, check_params
from pipeline.report import report

SEEDS = (1, 2, 3)
METHODS = ("misr", "other")
DATASETS = ("sample", "mosi")
MAE = {"misr": (0.7, 0.8, 0.75), "other": (0.9, 0.95, 1.0)}


def make_params(**changes: Any) -> Params:
    tree: dict[str, Any] = {
        "datasets": {name: {"root": name} for name in DATASETS},
        "datasets_run": list(DATASETS),
        "assemble": {name: {"text": "none", "audio": "none", "visual": "none"} for name in DATASETS},
        "models": {name: {"corpora": {dataset: {} for dataset in DATASETS}} for name in METHODS},
        "models_run": list(METHODS),
        "seeds": list(SEEDS),
    }
    return check_params({**tree, **changes}, "test")


def write_result(here: Path, method: str, dataset: str, seed: int, **changes: Any) -> None:
    random = np.random.default_rng([seed, len(method)])
    mae = MAE[method][SEEDS.index(seed)]
    result = {
        "method": method,
        "dataset": dataset,
        "seed": seed,
        "feature_set": "abcdef0123456789",
        "features": {"text": "minilm", "audio": "librosa33"},
        "epoch": 2,
        "metric_set": "mmsa",
        "n": {"valid": 4, "test": 30},
        "floor": {"test_mae": 1.25, "valid_mae": 1.5},
        "remarks": {"test": ["corr is 0: all predictions are 1"]} if seed == 3 else {},
        "test": {"acc7": 0.4 + seed / 100, "corr": 0.5, "mae": mae},
        "valid": {"acc7": 0.5, "corr": 0.6, "mae": mae + 0.1},
        **changes,
    }
    folder = here / "results" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{method}-{seed}.json").write_text(json.dumps(result))
    labels = random.uniform(-3, 3, size=30).astype(np.float32)
    table = {
        "clip_id": [f"video$_${i:02d}" for i in range(30)],
        "label": labels,
        "prediction": (labels + random.normal(scale=mae, size=30)).astype(np.float32),
    }
    pq.write_table(pa.table(table), folder / f"{method}-{seed}.predictions.parquet")
    term = "prior" if method == "misr" else "swap"
    rows = [f"{e}\t{2 / e}\t{1 / e}\t{1 + seed / 10 / e}\t0.001" for e in (1, 2, 3)]
    curves = "\n".join([f"epoch\ttotal\t{term}\tvalid_mae\tlr", *rows]) + "\n"
    (folder / f"{method}-{seed}.curves.tsv").write_text(curves)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for dataset in DATASETS:
        for method in METHODS:
            for seed in SEEDS:
                write_result(tmp_path, method, dataset, seed)
    return tmp_path


def make(place: Path, params: Params) -> str:
    return report(params, place / "results", place / "reports")


def test_summary_is_numpys_mean_and_sample_deviation(place: Path) -> None:
    make(place, make_params())
    summary = json.loads((place / "reports" / "summary.json").read_text())
    assert list(summary) == list(DATASETS)
    for method in METHODS:
        found = summary["mosi"][method]
        assert list(found) == ["mae", "corr", "acc7", "valid_mae"]
        assert found["mae"]["mean"] == pytest.approx(np.mean(MAE[method]), abs=1e-6)
        assert found["mae"]["sd"] == pytest.approx(np.std(MAE[method], ddof=1), abs=1e-6)
        assert found["mae"]["n"] == 3
        assert found["corr"] == {"mean": 0.5, "sd": 0.0, "n": 3}
        assert found["valid_mae"]["mean"] == pytest.approx(np.mean(MAE[method]) + 0.1, abs=1e-6)


def test_markdown(place: Path) -> None:
    text = make(place, make_params())
    assert (place / "reports" / "report.md").read_text(encoding="utf-8") == text
    sample, mosi = text.split("## mosi")
    assert "numbers mean nothing" in sample
    assert "numbers mean nothing" not in mosi
    assert "| misr | 0.750 ± 0.050 | 0.500 ± 0.000 | 0.420 ± 0.010 | 0.850 ± 0.050 | 2, 2, 2 |" in mosi
    assert "| train median | 1.250 | – | – | 1.500 | – |" in mosi
    assert "audio `librosa33`, text `minilm` (feature set `abcdef012345`)" in mosi
    assert "4 valid, 30 test" in mosi
    assert "- other, seed 3, test: corr is 0: all predictions are 1" in mosi


def test_one_seed_has_no_deviation(place: Path) -> None:
    text = make(place, make_params(seeds=[2], datasets_run=["mosi"]))
    summary = json.loads((place / "reports" / "summary.json").read_text())
    assert summary["mosi"]["misr"]["mae"] == {"mean": 0.8, "sd": None, "n": 1}
    assert "| misr | 0.800 | 0.500 |" in text


def test_only_what_params_name_is_reported(place: Path) -> None:
    make(place, make_params(models_run=["misr"], seeds=[3, 1], datasets_run=["mosi"]))
    summary = json.loads((place / "reports" / "summary.json").read_text())
    assert list(summary) == ["mosi"]
    assert list(summary["mosi"]) == ["misr"]
    assert summary["mosi"]["misr"]["mae"]["n"] == 2
    with (place / "reports" / "predictions.csv").open() as file:
        assert {(r["method"], r["seed"]) for r in csv.DictReader(file)} == {("misr", "1"), ("misr", "3")}


def test_tables_for_plots(place: Path) -> None:
    make(place, make_params())
    with (place / "reports" / "curves.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == [
        *("method", "dataset", "seed", "epoch"),
        *("total", "prior", "swap", "valid_mae", "lr"),
    ]
    assert len(rows) == 2 * 2 * 3 * 3
    assert (rows[0]["prior"], rows[0]["swap"], rows[0]["epoch"]) == ("1", "", "1")
    with (place / "reports" / "predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == 2 * 2 * 3 * 30
    saved = pq.read_table(place / "results" / "sample" / "misr-1.predictions.parquet").to_pydict()
    assert float(predictions[5]["prediction"]) == pytest.approx(saved["prediction"][5], rel=1e-5)
    assert predictions[5]["clip_id"] == "video$_$05"


def test_same_bytes_and_pictures(place: Path) -> None:
    make(place, make_params())
    before = {file.name: file.read_bytes() for file in (place / "reports").iterdir()}
    assert set(before) == {
        *("report.md", "summary.json", "curves.tsv", "predictions.csv"),
        *("learning_curves.png", "predicted_vs_true.png"),
    }
    shutil.rmtree(place / "reports")
    make(place, make_params())
    assert {file.name: file.read_bytes() for file in (place / "reports").iterdir()} == before
    for name in ("learning_curves.png", "predicted_vs_true.png"):
        assert before[name].startswith(b"\x89PNG")


def test_missing_or_mixed_results(place: Path) -> None:
    (place / "results" / "mosi" / "misr-2.json").unlink()
    with pytest.raises(
        MsaError, match=r"misr-2\.json is missing.*misr on mosi with seed 2.*evaluate@misr-mosi-2"
    ):
        make(place, make_params())
    write_result(place, "misr", "mosi", 2, feature_set="0" * 16)
    with pytest.raises(MsaError, match=r"runs on mosi saw different features: .*abcdef012345.*000000000000"):
        make(place, make_params())
    with pytest.raises(MsaError, match="nothing to report"):
        make(place, make_params(models_run=[]))


def test_needs_no_torch() -> None:
    script = "import sys, pipeline.report; assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
