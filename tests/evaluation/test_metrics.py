"""Metrics against known answers, real labels, and a second implementation from the definitions."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import metrics as reference
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from pipeline.core.errors import MsaError
from pipeline.evaluation.metrics import METRIC_SETS, MetricWarning, cls, magbert, mmsa, sims

LABEL = np.array([-3, -1.6, -0.4, 0, 0, 0.4, 1.6, 3])
PREDICTION = np.array([-2.5, -1.5, 0.2, 0.1, -0.3, 0.5, 2.5, 3.7])


def test_known_answers() -> None:
    expected = {
        "mae": 0.4125,
        "corr": 0.981958,
        "acc7": 0.875,
        "acc5": 1.0,
        "acc3": 1.0,
        "acc2_has0": 0.75,
        "acc2_non0": 0.833333,
        "f1_has0": 0.75,
        "f1_non0": 0.828571,
    }
    assert mmsa(PREDICTION, LABEL) == pytest.approx(expected, abs=1e-6)
    assert {"mmsa": mmsa, "sims": sims, "magbert": magbert} == METRIC_SETS


def test_known_answers_without_zero_labels() -> None:
    """But for acc7, 7 of all 8 clips; without the two zeros it would be 5 of 6, 0.833333."""
    expected = {"acc2": 0.833333, "mae": 0.483333, "corr": 0.992509, "acc7": 0.875}
    scores = magbert(PREDICTION, LABEL)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    with pytest.raises(MsaError, match="every label is 0"):
        magbert(np.array([0.1, -0.2]), np.zeros(2))


def test_known_answers_of_sims() -> None:
    label = np.array([-1, -0.6, -0.2, 0, 0, 0.2, 0.6, 1])
    prediction = np.array([-0.8, -0.1, 0.05, 0, 0.1, 0.15, 0.7, 1.3])
    expected = {"acc2": 0.75, "acc3": 0.875, "acc5": 0.875, "f1": 0.75, "mae": 0.15, "corr": 0.966207}
    assert sims(prediction, label) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges_of_sims_belong_to_the_bin_below(dtype: type) -> None:
    edges = np.array([-0.7, -0.1, 0.0, 0.1, 0.7], dtype=dtype)
    below = sims(edges, edges - np.array(0.05, dtype))
    above = sims(edges, edges + np.array(0.05, dtype))
    assert (below["acc5"], below["acc3"], below["acc2"]) == (1.0, 1.0, 1.0)
    assert (above["acc5"], above["acc3"], above["acc2"]) == pytest.approx((1 / 5, 3 / 5, 4 / 5))


def test_sims_clips_before_the_error_too() -> None:
    assert sims(np.array([5.0, -5.0, 0.5]), np.array([1.0, -1.0, 0.5]))["mae"] == 0.0


def test_f1_with_swapped_arguments_would_be_another_number() -> None:
    """Some papers weight by the predicted classes' sizes; 1.3 gives both values for this example."""
    non0 = LABEL != 0
    swapped = f1_score(PREDICTION[non0] > 0, LABEL[non0] > 0, average="weighted")
    assert swapped == pytest.approx(0.838095, abs=1e-6)
    assert mmsa(PREDICTION, LABEL)["f1_non0"] == pytest.approx(0.828571, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_halves_round_to_the_even_neighbour(dtype: type) -> None:
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], dtype=dtype)
    even = np.array([-2, -2, 0, 0, 2, 2], dtype=dtype)
    up = np.array([-2, -1, 0, 1, 2, 3], dtype=dtype)
    assert mmsa(halves, even)["acc7"] == 1.0
    assert mmsa(halves, up)["acc7"] == pytest.approx(3 / 6)


def test_clips_before_rounding_but_not_for_the_error() -> None:
    scores = mmsa(np.array([9.0, -9.0, 2.4]), np.array([3.0, -3.0, 2.0]))
    assert scores["acc7"] == scores["acc5"] == scores["acc3"] == 1.0
    assert scores["mae"] == pytest.approx((6 + 6 + 0.4) / 3)


def test_zero_is_non_negative_in_has0_and_left_out_of_non0() -> None:
    label, prediction = np.array([0.0, 1.0, -1.0]), np.array([-0.1, 1.0, 0.0])
    scores = mmsa(prediction, label)
    assert scores["acc2_has0"] == pytest.approx(1 / 3)  # -0.1 for 0 is wrong, and so is 0 for -1
    assert scores["acc2_non0"] == 1.0  # a prediction of 0 counts as negative here


