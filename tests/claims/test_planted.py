"""Planted corpora are what their text says: correlations, shares, directions, and the lowest error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.core.batch import Reading
from pipeline.claims.planted import CUED, FRAME_NOISE, GROUPS, WIDTHS, Planted, score, write_planted
from pipeline.datasets.training_set import TrainingSet

MANY = 20_000  # clips; a correlation of 0 is measured with a standard error of .007


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("positive", [0.5, 0.8])
@pytest.mark.parametrize("rho", [0.9, 0.0, -0.9])
def test_the_cue_is_as_correlated_as_planted(positive: float, rho: float) -> None:
    clips = Planted(1, positive=positive, rho=(rho,)).clips("train", MANY)
    s, cue = clips.factors["sentiment"], clips.factors["cue"]
    assert correlation(s, cue) == pytest.approx(rho, abs=0.02)
    assert cue.std() == pytest.approx(1, abs=0.02)
    assert (s > 0).mean() == pytest.approx(positive, abs=0.01)


def test_environments_have_correlations_of_their_own() -> None:
    clips = Planted(2, rho=(0.95, 0.3)).clips("train", MANY)
    for environment, rho in enumerate((0.95, 0.3)):
        own = clips.factors["environment"] == environment
        assert own.mean() == 0.5
        assert correlation(clips.factors["sentiment"][own], clips.factors["cue"][own]) == pytest.approx(
            rho, abs=0.02
        )


def test_what_is_private_tells_nothing_of_anything_else() -> None:
    factors = Planted(3, conflict=0.3, groups=2).clips("train", MANY).factors
    columns = [factors[name] for name in ("sentiment", "cue", "group")]
    columns += [values for m in WIDTHS for values in factors[f"private_{m}"].T]
    table = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(table).max() < 0.03


def test_conflict_turns_voice_or_face_and_never_the_text() -> None:
    factors = Planted(4, conflict=0.3).clips("train", MANY).factors
    s, contradicting = factors["sentiment"], factors["contradicting"]
    np.testing.assert_array_equal(factors["shown_text"], s)
    for place, modality in enumerate(CUED):
        turned = contradicting == place
        assert turned.mean() == pytest.approx(0.15, abs=0.01)
        np.testing.assert_array_equal(factors[f"shown_{modality}"], np.where(turned, -s, s))


def test_a_seed_is_one_corpus_and_a_setting_changes_nothing_else() -> None:
    first = Planted(5, conflict=0.2, rho=(0.9,))
    a, b = first.clips("test", 50), first.clips("test", 80).first(50)
    turned = replace(first, rho=(-0.9,)).clips("test", 50)
    for name, values in a.factors.items():
        np.testing.assert_array_equal(values, b.factors[name])
        assert np.array_equal(values, turned.factors[name]) == (name != "cue")
    for modality, values in a.features.items():
        np.testing.assert_array_equal(values, b.features[modality])
        assert np.array_equal(values, turned.features[modality]) == (modality not in CUED)
    others = [first.clips("train", 50), Planted(6, conflict=0.2, rho=(0.9,)).clips("test", 50)]
    for other in others:
        assert abs(correlation(a.label, other.label)) < 0.5
    assert len(first.clips("test", 0)) == 0


def test_features_are_the_factors_in_their_directions() -> None:
    planted = Planted(7, rho=(0.5,), groups=GROUPS)
    clips = planted.clips("train", MANY)
    group, everyone = clips.factors["group"], np.arange(MANY)
    for place, (modality, columns) in enumerate(planted.directions().items()):
        np.testing.assert_allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-12)
        shown = clips.mean(modality) @ columns
        frames = FRAME_NOISE**2 * np.mean(1 / clips.factors[f"steps_{modality}"])
        read = shown[everyone, group] - clips.factors[f"shown_{modality}"]
        assert read.var() == pytest.approx(planted.noise[place] ** 2 + frames, rel=0.05)
        elsewhere = shown[everyone, (group + 1) % GROUPS]  # another group's direction: noise alone
        assert abs(correlation(elsewhere, clips.factors["sentiment"])) < 0.03
        for number, offset in enumerate(shown[:, GROUPS : 2 * GROUPS].T):
            assert offset[group == number].mean() == pytest.approx(1, abs=0.02)
            assert offset[group != number].mean() == pytest.approx(0, abs=0.02)
        for number, own in enumerate(clips.factors[f"private_{modality}"].T):
            assert correlation(shown[:, 2 * GROUPS + number], own) > 0.9
        cued = correlation(shown[:, -1], clips.factors["cue"])
        assert cued > 0.9 if modality in CUED else abs(cued) < 0.03


def test_the_best_prediction_is_the_posterior_median() -> None:
    """Balanced and without conflict the posterior is Gaussian: a mean of readings by their precision."""
    planted = Planted(8, positive=0.5)
    clips = planted.clips("test", 3000)
    weighted, precision = 0.0, 1.0
    for place, (modality, columns) in enumerate(planted.directions().items()):
        variance = planted.noise[place] ** 2 + FRAME_NOISE**2 / clips.factors[f"steps_{modality}"]
        weighted = weighted + clips.mean(modality) @ columns[:, 0] / variance
        precision = precision + 1 / variance
    np.testing.assert_allclose(clips.best_prediction(), score(weighted / precision), atol=0.02)


def test_no_linear_fit_is_better_than_the_best_prediction() -> None:
    planted = Planted(9, conflict=0.4)
    train, test = planted.clips("train", 4000), planted.clips("test", 4000)
    inputs = [np.column_stack([np.ones(4000), *(c.mean(m) for m in WIDTHS)]) for c in (train, test)]
    weights = np.linalg.lstsq(inputs[0], train.label, rcond=None)[0]
    linear = np.abs(inputs[1] @ weights - test.label).mean()
    assert np.abs(test.best_prediction() - test.label).mean() < linear - 0.02


def test_it_is_an_ordinary_assembled_set(tmp_path: Path) -> None:
    planted = Planted(10, conflict=0.5, own_labels=True)
    clips = planted.clips("train", 9)
    folder = write_planted(tmp_path / "set", {"train": clips, "test": planted.clips("test", 5)})
    found = TrainingSet.load(folder, Reading())
    assert found.dims == WIDTHS
    assert {name: len(split) for name, split in found.splits.items()} == {
        "train": 9,
        "valid": 0,
        "test": 5,
        "unlabeled": 0,
    }
    split = found.splits["train"]
    for modality, values in clips.features.items():
        lengths = clips.factors[f"steps_{modality}"]
        assert split.streams[modality].lengths.tolist() == lengths.tolist()
        real = np.concatenate([row[:n] for row, n in zip(values, lengths, strict=True)])
        np.testing.assert_array_equal(split.streams[modality].flat[:-1].numpy(), real.astype(np.float32))
        own = split.labels[f"label_{modality}"].numpy()
        np.testing.assert_allclose(own, 3 * np.tanh(clips.factors[f"shown_{modality}"] / 2), rtol=1e-6)
    np.testing.assert_allclose(split.label.numpy(), 3 * np.tanh(clips.factors["sentiment"] / 2), rtol=1e-6)
    unlabeled = write_planted(tmp_path / "joint", {"train": Planted(10).clips("train", 3)})
    assert TrainingSet.load(unlabeled).splits["train"].labels["label_audio"].isnan().all()
