"""`msa-cli noise`: clean scores are evaluate's, noisy ones the protocol's, the same bytes twice, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from made.tiny_models import bundled, save_tiny_bert, save_tiny_roberta
from made.tiny_set import DIMS, write_tiny_set
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from models.core.backbones import Tokenizer, load_tokenizer
from models.core.noise import corrupt
from pipeline.cli.app import app
from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.core.paths import assembled_folder, results_folder, run_folder
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.metrics import METRIC_SETS
from pipeline.evaluation.noise import find_mask_id, train_deviations, under_noise
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train
from pipeline.training.runs import load_method, read_config

pytestmark = pytest.mark.usefixtures("tiny_method")

RATES = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]
RUN, SET = run_folder("tiny", "tiny", 3), assembled_folder("tiny")
METRICS = results_folder("tiny", "tiny") / "metrics.json"


@pytest.fixture(scope="module")
def project_of_scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("scores"), test=120)


@pytest.fixture
def scores(project_of_scores: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project with a set, a run on it and its results."""
    monkeypatch.chdir(project_of_scores)
    return project_of_scores


def trained(
    here: Path, classes: tuple[str, ...] = (), metric_set: str = "sims", test: int = 25, **settings: Any
) -> Path:
    run, assembled = here / RUN, here / SET
    counts = {"train": 60, "valid": 20, "test": test, "unlabeled": 0}
    write_tiny_set(assembled, counts, classes=classes)
    train(
        RunConfig(
            method_name="tiny",
            dataset="tiny",
            seed=3,
            method_params=settings,
            train_params=TrainParams(),
            assembled=assembled,
            pretrained=here / "pretrained",
            out=run,
        ),
        device="cpu",
        state_root=here / "state",
        logs=here / "logs",
    )
    evaluate([run], assembled, results_folder("tiny", "tiny", here / "results"), metric_set, device="cpu")
    return here


def evaluated() -> dict[str, float]:
    result: dict[str, float] = json.loads(METRICS.read_text())["runs"][0]["test"]
    return result


def means(result: dict[str, Any], rate: str) -> dict[str, float]:
    return {name: entry["mean"] for name, entry in result["test"][rate].items()}


# -------------------------------------------------------------------------------------------------- scores
@pytest.mark.parametrize("kind", ["gaussian", "laplace", "erase"])
def test_clean_scores_are_those_of_evaluate_and_noise_costs(scores: Path, kind: str) -> None:
    result = under_noise(RUN, kind, device="cpu")
    assert list(result["test"]) == ["0", *RATES, "mean"]
    assert (result["method"], result["dataset"], result["seed"]) == ("tiny", "tiny", 3)
    assert (result["metric_set"], result["n"], result["remarks"]) == ("sims", 120, [])
    clean = means(result, "0")
    assert clean == evaluated() and list(clean) == ["mae", "corr", "acc5", "acc3", "acc2", "f1"]
    assert {entry["sd"] for entry in result["test"]["0"].values()} == {0.0}
    for name in ("mae", "corr"):
        rates = [means(result, rate)[name] for rate in RATES]
        assert means(result, "mean")[name] == pytest.approx(np.mean(rates), abs=1e-6)
        assert (
            0 < result["test"]["mean"][name]["sd"] < max(result["test"][rate][name]["sd"] for rate in RATES)
        )
    assert means(result, "0.7")["mae"] > clean["mae"] + 0.05
    assert means(result, "0.7")["corr"] < clean["corr"] - 0.03


def test_a_rate_is_the_protocol_seed_by_seed(scores: Path) -> None:
    method = load_method(RUN, read_config(RUN)).eval()
    splits = TrainingSet.load(SET, method.reading()).splits
    test = splits["test"]
    rows = test.lengths.argsort(descending=True, stable=True).split(64)  # as evaluation cuts it
    maes = []
    for seed in (1, 2, 3, 4, 5):
        generator = torch.Generator().manual_seed(seed)
        std, predictions, labels = train_deviations(splits["train"].streams), [], []
        for batch in (test.batch(clips) for clips in rows):
            noisy = corrupt(batch, "laplace", 0.4, std, generator)
            predictions += method(noisy).prediction.tolist()
            labels += batch.label.tolist()
        maes.append(METRIC_SETS["sims"](np.array(predictions), np.array(labels))["mae"])
    entry = under_noise(RUN, "laplace", device="cpu")["test"]["0.4"]["mae"]
    assert entry["mean"] == pytest.approx(np.mean(maes), abs=2e-6)
    assert entry["sd"] == pytest.approx(np.std(maes, ddof=1), abs=2e-6)


@pytest.mark.parametrize("moods", [("sad", "glad"), ("sad", "calm", "glad")])
def test_a_classification(tmp_path: Path, moods: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained(tmp_path, moods, "cls"))
    clean = evaluated()
    METRICS.unlink()  # not needed: classes have one metric set
    result = under_noise(RUN, "erase", device="cpu")
    assert result["metric_set"] == "cls" and means(result, "0") == clean
    assert means(result, "0.7")["accuracy"] < clean["accuracy"]


def test_what_a_metric_remarks_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained(tmp_path, ("sad", "calm", "glad"), "cls", test=2, training={"epochs": 1}))
    (remark,) = under_noise(RUN, device="cpu")["remarks"]
    assert remark.startswith("no clip is labelled glad: ")
    assert "no clip is labelled glad" in called(str(RUN)).output


