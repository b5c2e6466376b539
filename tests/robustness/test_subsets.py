"""`msa-cli robust --kind subsets`: what is missing, clean results bit for bit, flat rows, folds, classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made.robust_project import robust_project
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.core.errors import MsaError
from pipeline.core.paths import assembled_folder, results_folder, robust_rows, run_folder
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.robust_results import SUBSETS, read_robust
from pipeline.robustness.conditions import UNTOUCHED, Condition, conditions
from pipeline.robustness.robust import Asked, robust
from pipeline.robustness.sweep import sweep
from pipeline.training.loop.scoring import predict
from pipeline.training.runs import load_method, read_config

pytestmark = pytest.mark.usefixtures("tiny_method")

RUN, SET = run_folder("tiny", "tiny", 3), assembled_folder("tiny")
EVERY = conditions("subsets")


@pytest.fixture(scope="module")
def project_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return robust_project(tmp_path_factory.mktemp("subsets"), seeds=(3, 4), training={"epochs": 3})


@pytest.fixture
def here(project_of_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project_of_runs)
    return project_of_runs


def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["robust", *arguments, "--device", "cpu"], env={"COLUMNS": "200"})


def by_hand(left: str) -> np.ndarray:
    """Predictions of the tiny method, which takes means over time, when the others are one zero step."""
    method: Any = load_method(RUN, read_config(RUN)).eval()
    sets = TrainingSet.load(SET, method.reading(), only=("train", "test")).splits
    predictions = []
    for row in range(len(sets["test"])):
        batch = sets["test"].batch(torch.tensor([row]))
        means = []
        for name, letter in (("text", "T"), ("audio", "A"), ("visual", "V")):
            part = getattr(batch, name)
            mean = (
                part.values[part.mask].mean(dim=0)
                if part.present.any()
                else torch.zeros(part.values.shape[-1])
            )
            if (
                letter not in left and part.present.any()
            ):  # nothing is normalised: the mean of the train split
                mean = sets["train"].streams[name].flat[:-1].mean(dim=0)
            means.append(mean)
        predictions.append(method.head(method.hidden(torch.cat(means)))[0].item())
    return np.array(predictions)


def test_subsets_are_as_by_hand_and_clean_is_clean_bit_for_bit(here: Path) -> None:
    found = sweep(RUN, EVERY, SET, "cpu")
    method: Any = load_method(RUN, read_config(RUN)).eval()
    clean = predict(method, TrainingSet.load(SET, method.reading()).splits["test"])
    assert found.predictions[UNTOUCHED].astype(np.float32).tobytes() == clean.tobytes()
    assert (
        found.predictions[Condition("subsets", "TAV", 1.0, 0)].tobytes()
        == found.predictions[UNTOUCHED].tobytes()
    )
    for left in SUBSETS:
        np.testing.assert_allclose(
            found.predictions[Condition("subsets", left, 1.0, 0)], by_hand(left), atol=1e-5
        )
    assert found.flat == {Condition("subsets", "TAV", 1.0, 0)} and not found.floored


def test_an_absent_modality_is_as_where_a_clip_lacks_it(here: Path) -> None:
    """And a clip of which nothing is left has the constant of the training labels."""
    found = sweep(RUN, EVERY, SET, "cpu", missing="absent", constant=0.25)
    seen = Condition("subsets", "V", 1.0, 0)
    method: Any = load_method(RUN, read_config(RUN)).eval()
    test = TrainingSet.load(SET, method.reading()).splits["test"]
    lacking = (test.streams["visual"].lengths == 0).numpy()
    assert lacking.sum() == 5 and found.floored == {seen: 5}
    assert (found.predictions[seen][lacking] == 0.25).all()
    assert len(np.unique(found.predictions[seen][~lacking])) == 35
    row = int(np.flatnonzero(~lacking)[0])
    visual = test.batch(torch.tensor([row])).visual
    assert visual is not None
    zeros = [torch.zeros(6), torch.zeros(4), visual.values[0].mean(dim=0)]
    expected = method.head(method.hidden(torch.cat(zeros)))[0].item()
    assert found.predictions[seen][row] == pytest.approx(expected, abs=1e-5)


def test_a_method_of_text_alone_is_flat_where_text_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("made.tiny_set.Tiny.NEEDS", ("text",))
    monkeypatch.chdir(robust_project(tmp_path, training={"epochs": 1}))
    found = sweep(RUN, EVERY, SET, "cpu")
    clean = found.predictions[UNTOUCHED]
    for left in SUBSETS:
        condition = Condition("subsets", left, 1.0, 0)
        assert (condition in found.flat) == ("T" in left)
        if "T" in left:
            assert found.predictions[condition].tobytes() == clean.tobytes()
        else:
            assert len(np.unique(found.predictions[condition])) == 1
    shown = called(str(RUN), "--kind", "subsets")
    assert shown.exit_code == 0 and "tiny (text)" in shown.output
    (row,) = [line for line in shown.output.splitlines() if line.startswith(" tiny")][:1]
    assert row.count("=") == 3  # T, TA and TV


def test_rows_and_summary(here: Path) -> None:
    (summary,) = robust([RUN, RUN.with_name("4")], Asked(("subsets",)), device="cpu")
    table = pq.read_table(robust_rows("tiny", "tiny")).to_pandas()
    assert len(table) == 2 * (1 + 7) * 40 and set(table["seed"]) == {3, 4}
    saved = pq.read_table("results/tiny/tiny/predictions.parquet").to_pandas().set_index("clip_id")
    for seed in (3, 4):
        clean = table[(table["seed"] == seed) & (table["kind"] == "clean")].set_index("clip_id")
        assert (clean["prediction"] == saved[f"prediction_{seed}"][clean.index]).all()
    assert summary == json.loads(Path("results/tiny/tiny/robust.json").read_text())
    results = json.loads(Path("results/tiny/tiny/metrics.json").read_text())
    assert summary["clean"]["mae"][0] == results["mae"]["mean"]
    assert summary["clean"]["mae"][1] == results["mae"]["sd"]
    part = table[(table["case"] == "TA") & (table["kind"] == "subsets")]
    by_seed = (part["prediction"] - part["label"]).abs().groupby(part["seed"]).mean()
    case = summary["kinds"]["subsets"]["cases"]["TA"]
    assert case["scores"]["mae"][0] == pytest.approx([by_seed.mean(), by_seed.std()], abs=2e-6)
    gap = np.abs(part["prediction"].to_numpy() - table[table["kind"] == "clean"]["prediction"].to_numpy())
    assert case["change"][0] == pytest.approx(gap.mean(), abs=1e-6)
    assert case["numbers"]["mae"]["rise"] == pytest.approx(
        by_seed.mean() - summary["clean"]["mae"][0], abs=2e-6
    )


def test_what_a_method_weighs_by_subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def internals(_self: Any, batch: Any, _output: Any) -> dict[str, dict[str, float]]:
        steps = {name: getattr(batch, name).mask.sum().item() for name in ("text", "audio", "visual")}
        return {"steps": {name: count / sum(steps.values()) for name, count in steps.items()}}

    monkeypatch.setattr("made.tiny_set.Tiny.internals", internals, raising=False)
    monkeypatch.chdir(robust_project(tmp_path, training={"epochs": 1}))
    (summary,) = robust([RUN], Asked(("subsets",)), device="cpu")
    cases = summary["kinds"]["subsets"]["cases"]
    assert list(cases) == list(SUBSETS)
    test = TrainingSet.load(SET).splits["test"]
    counts = {name: test.streams[name].lengths.double() for name in ("text", "audio", "visual")}
    blank = counts["visual"].clamp(max=1)  # what a clip lacks stays absent
    expected = (counts["text"] / (counts["text"] + 1 + blank)).mean().item()
    assert cases["T"]["internals"]["steps"]["text"] == pytest.approx(expected, abs=1e-6)


def test_folds_of_a_classification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a study's folder: runs of all folds at once, a table of their means."""
    folds = ("fold0", "fold1")
    robust_project(tmp_path, ("sad", "calm", "glad"), folds, training={"epochs": 2})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(json.dumps(study(folds)))
    shown = called("runs/tiny-fold0", "runs/tiny-fold1", "--kind", "subsets", "--out", "page")
    assert shown.exit_code == 0, shown.output
    assert "fold0 to fold1: under corruptions" in shown.output and "fold0: under" not in shown.output
    read = [read_robust(results_folder("tiny", fold)) for fold in folds]
    cells = [one["kinds"]["subsets"]["cases"]["A"]["scores"]["accuracy"][0][0] for one in read]
    assert f"{np.mean(cells):.3f}" in shown.output
    assert f"± {np.std(cells, ddof=1):.3f}" in (tmp_path / "page/index.html").read_text()
    assert read[0]["kinds"]["subsets"]["cases"]["A"]["flips"] is None


def study(folds: tuple[str, ...]) -> dict[str, Any]:
    none = dict.fromkeys(("text", "audio", "visual", "waveform"), "none")
    return {
        "datasets": {
            "moods": {"root": "moods", "task": "classification", "classes": ["sad", "calm", "glad"]}
        },
        "datasets_run": list(folds),
        "assemble": {
            name: {
                "dataset": "moods",
                "metrics": "cls",
                **none,
                "protocol": {"folds": {"number": 2, "fold": place, "by": "speaker"}},
            }
            for place, name in enumerate(folds)
        },
    }


def test_mistakes(here: Path) -> None:
    assert "no such kind" not in called(str(RUN)).output and called(str(RUN)).exit_code == 2
    with pytest.raises(MsaError, match=r"kind of corruption 'salt' is not known"):
        raise called(str(RUN), "--kind", "salt").exception or AssertionError
    with pytest.raises(MsaError, match="two runs have the same seed"):
        raise called(str(RUN), str(RUN.absolute()), "--kind", "subsets").exception or AssertionError
    with pytest.raises(MsaError, match="not a run folder"):
        raise called(str(SET), "--kind", "subsets").exception or AssertionError
