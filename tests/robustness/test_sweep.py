"""`msa-cli robust` with every kind: what is kept, what costs, classes, words and sound, and its pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made.robust_project import robust_project
from made.tiny_models import save_tiny_bert
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.core.errors import MsaError
from pipeline.core.paths import assembled_folder, robust_rows, run_folder
from pipeline.evaluation.robust_results import KINDS
from pipeline.params.params import TrainParams
from pipeline.reports.blocks import as_markdown
from pipeline.reports.figures import new_figure
from pipeline.reports.robust_figures import drawings
from pipeline.reports.robust_tables import as_sets, robust_blocks, write_robust
from pipeline.robustness.conditions import UNTOUCHED, conditions
from pipeline.robustness.robust import Asked, robust
from pipeline.robustness.sweep import sweep

pytestmark = pytest.mark.usefixtures("tiny_method")

RUN, SET = run_folder("tiny", "tiny", 3), assembled_folder("tiny")
TWICE = Asked(draws=(0, 1))


@pytest.fixture(scope="module")
def project_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return robust_project(tmp_path_factory.mktemp("sweeps"), training={"epochs": 6})


@pytest.fixture
def here(project_of_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project_of_runs)
    return project_of_runs


def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["robust", *arguments, "--device", "cpu"], env={"COLUMNS": "200"})


def test_every_kind_costs_and_more_of_it_costs_more(here: Path) -> None:
    (summary,) = robust([RUN], TWICE, device="cpu")
    assert [*summary["kinds"]] == [*KINDS]
    clean = summary["clean"]["corr"][0]
    for kind in ("gaussian", "laplace", "erase", "frames", "shared"):
        case = summary["kinds"][kind]["cases"]["all"]
        curve = [mean for mean, _ in case["scores"]["corr"]]
        assert curve[-1] < clean - 0.03 and curve[-1] < curve[0], kind
        assert case["change"] == sorted(case["change"]) and 0 < case["flips"][-1] < 1
        assert all(sd is not None for _, sd in case["scores"]["corr"])
    assert summary["kinds"]["frames"]["cases"]["all"]["numbers"]["corr"]["mean"] == pytest.approx(
        np.mean([clean, *(mean for mean, _ in summary["kinds"]["frames"]["cases"]["all"]["scores"]["corr"])]),
        abs=2e-6,
    )


def test_predictions_depend_on_no_neighbour(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [conditions(kind, draws=(1,))[-1] for kind in KINDS]
    whole = sweep(RUN, wanted, SET, "cpu")
    monkeypatch.setattr("pipeline.robustness.sweep.EVALUATION_BATCH", 7)
    parts = sweep(RUN, [*reversed(wanted)], SET, "cpu")
    for condition in (UNTOUCHED, *wanted):
        np.testing.assert_allclose(parts.predictions[condition], whole.predictions[condition], atol=1e-5)


def test_what_is_there_is_kept_and_the_order_does_not_count(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [robust_rows("tiny", "tiny"), Path("results/tiny/tiny/robust.json")]
    for file in files:
        file.unlink(missing_ok=True)
    robust([RUN], Asked(("erase", "subsets"), draws=(0,)), device="cpu")
    at_once = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    robust([RUN], Asked(("subsets",), draws=(0,)), device="cpu")
    robust([RUN], Asked(("erase",), draws=(0,)), device="cpu")
    assert [file.read_bytes() for file in files] == at_once
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.robustness.robust.sweep", lambda *_, **__: 1 / 0)
        assert "kept" in called(str(RUN), "--kind", "erase", "--draws", "1").output
        with pytest.raises(ZeroDivisionError):  # more draws were asked for
            robust([RUN], Asked(("erase",), draws=(0, 1)), device="cpu")
        config = json.loads((RUN / "config.json").read_text())
        (RUN / "config.json").write_text(json.dumps(config | {"epoch": 99}))
        with pytest.raises(ZeroDivisionError):  # another run
            robust([RUN], Asked(("erase",), draws=(0,)), device="cpu")
        (RUN / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "erase", "frames", "subsets", "blocks"])
def test_words_of_an_encoder_that_learns(
    kind: str, fine_tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("made.tiny_set.Tiny.NEEDS", ("text",))  # only words can move a prediction
    monkeypatch.chdir(fine_tuned)
    wanted = conditions(kind, draws=(0,))
    chosen = [one for one in wanted if "text" in one.hits][-1]
    found = sweep(RUN, [chosen], SET, "cpu")
    assert np.abs(found.predictions[chosen] - found.predictions[UNTOUCHED]).mean() > 1e-3


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("words")
    backbone = save_tiny_bert(here / "bert", layers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("made.tiny_set.Tiny.NEEDS", ("text",))
        training = {"epochs": 1, "lr_backbone": 1e-3}
        return robust_project(here, training=training, text="finetune", text_backbone=str(backbone))


def test_pages_of_few_and_of_many_methods(here: Path, tmp_path: Path) -> None:
    (summary,) = robust([RUN], replace(TWICE, kinds=("gaussian", "subsets")), device="cpu")
    summary["kinds"] = {kind: summary["kinds"][kind] for kind in ("gaussian", "subsets")}
    few = {**summary, "method": "other", "kinds": {"subsets": summary["kinds"]["subsets"]}}
    write_robust(as_sets([summary, few]), tmp_path / "few")
    names = {file.name for file in (tmp_path / "few").iterdir()}
    kinds, metrics = ("curves", "subsets"), ("mae", "acc2_non0")
    assert names == {"index.html", "tables.md", *(f"tiny-{k}-{m}.png" for k in kinds for m in metrics)}
    page = (tmp_path / "few/index.html").read_text()
    assert page.count("<figure") == page.count("<svg") == 4
    many = [{**summary, "method": f"method{i}"} for i in range(9)]
    sets = as_sets([*many, {**summary, "regime": "dropout"}])
    assert [len(methods) for methods in sets.values()] == [9, 1]
    drawn = next(drawings(sets["tiny", "complete"], "mae"))
    with new_figure(drawn.width, drawn.height) as figure:
        drawn.paint(figure)
    panels = [panel for panel in figure.axes if panel.axison]
    assert drawn.name == "gaussian-mae"
    assert [panel.get_title() for panel in panels] == [*sets["tiny", "complete"]]
    complete, dropout = as_markdown(robust_blocks(sets)).split("clips of the regime dropout")
    assert "method8" in complete and "method8" not in dropout


def test_regimes_do_not_mix(here: Path, tmp_path: Path) -> None:
    robust_project(tmp_path, seeds=(5,), train_params=TrainParams(regime="dropout"), training={"epochs": 1})
    other = tmp_path / run_folder("tiny", "tiny", 5)
    (found,) = robust([other], replace(TWICE, kinds=("subsets",)), tmp_path / SET, "cpu")
    assert found["regime"] == "dropout"
    with pytest.raises(MsaError, match="trained under the regimes complete and dropout, which never share"):
        robust([RUN, other], TWICE, device="cpu")
    (again,) = robust([RUN], replace(TWICE, kinds=("subsets",)), device="cpu")
    assert again["regime"] == "complete" and [*again["kinds"]] == ["subsets"]


def test_damaged_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(robust_project(tmp_path, training={"epochs": 1}))
    asked = Asked(("subsets",))
    robust([RUN], asked, device="cpu")
    Path("results/tiny/tiny/robust.json").write_text("{}")
    with pytest.raises(MsaError, match="not what runs are under corruptions"):
        robust([RUN], asked, device="cpu")
    Path("results/tiny/tiny/metrics.json").write_text("{}")
    with pytest.raises(MsaError, match="no metric set in it"):
        robust([RUN], asked, device="cpu")
