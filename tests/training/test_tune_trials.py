"""Trials of a search: what is proposed, what goes wrong, and which spaces are refused."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from made.tiny_search import SETTINGS, SPACE, search, searched
from made.tiny_set import TinySettings

from pipeline.core.errors import (
    FormatError,
    MissingDependencyError,
    MsaError,
    ParamsError,
    TooManyFailedError,
)
from pipeline.core.vocabulary import FAILED
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.params.search import Dimension, check_space
from pipeline.training.loop.train import train
from pipeline.training.search import Search
from pipeline.training.study import COMPLETE
from pipeline.training.tune import Study

pytestmark = pytest.mark.usefixtures("tiny_method")


# ----------------------------------------------------------------------------------- what is proposed
def test_trial_0_is_the_settings_as_they_are(assembled: Path, tmp_path: Path) -> None:
    study = searched(tmp_path / "study", 1, assembled)
    assert study.trials[0].values == {
        "training.lr_other": TinySettings().training.lr_other,
        "weights.spread": TinySettings().weights.spread,
        "training.batch_size": 8,
        "training.optimizer": "adam",
    }
    plain = train(
        RunConfig(
            method_name="tiny",
            dataset="tiny",
            seed=7,
            method_params=SETTINGS,
            train_params=TrainParams(),
            assembled=assembled,
            pretrained=study.folder / "pretrained",
            out=tmp_path / "run",
        ),
        device="cpu",
        state_root=tmp_path / "state",
        logs=tmp_path / "logs",
    )
    assert study.trials[0].screened == plain["valid_loss"]


def test_settings_outside_of_the_space_are_trial_0_all_the_same(assembled: Path, tmp_path: Path) -> None:
    space = {**SPACE, "training.lr_other": Dimension(low=0.1, high=0.2)}
    study = searched(tmp_path, 3, assembled, space)
    assert study.trials[0].values["training.lr_other"] == TinySettings().training.lr_other < 0.1
    assert all(0.1 <= trial.values["training.lr_other"] <= 0.2 for trial in study.trials[1:])
    assert [list(trial.values) for trial in study.trials] == [list(space)] * 3


def test_a_repeated_draw_is_not_trained_again(assembled: Path, tmp_path: Path) -> None:
    study = searched(tmp_path, 6, assembled, {"training.optimizer": SPACE["training.optimizer"]})
    values = [trial.values["training.optimizer"] for trial in study.trials]
    assert len(list((study.folder / "runs").iterdir())) == len(set(values)) == 2
    for trial in study.trials:
        twin = study.trials[values.index(trial.values["training.optimizer"])]
        assert trial.losses == twin.losses
        assert trial.reason == ("" if twin is trial else f"as trial {twin.number}")


def test_nothing_large_stays(assembled: Path, tmp_path: Path) -> None:
    study = searched(tmp_path, 4, assembled, seeds=(7, 8))
    assert len(list((study.folder / "runs").iterdir())) >= 6
    assert not [*study.folder.rglob("model.safetensors"), *study.folder.rglob("state.pt")]


# ----------------------------------------------------------------------------------- what can go wrong
def test_a_trial_that_fails_says_why_and_the_others_go_on(assembled: Path, tmp_path: Path) -> None:
    space = {"explode_at": Dimension(choices=[-1, 3, 5])}
    study = searched(tmp_path, 6, assembled, space)
    states = {trial.values["explode_at"]: trial.state for trial in study.trials}
    assert states[-1] == COMPLETE and FAILED in states.values()
    reason = next(trial.reason for trial in study.trials if trial.state == FAILED)
    assert "the loss spread is not finite" in reason
    assert all(trial.state == COMPLETE for trial in study.finalists)


def test_a_finalist_that_fails_makes_room_for_the_next(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = searched(tmp_path / "plain", 4, assembled, seeds=(7, 8))
    first, second = sorted(plain.trials[1:], key=lambda trial: trial.screened)[:2]

    def failing(run: RunConfig, **options: Any) -> dict[str, Any]:
        if run.out.name == f"trial-{first.number}-seed-8":
            raise MsaError("no luck")
        return train(run, **options)

    monkeypatch.setattr("pipeline.training.tune.train", failing)
    study = searched(tmp_path / "failing", 4, assembled, seeds=(7, 8), finalists=1)
    assert [trial.number for trial in study.finalists] == [0, second.number]
    failed = study.trials[first.number]
    assert (failed.state, failed.reason) == (FAILED, "seed-8: no luck")


def test_all_failed_is_an_error(assembled: Path, tmp_path: Path) -> None:
    study = searched(
        tmp_path, 2, assembled, {"explode_at": Dimension(choices=[2, 3])}, settings={"explode_at": 4}
    )
    with pytest.raises(TooManyFailedError, match=r"all 2 trials failed.*not finite"):
        study.findings()


@pytest.mark.parametrize(
    ("key", "dimension", "message"),
    [
        (
            "training.lr_othr",
            {"low": 0.1, "high": 1},
            r"tune.tiny: setting .*did you mean 'training.lr_other'",
        ),
        ("training", {"low": 0.1, "high": 1}, r"tune.tiny.training: 'training' is a section"),
        ("training.warmup", {"low": 0.0, "high": 2.0}, r"tune.tiny.training.warmup: training.warmup is 2.0"),
        ("training.batch_size", {"low": 8, "high": 64, "log": True}, r"batch_size is .* valid integer"),
        ("training.optimizer", {"choices": ["adam", "lion"]}, r"training.optimizer is 'lion'"),
        ("max_tokens", {"low": 1, "high": 5, "step": 2}, r"tune.tiny.max_tokens: max_tokens is 1"),
    ],
)
def test_a_space_that_the_method_does_not_take(key: str, dimension: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        check_space("tiny", {key: Dimension(**dimension)}, TinySettings, SETTINGS)


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ({"low": 2, "high": 1}, "low is 2 and high 1"),
        ({"low": 1, "high": 1}, "low must be below high"),
        ({"low": 0, "high": 1, "log": True}, "above 0"),
        ({"low": 1, "high": 6, "step": 2}, "not reached"),
        ({"low": 0.5, "high": 1.5, "step": 1}, "whole numbers"),
        ({"low": 1, "high": 3, "step": 1, "log": True}, "log and step"),
        ({"choices": [1]}, "at least two"),
        ({"choices": [1, True]}, "at least two that differ"),
        ({"choices": [1, 2], "low": 0}, "choices and a range"),
        ({"low": 1}, "needs low and high"),
    ],
)
def test_ranges_that_are_none(dimension: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dimension(**dimension)


def test_errors_before_anything_trains(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ParamsError, match="method 'tinny' is not known"):
        Study(Search("tinny", "tiny", SPACE, (7,), {}, TrainParams(), assembled, assembled), tmp_path)
    with pytest.raises(FormatError, match="not an assembled set"):
        Study(search(tmp_path / "nothing"), tmp_path)
    with pytest.raises(ParamsError, match=r"names training.lr_backbone alone, but no encoder is fine-tuned"):
        Study(search(assembled, {"training.lr_backbone": Dimension(low=0.1, high=1)}), tmp_path)
    with_rate = Study(
        search(assembled, {**SPACE, "training.lr_backbone": Dimension(low=0.1, high=1)}), tmp_path
    )
    assert with_rate.left_out == ["training.lr_backbone"] and set(with_rate.search.space) == set(SPACE)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "pipeline.training.study")
    with pytest.raises(MissingDependencyError, match=r"msa-pipeline\[tune\]"):
        importlib.import_module("pipeline.training.study")
