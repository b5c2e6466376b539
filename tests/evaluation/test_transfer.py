"""Runs on another set: the same numbers as if its clips had been assembled with the run's training set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.two_corpora import Corpus, make_set, train_on

from pipeline.core.errors import MsaError
from pipeline.core.git import open_revision
from pipeline.evaluation.common_task import common_task
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.metrics import sims
from pipeline.evaluation.rescaled import rescaled
from pipeline.evaluation.saved import read_results, read_transferred
from pipeline.evaluation.transfer import evaluate_on

NEAR, FAR = Corpus.made("near", 48, 2.0, 1.0), Corpus.made("far", 40, 2.5, 1.4)
NEAR_CLIPS, FAR_CLIPS = [*NEAR.scores], [*FAR.scores]
LEARNT = {"train": (NEAR, NEAR_CLIPS[:32]), "valid": (NEAR, NEAR_CLIPS[32:40])}
OTHER = {"train": (FAR, FAR_CLIPS[:20]), "valid": (FAR, FAR_CLIPS[20:24]), "test": (FAR, FAR_CLIPS[24:])}
STATS = {"class_names": (), "label_range": (-3.0, 3.0)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets `near`, and `joint`: its train and valid, the test clips of the other corpus; a run on each."""
    here = tmp_path_factory.mktemp("transfer")
    train_on(here, make_set(here, "near", {**LEARNT, "test": (NEAR, NEAR_CLIPS[40:])}))
    make_set(here, "joint", {**LEARNT, "test": OTHER["test"]})
    return here


def run_of(place: Path) -> Path:
    return place / "runs" / "early_fusion-near" / "1"


@pytest.mark.parametrize("normalize", [["audio", "visual"], ["audio", "visual", "text"], []])
def test_as_if_assembled_with_the_training_set(place: Path, tmp_path: Path, normalize: list[str]) -> None:
    far = make_set(tmp_path, "far", OTHER, (-1.0, 1.0), normalize=normalize)
    found = evaluate_on([run_of(place)], far, "far", "sims", "cpu")
    (entry,) = found.entries
    assert (entry["method"], entry["trained_on"], entry["dataset"]) == (
        "early_fusion-from-near",
        "near",
        "far",
    )
    labels = pq.read_table(place / "joint" / "test.parquet", columns=["clip_id", "label"]).to_pydict()
    table = found.predictions.to_pydict()
    assert table["clip_id"] == labels["clip_id"] and set(table["split"]) == {"test"}
    assert table["label"] == pytest.approx(np.array(labels["label"]) / 3, abs=1e-6)

    joint = evaluate_on([run_of(place)], place / "joint", "joint", "mmsa", "cpu").predictions
    truth = joint["prediction_1"].to_numpy()
    assert np.array(table["prediction_1"]) * 3 == pytest.approx(truth, abs=1e-4)
    assert entry["map"][0] == "scores in [-3, 3] are mapped linearly to [-1, 1]: times 0.3333"
    own = sims(np.array(table["prediction_1"]), np.array(table["label"]))
    assert entry["test"] == pytest.approx(own, abs=1e-6)
    train = pq.read_table(place / "near" / "train.parquet")["label"].to_numpy()
    assert entry["floor"]["test_mae"] == pytest.approx(
        np.abs(np.array(table["label"]) - np.median(train) / 3).mean(), abs=1e-5
    )
    valid = pq.read_table(run_of(place) / "valid.predictions.parquet").to_pydict()
    errors = np.sort(np.abs(np.array(valid["prediction"]) - np.array(valid["label"]))) / 3
    assert entry["calibration"]["intervals"]["0.8"]["half_width"] == pytest.approx(errors[7], abs=1e-6)
    assert entry["tasks"]["polarity"]["accuracy"] == entry["test"]["acc3"]


def test_on_the_own_set_it_is_what_evaluate_says(place: Path, tmp_path: Path) -> None:
    found = evaluate_on([run_of(place)], place / "near", "near", "mmsa", "cpu").entries[0]
    usual = evaluate([run_of(place)], place / "near", tmp_path, "mmsa", "cpu")["runs"][0]
    assert found["method"] == "early_fusion"
    for key in ("test", "tasks", "calibration", "features"):
        assert found[key] == usual[key]
    assert found["floor"]["test_mae"] == usual["floor"]["test_mae"]
    assert found["n"] == {"test": 8}


