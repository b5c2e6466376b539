"""Optuna's study as searches use it: what it draws, what is left of it when it is killed, what mattered."""

from __future__ import annotations

import math
import os
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.core.errors import FormatError
from pipeline.params.search import Dimension, SearchSpace
from pipeline.training.study import Sampler, Trial, importance, next_trial, open_study, trials_of

BOWL: SearchSpace = {
    "training.lr_other": Dimension(low=1e-5, high=1.0, log=True),
    "training.optimizer": Dimension(choices=["adam", "adamw"]),
}


def told(count: int) -> optuna.Study:
    """A bowl with its bottom at lr 0.01, where nothing else matters; trial 0 has no value in the space."""
    study = optuna.create_study(sampler=Sampler(BOWL))
    study.tell(study.ask(), 5.0)
    return searched(study, count)


def searched(study: optuna.Study, count: int, killed_at: tuple[int, int] = (-1, 0)) -> optuna.Study:
    """Go on until there are as many trials; `killed_at` is a trial and how many values it has by then."""
    while sum(trial.state.is_finished() for trial in study.trials) < count:
        trial = next_trial(study)
        for place, (key, dimension) in enumerate(BOWL.items()):
            if (trial.number, place) == killed_at:
                raise KeyboardInterrupt
            dimension.suggest(trial, key)
        study.tell(trial, abs(math.log10(trial.params["training.lr_other"]) + 2))
    return study


def test_the_search_finds_a_bowl_better_than_chance_and_knows_what_made_it() -> None:
    study = told(40)
    late = [trial.value for trial in study.trials[20:]]
    assert statistics.median(late) < 0.6, "uniform draws have a median of 1.25"
    shares = importance(study, BOWL)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["training.lr_other"] > 0.8
    assert importance(told(15), BOWL) == {}


def test_values_lie_in_their_ranges_and_have_few_digits() -> None:
    space = {**BOWL, "training.batch_size": Dimension(low=4, high=12, step=4)}
    study = optuna.create_study(sampler=Sampler(space))
    for _ in range(30):
        trial = study.ask()
        for key, dimension in space.items():
            dimension.suggest(trial, key)
            assert dimension.holds(trial.params[key])
        lr = trial.params["training.lr_other"]
        study.tell(trial, lr)
        assert 1e-5 <= lr <= 1 and lr == float(f"{lr:.3e}")
        assert trial.params["training.batch_size"] in (4, 8, 12)
        assert type(trial.params["training.batch_size"]) is int
        assert trial.params["training.optimizer"] in ("adam", "adamw")
    edge = Dimension(low=0.12344, high=0.2)
    assert edge.rounded(0.12344) == 0.12344, "0.1234 would lie outside"


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        ({"low": 1, "high": 2}, [1, 1.5, 2.0], [0.9, 2.1, True, None, "1"]),
        ({"low": 2, "high": 6, "step": 2}, [2, 4, 6], [3, 8, 0, 2.5]),
        ({"choices": [1, "a", None]}, [1, "a", None], [1.0, True, "b"]),
    ],
)
def test_what_a_range_holds(dimension: dict[str, Any], inside: list[Any], outside: list[Any]) -> None:
    held = Dimension(**dimension)
    assert all(held.holds(value) for value in inside)
    assert not any(held.holds(value) for value in outside)


def test_the_ends_of_a_range() -> None:
    linear, decades = Dimension(low=0, high=10), Dimension(low=1e-5, high=1e-1, log=True)
    places = [0, 0.1, 0.3, 9.7, 9.9, 10]
    assert [linear.at_an_end(value) for value in places] == [True, True, False, False, True, True]
    places = [1e-5, 1.1e-5, 1.3e-5, 1e-3, 0.08, 0.09]
    assert [decades.at_an_end(value) for value in places] == [True, True, False, False, False, True]
    assert not Dimension(choices=["a", 1]).at_an_end(1)


@pytest.mark.parametrize("killed_at", [(0, 1), (3, 0), (3, 1), (14, 1)])
def test_a_search_killed_as_it_draws_or_writes_is_as_if_undisturbed(
    tmp_path: Path, killed_at: tuple[int, int]
) -> None:
    def open_it(name: str) -> optuna.Study:
        (tmp_path / name).mkdir(exist_ok=True)
        return open_study(tmp_path / name, BOWL)

    whole = trials_of(searched(open_it("whole"), 17), "seed-7")
    with pytest.raises(KeyboardInterrupt):
        searched(open_it("killed"), 17, killed_at)
    journal = tmp_path / "killed" / "journal.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker_id"')  # of a line that was being written
    os.symlink(journal, f"{journal}.lock")
    again: list[Trial] = trials_of(searched(open_it("killed"), 17), "seed-7")
    assert again == whole
    assert len({str(trial.values) for trial in whole}) > 15, "something is searched"


@pytest.mark.parametrize("content", [b"{}\n", b"nonsense\n", b"[]\n{}\n", b'{"op_code": 99}\n'])
def test_a_damaged_journal_is_a_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.log").write_bytes(content)
    with pytest.raises(FormatError, match=r"journal\.log: not the journal .* search from the start"):
        open_study(tmp_path, BOWL)
