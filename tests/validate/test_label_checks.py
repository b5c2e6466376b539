"""Histograms, polarities and conflicts of labels against pandas, SciPy and numbers by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from pipeline.core.vocabulary import CLASSES, LABELS
from pipeline.corpora.findings import Finding
from pipeline.params.params import DatasetParams
from pipeline.validate.labels import conflicts, disagreements, splits, summarize

SCORES = DatasetParams(root="x", label_range=(-1.0, 1.0))
MOODS = DatasetParams(root="x", task="classification", classes=["sad", "calm", "glad"])


def rows_of(values: list[dict[str, Any]], split: str = "train") -> list[dict[str, Any]]:
    fixed = {"split": split, "video_id": "v", "status": "ok"}
    return [{**fixed, **dict.fromkeys((*LABELS, *CLASSES)), **value} for value in values]


def check(findings: list[Finding], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == name]


def test_histogram_counts_every_label_once() -> None:
    labels = [-1.0, -0.72, -0.4, 0.0, 0.1, 0.99, 1.0]
    rows = rows_of([{"label": label} for label in labels], "test")
    (summary,) = summarize([*rows, {**rows[0], "label": None, "status": "empty text"}], SCORES)
    # by hand: bins are 2/7 wide, from -1: edges -0.714, -0.429, -0.143, 0.143, 0.429, 0.714
    assert summary.histogram == (2, 0, 1, 2, 0, 0, 2)
    assert (summary.clips, summary.usable, summary.videos, summary.speakers) == (8, 7, 1, None)
    assert summary.polarity == (3, 1, 3)
    assert summary.central == 2  # within a third of the way to the ends: 0 and 0.1


def test_labels_without_both_signs_have_no_polarity() -> None:
    stars = DatasetParams(root="x", label_range=(1.0, 5.0))
    rows = rows_of([{"label": 1.0, "label_text": 2.0, "label_audio": 5.0}, {"label": 5.0}])
    (summary,) = summarize(rows, stars)
    assert summary.polarity is None and summary.central is None
    assert conflicts(rows, stars) is None


def test_context_counts_as_clips_and_not_as_labels() -> None:
    rows = rows_of([{"label": 1.0}], "context")
    (summary,) = summarize(rows, SCORES)
    assert (summary.clips, sum(summary.histogram)) == (1, 0)


values = st.one_of(st.none(), st.sampled_from([-1.0, -0.2, 0.0, 0.4, 1.0]))
clips = st.fixed_dictionaries(dict.fromkeys(LABELS, values))


@given(st.lists(clips, min_size=1, max_size=30))
def test_conflicts_are_those_that_pandas_counts(found: list[dict[str, float | None]]) -> None:
    frame = np.sign(pd.DataFrame(found, dtype=float))
    having = [name for name in ("text", "audio", "visual") if frame[f"label_{name}"].notna().any()]
    result = conflicts(rows_of(found), SCORES)
    if len(having) < 2:
        assert result is None
        return
    assert result is not None and list(result.modalities) == having
    full = frame[[f"label_{name}" for name in having]].dropna()
    assert result.clips == len(full)
    assert result.apart == int((full.nunique(axis=1) > 1).sum())
    for (one, other), counted in result.pairs.items():
        columns = ["label" if name == "joint" else f"label_{name}" for name in (one, other)]
        both = frame[columns].dropna()
        assert counted == (len(both), int((both[columns[0]] != both[columns[1]]).sum()))
    for name in having:
        counts = full[f"label_{name}"].value_counts()
        assert result.polarity[name] == tuple(int(counts.get(sign, 0)) for sign in (-1, 0, 1))


def test_conflicts_of_classes() -> None:
    rows = rows_of(
        [
            {"class_label": 0, "class_text": 0, "class_audio": 0, "class_visual": 2},
            {"class_label": 1, "class_text": 1, "class_audio": 1, "class_visual": 1},
            {"class_label": 2, "class_text": 0, "class_audio": 1, "class_visual": None},
        ]
    )
    found = conflicts(rows, MOODS)
    assert found is not None
    assert (found.clips, found.apart) == (2, 1)
    assert found.pairs["text", "audio"] == (3, 1)
    assert found.pairs["text", "joint"] == (3, 1)
    assert found.pairs["audio", "visual"] == (2, 1)
    (finding,) = disagreements(found, MOODS)
    assert finding.message.startswith("1 of 2 clips (50%) have labels of text, audio, visual")
    assert finding.level == "info"  # a corpus is not to blame for it


@pytest.mark.parametrize(
    ("negative", "neutral", "positive", "warned"),
    [
        (10, 50, 30, False),
        (10, 0, 31, True),
        (31, 0, 10, True),
        (0, 0, 30, True),
        (0, 0, 5, False),
        (0, 40, 0, False),
    ],
)
def test_imbalance_of_polarities(negative: int, neutral: int, positive: int, warned: bool) -> None:
    labels = [-0.5] * negative + [0.0] * neutral + [0.5] * positive
    rows = rows_of([{"label": label} for label in labels])
    found = check(splits(summarize(rows, SCORES), SCORES), "imbalance")
    assert bool(found) == warned
    if warned:
        assert found[0].level == "warning"
        assert (
            f"{max(negative, positive)} {'positive' if positive > negative else 'negative'}"
            in found[0].rows[0]
        )


def test_imbalance_of_classes() -> None:
    rows = rows_of([{"class_label": index} for index in [0] * 31 + [1] * 10 + [2] * 20])
    (found,) = check(splits(summarize(rows, MOODS), MOODS), "imbalance")
    assert found.rows == ("train: 31 sad, 10 calm",)


@given(st.tuples(*[st.integers(0, 60)] * 3), st.tuples(*[st.integers(0, 60)] * 3))
def test_a_label_shift_is_large_and_no_chance(train: tuple[int, ...], test: tuple[int, ...]) -> None:
    rows = [
        row
        for split, counts in (("train", train), ("test", test))
        for label, count in zip((-0.5, 0.0, 0.5), counts, strict=True)
        for row in rows_of([{"label": label}] * count, split)
    ]
    found = check(splits(summarize(rows, SCORES), SCORES), "label shift")
    if not sum(train) or not sum(test):
        assert not found
        return
    table = pd.DataFrame([train, test])
    table = table.loc[:, table.any()]
    shares = table.div(table.sum(axis=1), axis=0)
    distance = (shares.iloc[0] - shares.iloc[1]).clip(lower=0).sum()
    if abs(distance - 0.1) > 1e-9:
        assert bool(found) == (distance > 0.1 and chi2_contingency(table).pvalue < 0.01)


@pytest.mark.parametrize(
    ("labels", "lacking"),
    [
        ({"train": [None, None], "test": [None]}, "train, test"),
        ({"train": [None], "test": [0.5]}, "train"),
        ({"test": [None]}, "test"),
        ({"train": [0.5, None], "test": [None]}, ""),
        ({"unlabeled": [None]}, ""),  # for pretraining
        ({"unlabeled": [None], "test": [1.0]}, ""),
    ],
)
def test_a_corpus_without_labels_is_not_usable_for_training(
    labels: dict[str, list[float | None]], lacking: str
) -> None:
    rows = [
        row for split, found in labels.items() for row in rows_of([{"label": one} for one in found], split)
    ]
    found = check(splits(summarize(rows, SCORES), SCORES), "no labels")
    assert [(one.level, lacking in one.message) for one in found] == ([("error", True)] if lacking else [])
