"""Evaluation: predictions from the formula, metrics of the right split, refusal of other features."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import tiny_set
from made.tiny_set import write_tiny_set
from safetensors.numpy import load_file, save_file

from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import evaluate, least_scores
from pipeline.evaluation.metrics import METRIC_SETS, MetricWarning
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.scoring import predict
from pipeline.training.loop.train import train
from pipeline.training.runs import load_method, read_config

pytestmark = pytest.mark.usefixtures("tiny_method")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `set`, the assembled set, and `run`, a run on it."""
    return trained(tmp_path_factory.mktemp("evaluate"))


def trained(here: Path, classes: tuple[str, ...] = ()) -> Path:
    assembled = write_tiny_set(here / "set", classes=classes)
    train(
        RunConfig(
            method_name="tiny",
            dataset="tiny",
            seed=3,
            method_params={"training": {"epochs": 4}},
            train_params=TrainParams(),
            assembled=assembled,
            pretrained=here / "pretrained",
            out=here / "run",
        ),
        device="cpu",
        state_root=here / "state",
        logs=here / "logs",
    )
    return here


def by_hand(run: Path, split: Path) -> dict[str, np.ndarray]:
    """Outputs of the tiny method by its formula, in float64, one clip at a time and without padding."""
    weights = {
        name: values.astype(np.float64) for name, values in load_file(run / "model.safetensors").items()
    }
    found = {}
    for row in pq.read_table(split).to_pylist():
        means = [
            np.mean(row[name], axis=0) if row[name] is not None else np.zeros(dim)
            for name, dim in tiny_set.DIMS.items()
        ]
        hidden = np.tanh(weights["hidden.0.weight"] @ np.concatenate(means) + weights["hidden.0.bias"])
        found[row["clip_id"]] = weights["head.weight"] @ hidden + weights["head.bias"]
    return found


def test_metrics_and_predictions_of_the_test_split(place: Path, tmp_path: Path) -> None:
    found = evaluate([place / "run"], place / "set", tmp_path, "mmsa", device="cpu")
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    (result,) = found["runs"]

    table = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    truth = pq.read_table(place / "set" / "test.parquet", columns=["clip_id", "label"]).to_pydict()
    expected = by_hand(place / "run", place / "set" / "test.parquet")
    assert list(table) == ["split", "clip_id", "video_id", "speaker", "label", "prediction_3"]
    assert set(table["split"]) == {"test"}
    assert table["clip_id"] == sorted(truth["clip_id"])
    assert dict(zip(table["clip_id"], table["label"], strict=True)) == dict(zip(*truth.values(), strict=True))
    by_formula = [float(expected[clip_id][0]) for clip_id in table["clip_id"]]
    assert table["prediction_3"] == pytest.approx(by_formula, abs=1e-5)

    errors = np.abs(np.array(table["prediction_3"]) - np.array(table["label"]))
    assert result["test"]["mae"] == pytest.approx(errors.mean(), abs=1e-6)
    config = json.loads((place / "run" / "config.json").read_text())
    assert result["valid"]["mae"] == round(config["valid_loss"], 6)
    assert result["epoch"] == config["epoch"]
    assert result["n"] == {"valid": 20, "test": 25}
    assert (result["task"], result["class_names"]) == ("regression", [])
    assert result["features"] == {"text": "text-enc", "audio": "audio-enc", "visual": "visual-enc"}

    labels = {s: pq.read_table(place / "set" / f"{s}.parquet")["label"].to_numpy() for s in tiny_set.COUNTS}
    median = np.median(labels["train"])
    for split in ("valid", "test"):
        assert result["floor"][f"{split}_mae"] == pytest.approx(
            np.abs(labels[split] - median).mean(), abs=1e-6
        )

    header, *rows = (place / "run" / "curves.tsv").read_text().splitlines()
    expected_curves = [f"seed\t{header}", *(f"3\t{row}" for row in rows)]
    assert (tmp_path / "curves.tsv").read_text().splitlines() == expected_curves


def test_a_loaded_run_predicts_what_training_predicted(place: Path) -> None:
    config = read_config(place / "run")
    assert config["method"] == "tiny"
    method = load_method(place / "run", config).eval()
    split = TrainingSet.load(place / "set", only=["valid"]).splits["valid"]
    saved = pq.read_table(place / "run" / "valid.predictions.parquet").to_pydict()
    assert split.clip_ids == saved["clip_id"]
    np.testing.assert_array_equal(predict(method, split), np.array(saved["prediction"], np.float32))