def test_results_stand_apart(place: Path, tmp_path: Path) -> None:
    far = make_set(tmp_path, "far", OTHER, (-1.0, 1.0))
    found = evaluate_on([run_of(place)], far, "far", "sims", "cpu", ["in another language"])
    found.write(tmp_path / "results" / "far" / "early_fusion-from-near")
    runs = read_transferred("far", tmp_path / "results")["early_fusion-from-near"]
    assert runs[0].result.trained_on == "near" and runs[0].result.map[-1] == "in another language"
    assert runs[0].predictions["test"].clip_ids == tuple(sorted(FAR_CLIPS[24:]))
    (again,) = read_results(open_revision(None, tmp_path), "results/far/early_fusion-from-near")
    assert again.result.test == runs[0].result.test
    assert "in another language" in again.result.remarks["test"]
    assert "mae" in json.loads((tmp_path / "results/far/early_fusion-from-near/metrics.json").read_text())


def test_polarity_where_that_alone_is_common(place: Path, tmp_path: Path) -> None:
    far = make_set(tmp_path, "moods", OTHER, classes=("Positive", "neutral", "negative"))
    found = evaluate_on([run_of(place)], far, "moods", "cls", "cpu")
    scores = evaluate_on([run_of(place)], place / "joint", "joint", "mmsa", "cpu").predictions
    expected = 1 - np.rint(scores["prediction_1"].to_numpy().clip(-1, 1))  # Positive first
    assert found.predictions["prediction_1"].to_pylist() == expected.tolist()
    (entry,) = found.entries
    assert (entry["metric_set"], entry["class_names"]) == ("cls", ["Positive", "neutral", "negative"])
    assert "only polarity is shared" in entry["map"][0] and "tasks" not in entry
    label = found.predictions["label"].to_numpy()
    assert entry["test"]["accuracy"] == pytest.approx((label == expected).mean(), abs=1e-6)


def test_classes_by_their_names(tmp_path: Path) -> None:
    names = ("sad", "calm", "glad")
    here = train_on(
        tmp_path, make_set(tmp_path, "near", {**LEARNT, "test": (NEAR, NEAR_CLIPS[40:])}, classes=names)
    )
    whole = make_set(tmp_path, "joint", {**LEARNT, "test": OTHER["test"]}, classes=names)
    chances = np.array(
        evaluate_on([here], whole, "joint", "cls", "cpu").predictions["probability_1"].to_pylist()
    )
    other = make_set(tmp_path, "far", OTHER, classes=("Glad", "angry", "SAD"))
    found = evaluate_on([here], other, "far", "cls", "cpu")
    (entry,) = found.entries
    assert entry["class_names"] == ["Glad", "SAD"]
    shares = np.array([FAR.scores[clip] for clip in sorted(FAR_CLIPS[24:])])
    kept = np.abs(shares) > 1 / 3  # the middle third is `angry`
    assert found.predictions["clip_id"].to_pylist() == [
        c for c, k in zip(sorted(FAR_CLIPS[24:]), kept, strict=True) if k
    ]
    assert found.predictions["label"].to_pylist() == [int(s > 0) for s in shares[kept]]
    own = chances[kept][:, [2, 0]]
    own /= own.sum(axis=1, keepdims=True)
    assert np.array(found.predictions["probability_1"].to_pylist()) == pytest.approx(own, abs=1e-4)
    assert f"{(~kept).sum()} clips without a label in common are omitted" in entry["remarks"]["test"]
    assert "what the run gives to calm is shared out to the others in proportion" in entry["map"]
    with pytest.raises(MsaError, match="fewer than two names match"):
        evaluate_on(
            [here], make_set(tmp_path, "strange", OTHER, classes=("a", "glad")), "strange", "cls", "cpu"
        )


def test_the_map_of_labels() -> None:
    scores = np.array([-3.0, -0.5, 0.0, 0.6, 3.0])
    two = common_task({"class_names": ("negative", "positive"), "label_range": ()}, STATS, "mmsa")
    np.testing.assert_array_equal(two.of_set(scores), [0, 0, np.nan, 1, 1])
    three = common_task(STATS, {"class_names": ("negative", "neutral", "positive")}, "cls")
    np.testing.assert_array_equal(three.of_run(scores), [0, 1, 1, 2, 2])
    sims = common_task(
        {**STATS, "label_range": (-1.0, 1.0)}, {"class_names": ("negative", "neutral", "positive")}, "cls"
    )
    np.testing.assert_array_equal(sims.of_run(np.array([-0.2, -0.05, 0.1, 0.2])), [0, 1, 1, 2])
    linear = common_task(STATS, {"class_names": (), "label_range": (0.0, 10.0)}, "mmsa")
    assert linear.of_run(scores) == pytest.approx([0, 25 / 6, 5, 6, 10])
    assert "plus 5" in linear.said[0] and linear.scale == pytest.approx(10 / 6)
    with pytest.raises(MsaError, match="a regression and the classes a, b have no task in common"):
        common_task(STATS, {"class_names": ("a", "b")}, "cls")


