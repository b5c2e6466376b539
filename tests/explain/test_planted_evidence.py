"""On the sample corpus, whose clips are made of known sentiments: explanations find what is planted."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from made.planted_sample import PlantedSample

from pipeline.evaluation.shapley import baseline_of
from pipeline.explain.evidence import How, ReadClip, evidence
from pipeline.explain.explain import Contributions, Explainer
from pipeline.explain.faithfulness import faithfulness
from pipeline.explain.places import places_of
from pipeline.explain.stored import StoredClips
from pipeline.predict.inputs import batch_of
from pipeline.predict.predict import Predictor
from pipeline.training.runs import open_runs


def opened(planted: PlantedSample, method: str, **settings: Any) -> tuple[Explainer, StoredClips]:
    runs = open_runs([planted.run(method, **settings)])
    explainer = Explainer(Predictor.without_encoders(runs, planted.params), "occlusion")
    return explainer, StoredClips.of(runs[0], planted.params)


def clips(explainer: Explainer, stored: StoredClips) -> dict[str, ReadClip]:
    """All test clips as the run reads them."""
    run, found = explainer.run, {}
    for clip_id, (features, before) in stored.features(stored.table["clip_id"].to_pylist()).items():
        inputs = Predictor.inputs(run, features, before)
        places = places_of(run, features, inputs)
        found[clip_id] = ReadClip(run.method, batch_of(run, inputs), baseline_of(run), 0, places)
    return found


def test_contributions_are_the_sentiments_that_were_planted(planted: PlantedSample) -> None:
    """Of a modality that of its own sentiment, more than of the other's."""
    explainer, _ = opened(planted, "early_fusion")
    test = Contributions.of(explainer.run, explainer.splits["test"])
    assert sorted(test.clip_ids) == sorted(i for i, row in planted.rows.items() if row["mode"] == "test")
    planted_in = {
        m: [float(planted.rows[clip_id][f"label_{m[0].upper()}"]) for clip_id in test.clip_ids]
        for m in ("text", "audio")
    }
    for name, values in test.values.items():
        alike = {m: np.corrcoef(values, truth)[0, 1] for m, truth in planted_in.items()}
        assert alike[name] > 0.6 and alike[name] == max(alike.values()), (name, alike)
    total = np.sum(list(test.values.values()), axis=0)
    assert total == pytest.approx(test.prediction[:, 0] - test.baseline[0], abs=1e-12)
    assert test.means()["text"][:2] == pytest.approx(
        (test.values["text"].mean(), np.abs(test.values["text"]).mean())
    )
    order = [test.clip_ids.index(clip_id) for clip_id in test.most_telling(5)]
    sizes = sum(np.abs(values) for values in test.values.values())
    assert list(sizes[order]) == sorted(sizes, reverse=True)[:5]


@pytest.mark.parametrize("how", get_args(How))
def test_evidence_is_more_faithful_than_chance(planted: PlantedSample, how: How) -> None:
    """Deletion and insertion move the prediction more than in random orders, and less in the wrong order."""
    found = clips(*opened(planted, "early_fusion"))
    right, wrong = [], []
    for clip in found.values():
        own = evidence(clip, how)
        for scores, values in ((right, own), (wrong, {name: -one for name, one in own.items()})):
            score = faithfulness(clip, values)
            assert score is not None
            scores.append((score.deletion_area, score.insertion_area))
    assert (np.mean(right, axis=0) > 0.05).all() and (np.mean(wrong, axis=0) < -0.05).all()
    assert (np.array(right) > 0).mean() > 0.9


def test_words_with_a_sentiment_carry_it(planted: PlantedSample, project: Path) -> None:
    """Words of the corpus' sentences that stand in good ones alone, or in bad ones, raise or lower."""
    with (project / "data" / "sample" / "sentences.csv").open(encoding="utf-8") as file:
        graded = [(row["text"], int(row["grade"])) for row in csv.DictReader(file)]
    grades: dict[str, list[int]] = {}
    for text, grade in graded:
        for word in set(text.lower().split()):
            grades.setdefault(word, []).append(grade)
    told = {word: np.mean(own) for word, own in grades.items() if len(own) > 1 and abs(np.mean(own)) > 1.5}
    pairs = []
    for clip in clips(*opened(planted, "text_only")).values():
        for place, value in zip(clip.places["text"], evidence(clip)["text"], strict=True):
            if (word := place.name.lower()) in told:
                pairs.append((told[word], value))
    assert len(pairs) >= 5
    assert np.mean([np.sign(grade) == np.sign(value) for grade, value in pairs]) > 0.7
