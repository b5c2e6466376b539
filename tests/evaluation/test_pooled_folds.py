"""Folds pooled: metrics of all test clips together as scikit-learn has them, and what cannot be pooled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pipeline.core.errors import MsaError
from pipeline.evaluation.comparison import compare_runs
from pipeline.evaluation.pooled import pooled
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.saved import Result, SavedRun

CLASSES = ("a", "b", "c")


def run(fold: int, seed: int, clips: int = 30, right: float = 0.6) -> SavedRun:
    """A run on a fold of three speakers."""
    random = np.random.default_rng([fold, seed])
    label = np.random.default_rng(fold).integers(0, 3, clips).astype(float)
    prediction = np.where(random.random(clips) < right, label, (label + 1) % 3)
    ids = tuple(f"{9 - fold}-{i:03d}$_$0" for i in range(clips))  # folds in the other order than ids
    speakers = tuple(f"s{fold}{i % 3}" for i in range(clips))
    predictions = Predictions(ids, ids, speakers, label, prediction)
    result = Result(
        format=2,
        method="m",
        dataset=f"fold{fold}",
        seed=seed,
        metric_set="cls",
        feature_set=f"f{fold}",
        features={"text": "minilm"},
        class_names=CLASSES,
        test={"accuracy": float((label == prediction).mean())},
        valid={"accuracy": 0.5},
        epoch=3,
        n={"test": clips, "valid": 5},
        floor={},
        remarks={},
    )
    return SavedRun(f"results/fold{fold}/m", "working folder", result, {"test": predictions})


def folds(right: float = 0.6, seeds: tuple[int, ...] = (1, 2)) -> dict[str, list[SavedRun]]:
    """Eight folds of other sizes."""
    return {f"fold{fold}": [run(fold, seed, 20 + fold, right) for seed in seeds] for fold in range(8)}


def test_metrics_are_those_of_all_clips() -> None:
    found = pooled(folds(), "whole")
    assert [one.result.seed for one in found] == [1, 2]
    for one in found:
        parts = [run(fold, one.result.seed, 20 + fold).predictions["test"] for fold in range(8)]
        label, prediction = (
            np.concatenate([getattr(p, side) for p in parts]) for side in ("label", "prediction")
        )
        assert one.result.test["accuracy"] == pytest.approx(np.mean(label == prediction))
        for average in ("weighted", "macro"):
            assert one.result.test[f"f1_{average}"] == pytest.approx(
                f1_score(label, prediction, average=average)
            )
        mine = one.predictions["test"]
        assert list(mine.clip_ids) == sorted(mine.clip_ids) and len(mine.clip_ids) == len(label)
        of_clip = {
            clip: (speaker, true, guess)
            for part in parts
            for clip, speaker, true, guess in zip(
                part.clip_ids, part.speakers, part.label, part.prediction, strict=True
            )
        }
        pooled_rows = zip(mine.clip_ids, mine.speakers, mine.label, mine.prediction, strict=True)
        assert all(of_clip[clip] == (speaker, true, guess) for clip, speaker, true, guess in pooled_rows)


def test_statistics_are_by_the_speakers_of_all_folds() -> None:
    entry = compare_runs("better", pooled(folds(0.4), "whole"), pooled(folds(0.9), "whole"), 200, 0)
    assert entry.clusters["test"].text_with_clips == "188 clips of 24 speakers"
    accuracy = next(row.test for row in entry.rows if row.metric == "accuracy")
    assert accuracy is not None and accuracy.low > 0 and accuracy.p < 0.05


def test_what_cannot_be_pooled() -> None:
    with pytest.raises(
        MsaError, match=r"folds of other seeds cannot be pooled \(fold0: \[1\], fold1: \[1, 2\]"
    ):
        pooled({**folds(), "fold0": [run(0, 1)]}, "whole")
    with pytest.raises(MsaError, match="20 clips are tested in several of the folds"):
        pooled({**folds(), "again": [run(0, 1, 20), run(0, 2, 20)]}, "whole")
    other = [
        replace(one, result=one.result.model_copy(update={"metric_set": "mmsa"})) for one in folds()["fold1"]
    ]
    with pytest.raises(MsaError, match="have other metrics or classes"):
        pooled({**folds(), "fold1": other}, "whole")
    without = [replace(one, predictions={}) for one in folds()["fold1"]]
    with pytest.raises(MsaError, match="m-fold1/1 has no saved predictions"):
        pooled({**folds(), "fold1": without}, "whole")