def test_a_metric_set_gets_predictions_then_labels(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spy(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
        warnings.warn("corr is 0: said by a spy", MetricWarning, stacklevel=2)
        return {"mae": 0.1234567, "largest": float(label.max()), "said": float(prediction.max())}

    monkeypatch.setitem(METRIC_SETS, "spy", spy)
    (result,) = evaluate([place / "run"], place / "set", tmp_path, "spy", device="cpu")["runs"]
    test = pq.read_table(place / "set" / "test.parquet")["label"].to_numpy()
    assert result["test"]["largest"] == round(float(test.max()), 6)
    assert result["test"]["said"] != result["test"]["largest"]
    assert result["test"]["mae"] == 0.123457
    assert result["remarks"] == {key: ["corr is 0: said by a spy"] for key in ("valid", "test")}


@pytest.mark.parametrize("moods", [("sad", "glad"), ("sad", "calm", "glad")])
def test_a_classification(tmp_path: Path, moods: tuple[str, ...]) -> None:
    here = trained(tmp_path, moods)
    found = evaluate([here / "run"], here / "set", tmp_path / "out", "cls", device="cpu")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == found
    (result,) = found["runs"]
    assert (result["task"], result["class_names"], result["metric_set"]) == (
        "classification",
        [*moods],
        "cls",
    )

    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        *((name, "string") for name in ("split", "clip_id", "video_id", "speaker")),
        ("label", "int32"),
        ("prediction_3", "int32"),
        ("probability_3", "list<element: float>"),
    ]
    rows = table.to_pylist()
    truth = pq.read_table(here / "set" / "test.parquet", columns=["clip_id", "class_label"]).to_pylist()
    assert {row["clip_id"]: row["label"] for row in rows} == {
        row["clip_id"]: row["class_label"] for row in truth
    }
    logits = by_hand(here / "run", here / "set" / "test.parquet")
    for row in rows:
        outputs = logits[row["clip_id"]]
        assert outputs.shape == ((3,) if len(moods) == 3 else (1,))
        scores = np.exp(outputs if len(moods) == 3 else np.array([0.0, outputs[0]]))
        assert row["probability_3"] == pytest.approx(list(scores / scores.sum()), abs=1e-5)
        assert row["prediction_3"] == int(scores.argmax())
    hits = [row["prediction_3"] == row["label"] for row in rows]
    assert result["test"]["accuracy"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert set(result["test"]) == {"accuracy", "f1_weighted", "f1_macro", *(f"f1_{name}" for name in moods)}

    labels = {
        name: pq.read_table(here / "set" / f"{name}.parquet")["class_label"].to_numpy()
        for name in tiny_set.COUNTS
    }
    most = int(np.bincount(labels["train"]).argmax())
    for split in ("valid", "test"):
        share = np.mean(labels[split] == most)
        floor = {"accuracy": share, "f1_weighted": share * 2 * share / (1 + share)}
        for name, value in floor.items():
            assert result["floor"][f"{split}_{name}"] == pytest.approx(value, abs=1e-6)
    assert set(result["floor"]) == {
        f"{s}_{n}" for s in ("valid", "test") for n in ("accuracy", "f1_weighted")
    }

    with pytest.raises(ParamsError, match=r"metric set 'mmsa' is not for the classification tiny; .*metrics"):
        evaluate([here / "run"], here / "set", tmp_path / "out", "mmsa", device="cpu")


def test_predictions_that_are_not_finite(tmp_path: Path) -> None:
    here = trained(tmp_path, ("sad", "glad"))
    weights = load_file(here / "run" / "model.safetensors")
    save_file({**weights, "head.bias": np.full(1, np.nan, np.float32)}, here / "run" / "model.safetensors")
    out = tmp_path / "out"
    with pytest.raises(MsaError, match=r"predictions of (valid|test) are not finite"):
        evaluate([here / "run"], here / "set", out, "cls", device="cpu")
    assert not out.exists()


def test_the_most_frequent_class_is_the_trainings() -> None:
    known, labels = np.array([2, 2, 1, 1, 0], np.float32), np.array([1, 1, 0, 2])
    expected = {"accuracy": 0.5, "f1_weighted": 0.5 * 2 * 0.5 / 1.5}  # of equals the first: class 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert least_scores(known, labels, ["a", "b", "c"]) == pytest.approx(expected)
        assert least_scores(known, np.array([1, 1, 1]), ["a", "b", "c"]) == {"accuracy": 1, "f1_weighted": 1}


def test_other_labels_are_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    moods = write_tiny_set(tmp_path / "moods", classes=("sad", "glad"))
    with pytest.raises(MsaError, match=r"trained on a regression, but .* is a classification of sad, glad;"):
        evaluate([place / "run"], moods, out, "cls", device="cpu")
    with pytest.raises(ParamsError, match="metric set 'cls' is not for the regression tiny"):
        evaluate([place / "run"], place / "set", out, "cls", device="cpu")
    assert not out.exists()


def test_other_features_are_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wider = write_tiny_set(tmp_path / "wider", dims={**tiny_set.DIMS, "audio": 5})
    with pytest.raises(MsaError, match=r"widths audio 4, text 6, visual 3, but .* audio 5, text 6, visual 3"):
        evaluate([place / "run"], wider, out, "mmsa", device="cpu")
    fewer = write_tiny_set(tmp_path / "fewer", dims={"text": 6})
    with pytest.raises(MsaError, match=r"audio 4, text 6, visual 3, but .* has text 6;"):
        evaluate([place / "run"], fewer, out, "mmsa", device="cpu")
    other = write_tiny_set(tmp_path / "other", feature_set="e" * 64)
    with pytest.raises(MsaError, match=r"feature set ffffffffffff \(audio audio-enc.*eeeeeeeeeeee"):
        evaluate([place / "run"], other, out, "mmsa", device="cpu")
    assert not out.exists()


def test_what_cannot_be_read(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        ParamsError, match=r"metric set 'mmza' is not known, did you mean 'mmsa' \(there are: mmsa"
    ):
        evaluate([place / "run"], place / "set", out, "mmza", device="cpu")
    with pytest.raises(FormatError, match="not a run folder"):
        evaluate([place / "set"], place / "set", out, "mmsa", device="cpu")
    run = tmp_path / "run"
    run.mkdir()
    config = json.loads((place / "run" / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(FormatError, match="run folder of format 99, this version reads 1"):
        load_method(run, read_config(run))
    (run / "config.json").write_text(json.dumps(config))
    (run / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(FormatError, match=r"model\.safetensors: does not fit tiny as it is now"):
        load_method(run, read_config(run))
