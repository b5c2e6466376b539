"""The stage `robust`, and what the report says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made.robust_project import robust_project
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cli.dvc_arguments import arguments
from pipeline.core.errors import MsaError, ParamsError
from pipeline.params.params import Params, TrainParams, check_params, load_params
from pipeline.reports.report import report

pytestmark = pytest.mark.usefixtures("tiny_method")


def tree(**robust: Any) -> dict[str, Any]:
    none = dict.fromkeys(("text", "audio", "visual", "waveform"), "none")
    return {
        "datasets": {"tiny": {"root": "tiny"}},
        "datasets_run": ["tiny"],
        "assemble": {"tiny": {"dataset": "tiny", "metrics": "mmsa", **none}},
        "models": {"tiny": {"corpora": {"tiny": {}}}},
        "models_run": ["tiny"],
        "seeds": [3],
        "robust": robust,
    }


def test_the_stage_and_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(robust_project(tmp_path, training={"epochs": 1}))
    wanted = tree(sets=["tiny"], kinds=["subsets", "erase"], draws=1)
    Path("params.yaml").write_text(json.dumps(wanted))
    assert arguments("robust", "tiny-tiny") == ["tiny", "tiny"]
    params = load_params()
    before = report(params, Path("results"), Path("without"))
    shown = CliRunner().invoke(app, ["stage", "robust", "tiny", "tiny", "--device", "cpu"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(Path("results/tiny/tiny/robust.json").read_text())["kinds"]
    assert [*found] == ["erase", "subsets"] and found["erase"]["settings"] == {"draws": [0], "sites": ["all"]}
    assert Path("robust/tiny/tiny.parquet").is_file()
    after = report(params, Path("results"), Path("with"))
    assert "under corruptions" not in before and after.startswith(before.rstrip())
    assert f"{found['subsets']['cases']['AV']['scores']['mae'][0][0]:.3f}" in after
    pages = [Path(name, "sets", "tiny.html").read_text() for name in ("without", "with")]
    assert pages[1].count("<figure") == pages[0].count("<figure") + 2  # a curve and a heat map
    assert "Tables of every kind of corruption" in pages[1] and "corruption" not in pages[0]


def test_a_regime_is_told_and_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(
        robust_project(tmp_path, train_params=TrainParams(regime="lnln"), training={"epochs": 1})
    )
    params = check_params({**tree(), "train": {"regime": "lnln"}}, "test")
    assert "Trained under the regime `lnln`." in report(params, Path("results"), Path("out"))
    path = Path("results/tiny/tiny/metrics.json")
    saved = json.loads(path.read_text())
    assert saved["runs"][0]["regime"] == "lnln"
    other = {**saved["runs"][0], "seed": 4}
    del other["regime"]
    path.write_text(json.dumps({**saved, "runs": [*saved["runs"], other]}))
    monkeypatch.setattr("pipeline.reports.report.read_runs", both_seeds)
    with pytest.raises(MsaError, match="runs on tiny were trained under different regimes: tiny-tiny/3 lnln"):
        report(params, Path("results"), Path("out"))


def both_seeds(_params: Params, results: Path) -> Any:
    from dataclasses import replace

    from pipeline.evaluation.saved import Result, SavedRun

    entries = json.loads((results / "tiny/tiny/metrics.json").read_text())["runs"]
    run = SavedRun("results/tiny/tiny", "here", Result.model_validate(entries[0]), {})
    return {"tiny": {"tiny": [run, replace(run, result=Result.model_validate(entries[1]))]}}


def test_wrong_settings() -> None:
    assert Params().robust.sets == []
    with pytest.raises(ParamsError, match=r"robust\.sets 'mosi' is not known \(there are: tiny\)"):
        check_params(tree(sets=["mosi"]), "test")
    with pytest.raises(ParamsError, match=r"robust\.missing is 'gone'"):
        check_params(tree(missing="gone"), "test")
    with pytest.raises(ParamsError, match=r"robust\.kinds.*salt"):
        check_params(tree(kinds=["salt"]), "test")
