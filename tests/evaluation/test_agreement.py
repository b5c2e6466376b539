"""Parts of a test split by what its modalities say: by hand, and their statistics from the definitions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.tiny_runs import OWN_LABELS, made_run, made_set
from scipy.stats import t as student

from pipeline.core.errors import MsaError
from pipeline.core.git import open_revision
from pipeline.evaluation.agreement import compare_parts, correct_parts, modality_agreement
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.pooled import pooled
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.saved import Result, SavedRun, read_results

NAN = np.nan
# text, audio, visual of six clips, and the part of each
SAID = [
    ((1.0, 0.2, 3.0), "agree"),
    ((-1.0, 0.2, 1.0), "disagree"),
    ((0.0, 0.2, 1.0), "neutral"),
    ((0.0, 0.0, 0.0), "agree"),
    ((-2.0, NAN, 1.0), "disagree"),
    ((-2.0, NAN, NAN), None),
]


def saved(
    method: str,
    prediction: np.ndarray,
    label: np.ndarray,
    seed: int = 1,
    labels: Mapping[str, np.ndarray] | None = None,
    probability: np.ndarray | None = None,
    fold: str = "set",
) -> SavedRun:
    """A run; of classes where there are probabilities. Four clips make a video."""
    clips = tuple(f"{fold}{i:03d}" for i in range(len(label)))
    videos = tuple(f"{fold}v{i // 4}" for i in range(len(label)))
    classes = () if probability is None else tuple("abc")
    found = Predictions(clips, videos, (None,) * len(clips), label, prediction, labels or {}, probability)
    result = Result(
        format=2,
        method=method,
        dataset=fold,
        seed=seed,
        metric_set="cls" if classes else "mmsa",
        feature_set="f",
        features={},
        class_names=classes,
        test={},
        valid={},
        n={"test": len(label)},
        floor={},
        remarks={},
    )
    return SavedRun(f"results/{fold}/{method}", "here", result, {"test": found})


def test_parts_by_labels_of_the_modalities() -> None:
    own = {m: np.array([said[i] for said, _ in SAID]) for i, m in enumerate(("text", "audio", "visual"))}
    run = saved("misr", np.zeros(6), np.zeros(6), labels=own)
    found = modality_agreement({"misr": [run], "text_only": [saved("text_only", np.ones(6), np.zeros(6))]})
    assert found is not None and found.basis == "labels"
    expected = {
        clip: part for clip, (_, part) in zip(run.predictions["test"].clip_ids, SAID, strict=True) if part
    }
    assert found.parts == expected
    assert (
        found.unknown == 1 and found.counts == {"agree": 2, "neutral": 1, "disagree": 2} and not found.remarks
    )


def test_parts_by_predicted_signs_of_all_seeds() -> None:
    """The mean over the seeds decides: 1 and -3 are negative."""
    zeros = np.zeros(3)
    runs = {
        "text_only": [
            saved("text_only", np.array(p), zeros, s) for s, p in enumerate([(1, 1, -1), (-3, 1, -1)])
        ],
        "visual_only": [saved("visual_only", np.array([1.0, 2.0, -1.0]), zeros)],
        "misr": [saved("misr", zeros, zeros)],
    }
    found = modality_agreement(runs)
    assert found is not None and found.basis == "runs" and found.modalities == ("text", "visual")
    assert [*found.parts.values()] == ["disagree", "agree", "agree"]
    assert "Predictions err" in found.remarks[0]
    del runs["visual_only"]
    assert modality_agreement(runs) is None


def test_parts_by_the_class_of_the_mean_probability() -> None:
    """Two seeds for class 0 by a little, one for 1 by much: class 1."""
    label = np.zeros(1)
    rows = [(0.5, 0.4, 0.1), (0.5, 0.4, 0.1), (0.0, 1.0, 0.0)]
    text = [saved("text_only", label, label, s, probability=np.array([p])) for s, p in enumerate(rows)]
    for row, part in (((0.2, 0.8, 0.0), "agree"), ((0.8, 0.2, 0.0), "disagree")):
        audio = saved("audio_only", label, label, probability=np.array([row]))
        found = modality_agreement({"text_only": text, "audio_only": [audio]})
        assert found is not None and [*found.parts.values()] == [part]


def test_a_modality_that_knows_nothing_is_not_asked() -> None:
    """Text is noise; of audio, visual and text two others are left, of audio and text none."""
    random = np.random.default_rng(0)
    label = random.normal(size=80)
    good = {m: label + random.normal(scale=0.2, size=80) for m in ("audio", "visual")}
    runs = {f"{m}_only": [saved(f"{m}_only", said, label)] for m, said in good.items()}
    runs["text_only"] = [saved("text_only", random.normal(size=80), label)]
    found = modality_agreement(runs)
    assert found is not None and found.modalities == ("audio", "visual")
    assert "text_only is not shown to be better than a constant: text is not used" in found.remarks
    differ = good["audio"] * good["visual"] < 0
    assert [*found.parts.values()] == ["disagree" if apart else "agree" for apart in differ]
    del runs["visual_only"]
    found = modality_agreement(runs)
    assert found is not None and found.modalities == ("text", "audio")
    assert "text is used all the same" in found.remarks[1]


def test_a_modality_that_always_says_the_same_is_told() -> None:
    random = np.random.default_rng(0)
    text, label = random.normal(size=40), np.zeros(40)
    runs = {
        "text_only": [saved("text_only", text, label)],
        "visual_only": [saved("visual_only", np.full(40, 0.2), label)],
    }
    found = modality_agreement(runs)
    assert found is not None
    (said,) = [line for line in found.remarks if line.startswith("visual ")]
    assert "visual says positive for 100% of the clips" in said


@pytest.fixture(scope="module")
def sides() -> dict[str, list[SavedRun]]:
    """120 clips of 30 videos, labels of two modalities; B is better by 0.5 where they disagree alone."""
    random = np.random.default_rng(1)
    label = random.normal(size=120)
    own = {"text": random.normal(size=120), "audio": random.normal(size=120)}
    apart = own["text"] * own["audio"] < 0
    runs: dict[str, list[SavedRun]] = {"a": [], "b": []}
    for seed in (1, 2):
        noise = random.choice([-1, 1], 120) * (1 + random.uniform(0, 0.4, 120))
        runs["a"].append(saved("a", label + noise, label, seed, own))
        runs["b"].append(saved("b", label + noise * np.where(apart, 0.5, 1) + 0.01, label, seed, own))
    return runs


def test_differences_in_parts_and_the_contrast(sides: dict[str, list[SavedRun]]) -> None:
    agreement = modality_agreement(sides)
    assert agreement is not None
    (entry,), family = correct_parts([compare_parts("b", sides["a"], sides["b"], agreement, 500)])
    assert family == 2 and [*entry.parts] == ["agree", "disagree"]
    first = sides["a"][0].predictions["test"]
    part = np.array([agreement.parts[clip] for clip in first.clip_ids])
    video = np.array(first.videos)
    errors = {
        side: np.mean([np.abs(r.predictions["test"].prediction - first.label) for r in runs], axis=0)
        for side, runs in sides.items()
    }
    gained = errors["b"] - errors["a"]
    for name, found in entry.parts.items():
        mine = part == name
        assert found.clusters.clips == mine.sum()
        assert found.clusters.count == len(set(video[mine]))
        assert found.a.mean == pytest.approx(errors["a"][mine].mean())
        assert found.test is not None and found.test.difference == pytest.approx(gained[mine].mean())
    agree, disagree = (entry.parts[name].test for name in ("agree", "disagree"))
    assert agree is not None and disagree is not None
    assert (agree.shown, disagree.shown) == ("open", "better")

    def contrast(kept: np.ndarray) -> float:
        there, here = (gained[kept & (part == name)].mean() for name in ("disagree", "agree"))
        return float(there - here)

    names = sorted(set(video.tolist()))
    without = np.array([contrast(video != name) for name in names])
    sd = np.sqrt((len(names) - 1) / len(names) * np.square(without - without.mean()).sum())
    value = contrast(np.ones(len(video), bool))
    reach = student.ppf(0.975, len(names) - 1) * sd
    assert entry.contrast == pytest.approx((value, value - reach, value + reach))
    assert entry.contrast is not None and entry.contrast[2] < 0


def test_small_parts_are_told_and_never_tested_alone(sides: dict[str, list[SavedRun]]) -> None:
    label = np.arange(6.0)
    own = {"text": np.ones(6), "audio": np.array([1, 1, 1, 1, -1, -1.0])}  # two clips of one video disagree
    a, b = ([saved(name, label + shift, label, labels=own)] for name, shift in (("a", 0.5), ("b", 0.25)))
    agreement = modality_agreement({"a": a})
    assert agreement is not None
    entry = compare_parts("b", a, b, agreement, 100)
    assert entry.parts["disagree"].test is None and entry.parts["disagree"].a.mean == 0.5
    assert entry.contrast is None
    assert "disagree: 1 video: too few to trust" in entry.remarks[-1]
    classes = [saved("c", label, label, probability=np.ones((6, 3)) / 3)]
    with pytest.raises(MsaError, match="b: the metric sets differ"):
        compare_parts("b", a, classes, agreement)


def test_folds_pooled_have_parts() -> None:
    random = np.random.default_rng(2)
    folds: dict[str, dict[str, list[SavedRun]]] = {"text_only": {}, "audio_only": {}, "m": {}}
    for fold in ("f1", "f2", "f3"):
        label = random.integers(0, 3, 24).astype(float)
        for method, runs in folds.items():
            chances = random.dirichlet(np.ones(3), 24)
            guess = chances.argmax(axis=1).astype(float)
            runs[fold] = [saved(method, guess, label, probability=chances, fold=fold)]
    whole = {method: pooled(runs, "all") for method, runs in folds.items()}
    found = modality_agreement(whole)
    assert found is not None and len(found.parts) == 72
    for fold in ("f1", "f2", "f3"):
        text, audio = (folds[m][fold][0].predictions["test"] for m in ("text_only", "audio_only"))
        for clip, mine, other in zip(text.clip_ids, text.prediction, audio.prediction, strict=True):
            assert found.parts[clip] == ("agree" if mine == other else "disagree")
    own = {"text": np.ones(24), "audio": -np.ones(24)}
    labelled = {f: [saved("m", np.zeros(24), np.zeros(24), labels=own, fold=f)] for f in ("f1", "f2")}
    found = modality_agreement({"m": pooled(labelled, "all")})
    assert found is not None and found.basis == "labels" and set(found.parts.values()) == {"disagree"}


@pytest.mark.usefixtures("tiny_method")
def test_evaluate_saves_the_labels_of_modalities(tmp_path: Path) -> None:
    assembled = made_set(tmp_path / "set")
    run = made_run(tmp_path, "text_only", assembled)
    evaluate([run], assembled, tmp_path / "results" / "tiny" / "text_only", "mmsa", "cpu")
    table = pq.read_table(tmp_path / "results" / "tiny" / "text_only" / "predictions.parquet")
    assert table["label_text"].to_pylist() == OWN_LABELS[0] * 2
    assert "label_visual" not in table.column_names  # no clip has one
    (found,) = read_results(open_revision(None, tmp_path), "results/tiny/text_only")
    agreement = modality_agreement({"text_only": [found]})
    assert agreement is not None and agreement.modalities == ("text", "audio")
    signs = ["agree", "agree", "disagree", "agree", "agree", "disagree", "agree"]
    assert [*agreement.parts.values()] == signs * 2