def test_f1_is_weighted_by_true_support() -> None:
    label = np.array([1.0, 1.0, 1.0, -1.0])
    with pytest.warns(MetricWarning, match=r"corr is 0: all predictions are 1"):
        scores = mmsa(np.ones(4), label)
    assert scores["f1_non0"] == pytest.approx(0.75 * 2 * 0.75 / 1.75)
    assert scores["corr"] == 0.0


halves = st.integers(-8, 8).map(lambda number: number / 2)
values = st.one_of(halves, st.floats(-4, 4, allow_nan=False, width=32))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["mmsa", "sims", "magbert"]),
    st.lists(st.tuples(values, values), min_size=2, max_size=40),
)
def test_equals_the_definition(name: str, pairs: list[tuple[float, float]]) -> None:
    prediction, label = np.array(pairs).T.round(4)  # not within rounding of an edge, unless on it
    assume(name != "magbert" or label.any())
    expected = getattr(reference, name)(prediction.tolist(), label.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = METRIC_SETS[name](prediction, label)
    limit = 1 if name == "sims" else np.inf
    kept = label != 0 if name == "magbert" else np.full(len(label), True)
    sides = (side[kept].clip(-limit, limit) for side in (prediction, label))
    if min(np.std(side) for side in sides) < 1e-9:  # no correlation can be told from rounding there
        assert -1 <= scores.pop("corr") <= 1
        expected.pop("corr")
    assert scores == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("far", "noise"), [(0.0, 1.0), (2.5, 1e-3), (-100.0, 1e-4)])
def test_scores_of_sums_are_scipys_and_scikit_learns(far: float, noise: float) -> None:
    """Also where predictions hardly vary, far from the labels, and sums lose digits."""
    random = np.random.default_rng(5)
    label = random.integers(-3, 4, 400).astype(float)
    prediction = far + noise * (label + random.normal(size=400))
    has0, non0 = (label >= 0, prediction >= 0), (label[label != 0] > 0, prediction[label != 0] > 0)
    expected = {
        "mae": mean_absolute_error(label, prediction),
        "corr": pearsonr(prediction, label).statistic,
        "acc7": accuracy_score(label, np.rint(prediction.clip(-3, 3))),
        "acc2_has0": accuracy_score(*has0),
        "acc2_non0": accuracy_score(*non0),
        "f1_has0": f1_score(*has0, average="weighted", zero_division=0),
        "f1_non0": f1_score(*non0, average="weighted", zero_division=0),
    }
    found = mmsa(prediction, label)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=2, max_size=20), st.randoms())
def test_the_order_of_the_clips_does_not_matter(pairs: list[tuple[float, float]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)
        before, after = mmsa(*np.array(pairs).T), mmsa(*np.array(shuffled).T)
    for scores in (before, after):
        scores["corr"] = round(scores["corr"], 6) + 0.0
    if np.std(np.array(pairs), axis=0).min() < 1e-6:
        before.pop("corr"), after.pop("corr")
    assert after == pytest.approx(before, abs=1e-6)


def test_only_zero_labels_are_reported_not_hidden() -> None:
    with pytest.warns(MetricWarning) as caught:
        scores = mmsa(np.array([0.1, -0.2]), np.zeros(2))
    assert {"acc2_non0": 0.0, "f1_non0": 0.0, "corr": 0.0}.items() <= scores.items()
    assert {str(entry.message) for entry in caught} == {
        "acc2_non0 and f1_non0 are 0: every label is 0",
        "corr is 0: all labels are 0",
    }


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        ([np.nan, 1.0], [1.0, 1.0], r"1 of 2 predictions are not finite \(first: nan at row 0\)"),
        ([0.0, np.inf], [1.0, 1.0], r"first: inf at row 1"),
        ([0.0, 1.0], [1.0, np.nan], r"1 of 2 labels are not finite"),
        ([0.0, 1.0], [1.0], r"shape \(2,\) and labels of shape \(1,\)"),
        ([[0.0]], [[1.0]], r"expected one number per clip"),
        ([], [], r"at least one clip"),
    ],
)
def test_unusable_input_is_refused(prediction: list, label: list, message: str) -> None:
    with pytest.raises(MsaError, match=message):
        mmsa(np.array(prediction), np.array(label))


# ----------------------------------------------------------------------------------------- classifications
MOODS = ["anger", "joy", "fear"]