def test_other_features_are_refused_and_all_of_it_said(place: Path, tmp_path: Path) -> None:
    other = make_set(tmp_path, "far", OTHER, encoder="others")
    with pytest.raises(
        MsaError, match=r"text: features of text-others, but the run reads text-made; audio: .*Extract"
    ):
        evaluate_on([run_of(place)], other, "far", "mmsa", "cpu")
    steps = {"text": 12, "audio": 5, "visual": 12}
    other = make_set(tmp_path, "short", OTHER, max_steps=steps, columns={"visual": ["success", "AU*2"]})
    with pytest.raises(
        MsaError, match=r"audio: max_steps is 5, but 12 in the run; visual: columns is 2 of .* but 3 of"
    ):
        evaluate_on([run_of(place)], other, "short", "mmsa", "cpu")
    other = make_set(tmp_path, "deaf", OTHER, audio="none")
    with pytest.raises(MsaError, match=r"audio: the set has none, but the run reads audio-made"):
        evaluate_on([run_of(place)], other, "deaf", "mmsa", "cpu")


def test_clips_that_were_learnt_from_are_refused(place: Path, tmp_path: Path) -> None:
    mixed = {**OTHER, "test": (NEAR, NEAR_CLIPS[30:44])}
    leak = make_set(tmp_path, "leak", mixed, (-1.0, 1.0))
    with pytest.raises(
        MsaError, match=r"trained or chosen on 10 of the 14 test clips .* 100% of their labels"
    ):
        evaluate_on([run_of(place)], leak, "leak", "sims", "cpu")
    twins = Corpus(
        dict(zip(NEAR_CLIPS, FAR.scores.values(), strict=False)),
        {m: dict(zip(NEAR_CLIPS, blocks.values(), strict=False)) for m, blocks in FAR.blocks.items()},
    )
    parts = {"train": NEAR_CLIPS[:20], "valid": NEAR_CLIPS[20:24], "test": NEAR_CLIPS[24:36]}
    namesakes = make_set(tmp_path, "namesakes", {split: (twins, clips) for split, clips in parts.items()})
    (entry,) = evaluate_on([run_of(place)], namesakes, "namesakes", "mmsa", "cpu").entries
    assert "12 test clips share ids with training clips, but not labels: treated as different" in entry["map"]


def test_what_the_set_lost_is_told(place: Path, tmp_path: Path) -> None:
    loud = Corpus(FAR.scores, {m: dict(blocks) for m, blocks in FAR.blocks.items()})
    clip = FAR_CLIPS[-1]
    loud.blocks["audio"][clip] = loud.blocks["audio"][clip].copy()
    loud.blocks["audio"][clip][0, 0] = 1e6
    outlier = make_set(tmp_path, "outlier", {**OTHER, "test": (loud, FAR_CLIPS[24:])})
    (entry,) = evaluate_on([run_of(place)], outlier, "outlier", "mmsa", "cpu").entries
    (said,) = [line for line in entry["map"] if line.startswith("audio: ")]
    assert "of the values were at the set's limit of ±10 sd" in said
    flat = Corpus(FAR.scores, {m: dict(blocks) for m, blocks in FAR.blocks.items()})
    for name, block in FAR.blocks["visual"].items():
        flat.blocks["visual"][name] = np.where([False, False, True], 1.0, block).astype(np.float32)
    constant = make_set(tmp_path, "constant", {split: (flat, clips) for split, (_, clips) in OTHER.items()})
    with pytest.raises(
        MsaError, match=r"1 column\(s\) of visual are constant .*\(AU12\).*normalize without visual"
    ):
        evaluate_on([run_of(place)], constant, "constant", "mmsa", "cpu")


def test_values_rescaled_by_hand() -> None:
    names = ["success", "a", "b"]
    have = {"columns": names, "normalized": ["a", "b"], "mean": [0, 1.0, 5.0], "sd": [1, 2.0, 1.0]}
    want = {"columns": names, "normalized": ["a"], "mean": [0, 2.0, 0], "sd": [1, 4.0, 1]}
    values = np.array([[1, 1.0, -1.0], [0, 0, 0], [1, 10.0, 2.0]], np.float32)
    found, at_limit = rescaled(values, have, want)
    np.testing.assert_allclose(found, np.array([[1, 0.25, 4.0], [0, 0, 0], [1, 4.75, 7.0]]))
    assert at_limit == 1