@pytest.mark.parametrize("kind", ["gaussian", "erase"])
def test_fine_tuned_text(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = save_tiny_bert(tmp_path / "bert", layers=1)
    monkeypatch.setattr("made.tiny_set.Tiny.NEEDS", ("text",))  # only words can move a prediction
    training = {"epochs": 1, "lr_backbone": 1e-3}
    monkeypatch.chdir(trained(tmp_path, training=training, text="finetune", text_backbone=str(backbone)))
    erased: list[int | None] = []

    def spy(batch: Any, *others: Any) -> Any:
        erased.append(others[-1])
        return corrupt(batch, *others)

    monkeypatch.setattr("pipeline.evaluation.noise.corrupt", spy)
    result = under_noise(RUN, kind, device="cpu")
    assert means(result, "0") == evaluated()
    assert means(result, "0.5")["mae"] != means(result, "0")["mae"]
    assert set(erased) == {4}  # [MASK] of the tiny vocabulary


def test_the_id_of_mask(tmp_path: Path) -> None:
    assert (
        find_mask_id(load_tokenizer("minilm"))
        == json.loads(next(iter(bundled().glob("tokenizer.json"))).read_text())["model"]["vocab"]["[MASK]"]
    )
    assert find_mask_id(load_tokenizer(str(save_tiny_roberta(tmp_path / "roberta")))) == 4

    class WholeWords(Tokenizer):
        """Every word that it does not know is token 1."""

        def __init__(self, known: dict[str, int]):
            self.known = known

        def encode(self, texts: list[str], max_length: int, keep: Any = "first") -> list[np.ndarray]:
            return [np.array([8, *(self.known.get(word, 1) for word in text.split()), 9]) for text in texts]

    assert find_mask_id(WholeWords({})) is None


# ------------------------------------------------------------------------------------------------- command
def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["noise", *arguments, "--device", "cpu"], env={"COLUMNS": "200"})


def test_the_command_writes_the_same_bytes_twice(scores: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "deep" / name for name in ("first.json", "second.json")]
    shown = [
        called(str(RUN), str(RUN), "--assembled", str(folder), "--kind", "erase", "--out", str(path))
        for path, folder in zip(paths, (SET, scores / SET), strict=True)
    ]
    assert [result.exit_code for result in shown] == [0, 0], shown[0].output
    assert paths[0].read_bytes() == paths[1].read_bytes()
    written = json.loads(paths[0].read_text())
    once = under_noise(RUN, "erase", device="cpu")
    assert written == {"kind": "erase", "runs": [once, once]}
    assert list(written["runs"][0]) == sorted(written["runs"][0])
    assert str(scores) not in paths[0].read_text()
    entry = once["test"]["0.3"]["mae"]
    assert shown[0].output == shown[1].output
    assert "tiny on tiny, seed 3: erase noise, test split (120 clips)" in shown[0].output
    assert f"{entry['mean']:.3f} ± {entry['sd']:.3f}" in shown[0].output


def test_mistakes_are_told_by_the_command(scores: Path) -> None:
    assert called().exit_code == 2
    with pytest.raises(ParamsError, match=r"noise kind 'salt' is not known \(there are: gaussian, laplace"):
        raise called(str(RUN), "--kind", "salt").exception or typer.Exit
    with pytest.raises(FormatError, match=f"{SET}: not a run folder"):
        raise called(str(SET)).exception or typer.Exit


# ------------------------------------------------------------------------------------------------ mistakes
def test_another_set_is_refused(scores: Path, tmp_path: Path) -> None:
    wider = write_tiny_set(tmp_path / "wider", dims={**DIMS, "audio": 5})
    with pytest.raises(MsaError, match=r"widths audio 4, text 6, visual 3, but .* audio 5, text 6, visual 3"):
        under_noise(RUN, assembled=wider, device="cpu")
    other = write_tiny_set(tmp_path / "other", feature_set="e" * 64)
    with pytest.raises(MsaError, match=r"feature set ffffffffffff .*eeeeeeeeeeee"):
        under_noise(RUN, assembled=other, device="cpu")
    moods = write_tiny_set(tmp_path / "moods", classes=("sad", "glad"))
    with pytest.raises(MsaError, match=r"trained on a regression, but .* is a classification of sad, glad;"):
        under_noise(RUN, assembled=moods, device="cpu")
    empty = write_tiny_set(tmp_path / "empty", counts={"train": 5, "valid": 5, "test": 0, "unlabeled": 0})
    with pytest.raises(FormatError, match="empty: no clips in test"):
        under_noise(RUN, assembled=empty, device="cpu")
    with pytest.raises(FormatError, match="nowhere: not an assembled set"):
        under_noise(RUN, assembled=tmp_path / "nowhere", device="cpu")


def test_a_run_that_was_not_evaluated(scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FormatError, match=r"results/tiny/tiny/metrics\.json: .*No such file.*run its evaluate stage"
    ):
        under_noise(scores / RUN, assembled=scores / SET, device="cpu")
    METRICS.parent.mkdir(parents=True)
    METRICS.write_text('{"runs": [{"metric_set": "mmza"}]}')
    with pytest.raises(FormatError, match=r"metrics\.json: no metric set in it \('mmza'\)"):
        under_noise(scores / RUN, assembled=scores / SET, device="cpu")


def test_predictions_that_are_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained(tmp_path, ("sad", "glad"), "cls", training={"epochs": 1}))
    weights = load_file(RUN / "model.safetensors")
    save_file({**weights, "head.bias": np.full(1, np.nan, np.float32)}, RUN / "model.safetensors")
    with pytest.raises(MsaError, match="predictions of test are not finite"):
        under_noise(RUN, device="cpu")
