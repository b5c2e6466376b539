"""Evaluation: predictions from the formula, metrics of the right split, refusal of other features."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_set
from safetensors.numpy import load_file
from tiny_set import write_tiny_set

from models import METHODS, MethodEntry
from pipeline.batches import TrainingSet
from pipeline.errors import FormatError, MsaError, ParamsError
from pipeline.evaluate import evaluate, load_run
from pipeline.layout import result_files
from pipeline.metrics import METRIC_SETS, MetricWarning
from pipeline.params import TrainParams
from pipeline.train import predict, train


@pytest.fixture(scope="module", autouse=True)
def _tiny_method() -> Iterator[None]:
    METHODS["tiny"] = MethodEntry("tiny_set", "Tiny")
    yield
    del METHODS["tiny"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `set`, the assembled set, and `run`, a run on it."""
    here = tmp_path_factory.mktemp("evaluate")
    assembled = write_tiny_set(here / "set")
    train(
        "tiny",
        "tiny",
        3,
        {"training": {"epochs": 4}},
        TrainParams(),
        assembled,
        here / "pretrained",
        here / "run",
        device="cpu",
        state_root=here / "state",
        logs=here / "logs",
    )
    return here


def by_hand(run: Path, split: Path) -> dict[str, float]:
    """Predictions of the tiny method by its formula, in float64, one clip at a time and without padding."""
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
        found[row["clip_id"]] = float(weights["head.weight"][0] @ hidden + weights["head.bias"][0])
    return found


def test_metrics_and_predictions_of_the_test_split(place: Path, tmp_path: Path) -> None:
    names = result_files("tiny", "tiny", 3, tmp_path)
    result = evaluate(place / "run", place / "set", names, "mmsa", device="cpu")
    assert json.loads(names[0].read_text()) == result

    table = pq.read_table(names[1]).to_pydict()
    truth = pq.read_table(place / "set" / "test.parquet", columns=["clip_id", "label"]).to_pydict()
    expected = by_hand(place / "run", place / "set" / "test.parquet")
    assert list(table) == ["clip_id", "label", "prediction"]
    assert table["clip_id"] == sorted(truth["clip_id"])
    assert dict(zip(table["clip_id"], table["label"], strict=True)) == dict(zip(*truth.values(), strict=True))
    assert table["prediction"] == pytest.approx([expected[clip_id] for clip_id in table["clip_id"]], abs=1e-5)

    errors = np.abs(np.array(table["prediction"]) - np.array(table["label"]))
    assert result["test"]["mae"] == pytest.approx(errors.mean(), abs=1e-6)
    config = json.loads((place / "run" / "config.json").read_text())
    assert result["valid"]["mae"] == round(config["valid_mae"], 6)
    assert result["epoch"] == config["epoch"]
    assert result["n"] == {"valid": 20, "test": 25}
    assert result["features"] == {"text": "text-enc", "audio": "audio-enc", "visual": "visual-enc"}

    labels = {s: pq.read_table(place / "set" / f"{s}.parquet")["label"].to_numpy() for s in tiny_set.COUNTS}
    median = np.median(labels["train"])
    for split in ("valid", "test"):
        assert result["floor"][f"{split}_mae"] == pytest.approx(
            np.abs(labels[split] - median).mean(), abs=1e-6
        )

    assert names.curves.read_bytes() == (place / "run" / "curves.tsv").read_bytes()
    before = [name.read_bytes() for name in names]
    evaluate(place / "run", place / "set", names, "mmsa", device="cpu")
    assert [name.read_bytes() for name in names] == before


def test_a_loaded_run_predicts_what_training_predicted(place: Path) -> None:
    method, config = load_run(place / "run")
    assert not method.training
    assert config["method"] == "tiny"
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
    out = result_files("a", "a", 1, tmp_path)
    result = evaluate(place / "run", place / "set", out, "spy", device="cpu")
    test = pq.read_table(place / "set" / "test.parquet")["label"].to_numpy()
    assert result["test"]["largest"] == round(float(test.max()), 6)
    assert result["test"]["said"] != result["test"]["largest"]
    assert result["test"]["mae"] == 0.123457
    assert result["remarks"] == {key: ["corr is 0: said by a spy"] for key in ("valid", "test")}


def test_other_features_are_refused(place: Path, tmp_path: Path) -> None:
    out = result_files("a", "a", 1, tmp_path)
    wider = write_tiny_set(tmp_path / "wider", dims={**tiny_set.DIMS, "audio": 5})
    with pytest.raises(MsaError, match=r"widths audio 4, text 6, visual 3, but .* audio 5, text 6, visual 3"):
        evaluate(place / "run", wider, out, "mmsa", device="cpu")
    fewer = write_tiny_set(tmp_path / "fewer", dims={"text": 6})
    with pytest.raises(MsaError, match=r"audio 4, text 6, visual 3, but .* has text 6;"):
        evaluate(place / "run", fewer, out, "mmsa", device="cpu")
    other = write_tiny_set(tmp_path / "other", feature_set="e" * 64)
    with pytest.raises(MsaError, match=r"feature set ffffffffffff \(audio audio-enc.*eeeeeeeeeeee"):
        evaluate(place / "run", other, out, "mmsa", device="cpu")
    assert not out[0].exists()


def test_what_cannot_be_read(place: Path, tmp_path: Path) -> None:
    out = result_files("a", "a", 1, tmp_path)
    with pytest.raises(ParamsError, match=r"metric set 'mmza' is not known \(there are: mmsa"):
        evaluate(place / "run", place / "set", out, "mmza", device="cpu")
    with pytest.raises(FormatError, match="not a run folder"):
        evaluate(place / "set", place / "set", out, "mmsa", device="cpu")
    run = tmp_path / "run"
    run.mkdir()
    config = json.loads((place / "run" / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(FormatError, match="run folder of format 99, this version reads 1"):
        load_run(run)
    (run / "config.json").write_text(json.dumps(config))
    (run / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(FormatError, match=r"model\.safetensors: does not fit tiny as it is now"):
        load_run(run)
