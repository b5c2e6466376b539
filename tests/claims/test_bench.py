"""The bench on real, small trainings whose answers are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.core.batch import Reading
from pipeline.claims import bench
from pipeline.claims.bench import Bench, expert_agreement, measure, read_measurements
from pipeline.claims.planted import Planted, write_planted
from pipeline.claims.representations import representations
from pipeline.cli.app import app
from pipeline.core.errors import ParamsError
from pipeline.datasets.training_set import TrainingSet
from pipeline.params.params import check_params

QUICK = {"epochs": 2, "batch_size": 16}
MODELS: dict[str, dict[str, Any]] = {
    "early_fusion": {"training": QUICK},
    "text_only": {"training": QUICK},
    "misa": {"width": 16, "feedforward": 16, "training": QUICK},
    "misr": {
        "width": 8,
        "heads": 1,
        "head_dim": 8,
        "feedforward": 8,
        "layers": 1,
        "num_tokens": 2,
        "training": QUICK,
    },
    "khar": {
        "pretraining": {"adapters": "none", "width": 8, "layers": 1, "heads": 1},
        "training": QUICK,
        "bottleneck_width": 8,
    },
    "slad": {"text": "finetune"},
}
PARAMS = check_params({"models": {name: {"base": base} for name, base in MODELS.items()}}, "test")
READ = [f"{of}/{factor}" for of in ("shared", "private") for factor in ("sentiment", "private")]
DISENTANGLED = {f"read/{probe}/{what}" for probe in ("linear", "mlp") for what in READ}
DISENTANGLED |= {"mig", "sap", "dci/disentanglement", "dci/completeness", "total_correlation"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name, value in {
        "SIZES": (24, 48),
        "VALID_CLIPS": 16,
        "TEST_CLIPS": 120,
        "ROUTED": 20,
        "GROUP_CLIPS": 32,
    }.items():
        monkeypatch.setattr(bench, name, value)


def test_a_closed_form_is_misled_by_the_cue_as_it_must_be() -> None:
    """Ridge learns the cue that it is given; the text does not show it, and stays as it is to the bit."""
    found, text = (measure(name, PARAMS, [1]).seeds[1] for name in ("ridge", "text_only"))
    assert found["shift/0.9"] < found["error/best"] + 0.3
    assert found["shift/0.9"] + 0.2 < found["shift/0"] < found["shift/-0.9"] - 0.1
    assert found["error/best"] < found["error/48"] < found["error/constant"]
    assert len({value for name, value in text.items() if name.startswith("shift/")}) == 1
    assert text["error/best"] == found["error/best"]  # the same corpora
    assert measure("text_only", PARAMS, [1]).seeds[1] == text


def test_a_disentangling_method_is_measured_with_and_without() -> None:
    found = measure("misa", PARAMS, [3]).seeds[3]
    assert found.keys() >= DISENTANGLED | {f"without/{name}" for name in DISENTANGLED}
    assert any(found[name] != found[f"without/{name}"] for name in DISENTANGLED)
    assert found["read/linear/private/private"] > 0.3  # of three random projections after two epochs
    assert "without/shift/-0.9" not in found  # it does not claim invariance


def test_terms_that_are_switched_off_are_off(tmp_path: Path) -> None:
    assert Bench("misr", PARAMS, tmp_path).switched_off("shifted") == {"weights.invariance": 0.0}
    assert Bench("tfn", PARAMS, tmp_path).switched_off("shifted") == {}
    one = Bench("misr", PARAMS, tmp_path, without=("prior",))
    corpus = one.written("set", Planted(1), 16)
    run = one.trained("misr", one.switched_off("plain"), corpus, 1)
    assert run.method.config.weights.prior == 0 and run.method.config.weights.invariance == 1
    plain = one.plain_fusion(run, corpus, 1)
    assert plain.config["parameters"] == pytest.approx(run.config["parameters"], abs=40)


def test_representations_are_those_of_the_view(tmp_path: Path) -> None:
    for name, shared, private in (("misr", 8, 8), ("khar", 128, 50), ("early_fusion", 64, 0)):
        one = Bench(name, PARAMS, tmp_path)
        corpus = one.written("set", Planted(1), 16)
        run = one.trained(name, {}, corpus, 1)
        split = TrainingSet.load(corpus, run.reading, only=("test",)).splits["test"]
        found = representations(run, split)
        assert found.shared is not None and found.shared.shape == (120, shared)
        assert {m: values.shape for m, values in found.private.items()} == (
            dict.fromkeys(("text", "audio", "visual"), (120, private)) if private else {}
        )


def test_agreement_is_one_where_each_group_has_its_expert(tmp_path: Path) -> None:
    clips = Planted(1, groups=3).clips("test", 60)
    corpus = write_planted(tmp_path / "set", {"test": clips})
    groups = clips.factors["group"]

    def routed(chosen: np.ndarray) -> Any:
        """A run whose gates are those of these experts."""
        one_hot = torch.eye(3)[torch.from_numpy(chosen)]

        def forward(batch: Any) -> SimpleNamespace:
            row = int(batch.clip_ids[0].rpartition("$")[2])
            return SimpleNamespace(importance={"text": one_hot[row]})

        return SimpleNamespace(reading=Reading(), forward=forward)

    assert expert_agreement(routed((groups + 1) % 3), corpus, groups) == pytest.approx(1)
    assert expert_agreement(routed(np.zeros_like(groups)), corpus, groups) == 0
    chance = np.random.default_rng(0).permutation(groups)
    assert abs(expert_agreement(routed(chance), corpus, groups)) < 0.1


def test_khar_is_measured_on_sub_populations() -> None:
    found = measure("khar", PARAMS, [1]).seeds[1]
    assert {"groups/error", "without/groups/error", "groups/agreement"} <= found.keys()
    assert -0.2 < found["groups/agreement"] <= 1


def test_an_encoder_that_learns_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"models\.slad: text is `finetune`.*set it to `frozen`"):
        measure("slad", PARAMS, [1])


def test_the_command_prints_a_table_and_writes_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")  # no word of the table is broken
    runner = CliRunner()
    done = runner.invoke(app, ["claims", "text_only", "--seeds", "1,2", "--out", "out.html"])
    assert done.exit_code == 0, done.output
    assert "misleads" in done.stdout and "shift/-0.9" in done.stdout
    assert "<html" in (tmp_path / "out.html").read_text(encoding="utf-8")
    done = runner.invoke(app, ["claims", "constant", "--seeds", "1", "--out", "out.json"])
    assert "Nothing can be tested" in done.stdout
    found = read_measurements(tmp_path / "out.json")
    assert found.method == "constant" and found.seeds[1]["error/48"] == found.seeds[1]["error/constant"]