def test_known_answers_of_classes() -> None:
    label = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    prediction = np.array([0, 0, 1, 2, 1, 1, 1, 2])
    # anger: precision 1, recall 1/2; joy: 2/4, 1; fear: 1/2, 1/2
    expected = {
        "accuracy": 5 / 8,
        "f1_weighted": (4 * 2 / 3 + 2 * 2 / 3 + 2 * 1 / 2) / 8,
        "f1_macro": (2 / 3 + 2 / 3 + 1 / 2) / 3,
        "f1_anger": 2 / 3,
        "f1_joy": 2 / 3,
        "f1_fear": 1 / 2,
    }
    found = cls(prediction, label, MOODS)
    assert found == pytest.approx(expected, abs=1e-12)
    assert list(found) == list(expected)
    assert not any(isinstance(value, np.generic) for value in found.values())  # they become JSON


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 7).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=40),
        )
    )
)
def test_classes_equal_the_definition_and_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = case
    prediction, label = np.array(pairs).T
    names = [f"class {index}" for index in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)
        scores = cls(prediction, label, names)
        assert cls(prediction.astype(np.float32), label.astype(np.float32), names) == scores
    assert scores == pytest.approx(reference.cls(prediction.tolist(), label.tolist(), names), abs=1e-12)
    classes = list(range(count))
    assert scores["accuracy"] == pytest.approx(accuracy_score(label, prediction))
    for average in ("weighted", "macro"):
        expected = f1_score(label, prediction, labels=classes, average=average, zero_division=0)
        assert scores[f"f1_{average}"] == pytest.approx(expected, abs=1e-12)
    for index, name in enumerate(names):  # one against all others
        expected = f1_score(label == index, prediction == index, zero_division=0)
        assert scores[f"f1_{name}"] == pytest.approx(expected, abs=1e-12)


def test_a_class_without_clips_is_warned_of_and_counts_as_0() -> None:
    with pytest.warns(MetricWarning, match=r"no clip is labelled joy, fear: .* is 0, in f1_macro too"):
        scores = cls(np.array([0, 0, 1]), np.array([0, 0, 0]), MOODS)
    assert (scores["f1_joy"], scores["f1_fear"]) == (0.0, 0.0)
    assert (scores["f1_weighted"], scores["f1_anger"]) == pytest.approx((0.8, 0.8))
    assert scores["f1_macro"] == pytest.approx(0.8 / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # neither a missing prediction nor scikit-learn has anything to say
        cls(np.array([0, 0, 0]), np.array([0, 1, 2]), MOODS)


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        (
            [0, 3],
            [0, 1],
            r"1 of 2 predictions are not a class \(first: 3\); expected indices of anger, joy, fear",
        ),
        ([0, 1], [0, -1], r"1 of 2 labels are not a class \(first: -1\)"),
        ([0.5, 1], [0, 1], r"1 of 2 predictions are not a class \(first: 0.5\)"),
        ([0, 1], [np.nan, 1], r"1 of 2 labels are not finite"),
        ([[0.2, 0.8]], [1], r"expected one number per clip"),
    ],
)
def test_what_is_no_class_is_refused(prediction: list, label: list, message: str) -> None:
    with pytest.raises(MsaError, match=message):
        cls(np.array(prediction), np.array(label), MOODS)


@pytest.mark.shared
def test_floors_of_the_mosi_test_split(shared: Path) -> None:
    with (shared / "datasets" / "mosi" / "label.csv").open(encoding="utf-8", newline="") as file:
        label = np.array([float(row["label"]) for row in csv.DictReader(file) if row["mode"] == "test"])
    assert (len(label), int((label == 0).sum()), int((label < 0).sum())) == (686, 30, 379)

    def constant(value: float) -> dict[str, float]:
        with pytest.warns(MetricWarning):
            return mmsa(np.full(len(label), value), label)

    low = constant(-0.5)
    assert {name: round(low[name], 4) for name in ("acc2_has0", "acc2_non0", "acc7", "mae", "f1_non0")} == {
        "acc2_has0": 0.5525,
        "acc2_non0": 0.5777,
        "acc7": 0.1545,
        "mae": 1.3801,
        "f1_non0": 0.4231,  # 0.7324 with the arguments swapped
    }
    assert constant(0.2)["mae"] == pytest.approx(1.4559, abs=5e-5)
    median = constant(-0.6)
    assert median["mae"] == pytest.approx(1.3789, abs=5e-5)
    assert median["acc7"] == pytest.approx(0.2114, abs=5e-5)
