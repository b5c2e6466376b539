"""`msa-cli evaluate` in a project of two corpora, and what report and runs make of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from made.two_corpora import Corpus, make_set, train_on

from pipeline.core.git import open_revision
from pipeline.evaluation.saved import read_results

NONE = dict.fromkeys(("text", "audio", "visual", "waveform"), "none")
PARAMS = {
    "datasets": {
        "near": {"root": "near"},
        "far": {"root": "far", "language": "zh", "label_range": [-1, 1]},
    },
    "datasets_run": ["near", "far"],
    "assemble": {
        "near": {"dataset": "near", "metrics": "mmsa", **NONE},
        "far": {"dataset": "far", "metrics": "sims", **NONE},
    },
    "models": {"early_fusion": {"corpora": {"near": {}, "far": {}}}},
    "models_run": ["early_fusion"],
    "seeds": [1, 2],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("project")
    corpora = {"near": Corpus.made("near", 40, 2.0, 1.0), "far": Corpus.made("far", 40, 2.5, 1.4)}
    for name, corpus in corpora.items():
        clips = [*corpus.scores]
        parts = {"train": clips[:20], "valid": clips[20:28], "test": clips[28:]}
        span = (-3.0, 3.0) if name == "near" else (-1.0, 1.0)
        sets = make_set(
            here / "data/assembled", name, {split: (corpus, own) for split, own in parts.items()}, span
        )
        for seed in (1, 2):
            train_on(here, sets, seed, 2)
    (here / "params.yaml").write_text(json.dumps(PARAMS))
    return here


def test_the_command_and_the_report(
    place: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., tuple[int, str]]
) -> None:
    monkeypatch.chdir(place)
    for name in ("near", "far"):
        code, said = cli("stage", "evaluate", "early_fusion", name, "--device", "cpu")
        assert code == 0, said
    code, said = cli("evaluate", "runs/early_fusion-near", "--device", "cpu")
    assert code == 0, said
    assert "Early fusion on near" in said and "written" not in said
    assert {path.name for path in (place / "results/near").iterdir()} == {"early_fusion"}

    code, said = cli("evaluate", "runs/early_fusion-near", "--on", "far", "--device", "cpu")
    assert code == 0, said
    runs = read_results(open_revision(None, place), "results/far/early_fusion-from-near")
    assert [run.result.seed for run in runs] == [1, 2]
    text = re.sub(r"\s+", " ", said)
    assert "Early fusion, from near on far" in text and "12 test clips; seeds 1, 2; metric set sims." in text
    assert "mapped linearly to [-1, 1]: times 0.3333." in text
    assert "the run was trained on a corpus in 'en', this one is in 'zh'." in text
    mean = sum(run.result.test["mae"] for run in runs) / 2
    assert re.search(rf"intensity {mean:.3f} ± ", text) and f"MAE {mean:.3f} ± " in text
    assert all(task in text for task in ("polarity (3 classes)", "5 classes", "Calibration"))

    code, said = cli("report")
    assert code == 0, said
    near, far = (place / "reports/report.md").read_text().split("## far")
    assert "Trained on other sets" not in near
    own, others = far.split("Trained on other sets")
    assert ", from near" not in own.split("### ")[0]
    assert re.search(rf"\| Early fusion, from near +\| +12 \| +{mean:.3f} ± ", others)
    assert "- Early fusion, from near: scores in" in others
    assert "Early fusion, from near" in (place / "reports/sets/far.html").read_text()

    code, said = cli("runs", "--json")
    states = {(row["method"], row["dataset"]): (row["state"], row["note"]) for row in json.loads(said)}
    assert states["early_fusion-from-near", "far"] == ("transferred", "trained on near")
    assert states["early_fusion", "far"] == ("evaluated", "")

    code, said = cli("evaluate", "runs/early_fusion-near/2", "--on", "far", "--device", "cpu", "--json")
    (entry,) = json.loads(said[: said.rindex("]") + 1])
    assert (entry["seed"], entry["trained_on"]) == (2, "near")
    code, said = cli("evaluate", "runs/early_fusion-near/2", "--on", "fra")
    assert code == 2 and "'fra' is not known, did you mean 'far'" in said
