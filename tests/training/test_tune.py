"""Tuning: out of reach of the test split, the same again when killed, and what it writes down comes true."""

from __future__ import annotations

import builtins
import json
import math
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.tiny_search import SETTINGS, SPACE, contents, search, searched, trials_in
from made.tiny_set import write_tiny_set

from models import METHODS, MethodEntry
from pipeline.core.errors import MsaError
from pipeline.core.files import lock
from pipeline.params.run import RunConfig
from pipeline.params.search import Dimension, SearchSpace
from pipeline.training.loop.checkpoint import Checkpoint, State
from pipeline.training.loop.train import train
from pipeline.training.study import COMPLETE, PRUNED, RUNNING
from pipeline.training.tune import Study

pytestmark = pytest.mark.usefixtures("tiny_method")


# ---------------------------------------------------------------------------------------- nothing of the test
@pytest.mark.parametrize("folds", [0, 2])
def test_trials_are_the_same_whatever_the_test_split_holds(
    assembled: Path, tmp_path: Path, folds: int
) -> None:
    other = tmp_path / "set" / "tiny"
    shutil.copytree(assembled, other)
    table = pq.read_table(other / "test.parquet")
    garbage = pa.array([1e9] * len(table), pa.float32())
    changed = table.set_column(table.column_names.index("label"), "label", garbage)
    pq.write_table(changed, other / "test.parquet")
    pq.write_table(changed, other / "test_ood.parquet")
    gone = tmp_path / "gone" / "tiny"
    shutil.copytree(assembled, gone)
    (gone / "test.parquet").unlink()

    studies = [
        searched(tmp_path / f"s{i}", 3 - folds // 2, folder, folds=folds, finalists=1)
        for i, folder in enumerate((assembled, other, gone))
    ]
    assert len({study.folder.name for study in studies}) == 1
    first, *others = (contents(study.folder) for study in studies)
    last = "trial-1-fold-2" if folds else "trial-2-seed-7"
    assert f"runs/{last}/config.json" in first
    assert all(found == first for found in others)


@pytest.mark.parametrize("folds", [0, 2])
def test_a_trial_has_no_test_split_within_reach(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    opened: set[Path] = set()
    read_table, open_file = pq.read_table, builtins.open

    def spy_table(source: Any, *arguments: Any, **options: Any) -> Any:
        opened.add(Path(str(source)).resolve())
        return read_table(source, *arguments, **options)

    def spy_open(file: Any, *arguments: Any, **options: Any) -> Any:
        opened.add(Path(str(file)).resolve())
        return open_file(file, *arguments, **options)

    class SpyFile(pq.ParquetFile):
        def __init__(self, source: Any, *arguments: Any, **options: Any):
            opened.add(Path(str(source)).resolve())
            super().__init__(source, *arguments, **options)

    monkeypatch.setattr(pq, "read_table", spy_table)
    monkeypatch.setattr(pq, "ParquetFile", SpyFile)
    monkeypatch.setattr(builtins, "open", spy_open)
    study = searched(tmp_path, 2, assembled, folds=folds)
    of_the_set = {path.name for path in opened if path.parent == assembled.resolve()}  # behind the links
    assert {"train.parquet", "valid.parquet"} <= of_the_set, "the spy sees what is read"
    assert (assembled / "test.parquet").exists() and "test.parquet" not in of_the_set
    for view in ("fold-1", "fold-2", "source") if folds else ("assembled", "source"):
        assert {f.name for f in (study.folder / view).iterdir()} == {
            *("stats.json", "train.parquet", "valid.parquet", "unlabeled.parquet")
        }


def test_the_value_of_a_trial_is_the_validation_loss_alone(assembled: Path, tmp_path: Path) -> None:
    study = searched(tmp_path, 3, assembled)
    for trial in study.trials:
        run = study.folder / "runs" / f"trial-{trial.number}-seed-7"
        table = pq.read_table(run / "valid.predictions.parquet").to_pydict()
        errors = [abs(p - label) for p, label in zip(table["prediction"], table["label"], strict=True)]
        assert trial.loss == pytest.approx(statistics.mean(errors), rel=1e-6)
        assert trial.loss == json.loads((run / "config.json").read_text())["valid_loss"]
    assert study.findings().winner.loss == min(trial.loss for trial in study.trials)


# ---------------------------------------------------------------------------------------- the same once more
def test_two_and_three_trials_are_five(assembled: Path, tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", 5, assembled)
    searched(tmp_path / "parts", 2, assembled)
    parts = searched(tmp_path / "parts", 5, assembled)
    assert contents(parts.folder) == contents(whole.folder)
    assert [trial.number for trial in whole.trials] == list(range(5))
    values = [json.dumps(trial.values) for trial in whole.trials]
    assert len(set(values)) > 3, "something is searched"


@pytest.fixture(scope="module")
def whole(assembled: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Trials 0, 1 and 2 are runs 1 to 3, then two finalists have two more seeds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "tiny", MethodEntry("made.tiny_set"))
        return searched(tmp_path_factory.mktemp("whole"), 3, assembled, seeds=(7, 8, 9), finalists=1)


@pytest.mark.parametrize("at", [(1, 0), (3, 1), (3, 2), (4, 0), (7, 1), (7, 2)])
def test_killed_at_any_moment_it_goes_on_as_if_undisturbed(
    assembled: Path, whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[int, int]
) -> None:
    """`at` is a run and how many of its epochs are over, the last of which is saved."""
    trained: list[str] = []

    def mortal(run: RunConfig, **options: Any) -> dict[str, Any]:
        trained.append(run.out.name)
        if (len(trained), 0) == at:
            raise KeyboardInterrupt
        return train(run, **options)

    def save(self: Checkpoint, state: State, *others: Any) -> None:
        plain_save(self, state, *others)
        if (len(trained), state.epoch) == at:
            raise KeyboardInterrupt

    plain_save = Checkpoint.save_if_due
    monkeypatch.setattr("pipeline.training.tune.train", mortal)
    monkeypatch.setattr(Checkpoint, "save_if_due", save)
    monkeypatch.setattr("pipeline.training.loop.checkpoint.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("pipeline.training.loop.checkpoint.SAVE_SHARE", math.inf)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, 3, assembled, seeds=(7, 8, 9), finalists=1)
    (killed,) = tmp_path.iterdir()
    before = trials_in(killed)
    assert [trial.state for trial in before] == [COMPLETE] * min(at[0] - 1, 3) + [RUNNING] * (at[0] <= 3)

    again = searched(tmp_path, 3, assembled, seeds=(7, 8, 9), finalists=1)
    assert contents(again.folder) == contents(whole.folder)
    assert again.findings().markdown("x") == whole.findings().markdown("x")
    assert len(trained) == 8 and len(set(trained)) == 7, "what was finished is not trained again"
    trained.clear()
    searched(tmp_path, 3, assembled, seeds=(7, 8, 9), finalists=1)
    assert trained == []


BAD = 1e-7  # a rate at which nothing is learnt
RATES: SearchSpace = {"training.lr_other": Dimension(choices=[0.02, 0.03, 0.04, 0.05, 0.06, BAD])}
EPOCHS = {"training": {"epochs": 4}}  # of which the first spares all


def test_a_rate_that_learns_nothing_is_pruned_and_costs_less(assembled: Path, tmp_path: Path) -> None:
    study = searched(tmp_path / "pruned", 14, assembled, RATES, settings=EPOCHS)
    bad = next(trial for trial in study.trials if trial.values["training.lr_other"] == BAD)
    assert bad.state == PRUNED and bad.epochs == 2 and bad.reason.startswith("after epoch 2, ")
    assert not bad.losses and bad not in study.finalists and study.trials[0].state == COMPLETE
    new = [trial for trial in study.trials if trial.twin is None]
    assert sum(trial.state == COMPLETE for trial in study.trials[: bad.number]) >= 4
    assert {trial.epochs for trial in new if trial.state == COMPLETE} == {4}
    assert study.findings().budget == {
        "trials": 14,
        "runs": len(new),
        "epochs": sum(trial.epochs for trial in new),
    }
    left_alone = searched(tmp_path / "all", 14, assembled, RATES, settings=EPOCHS, prune=False)
    assert not [trial for trial in left_alone.trials if trial.state == PRUNED]
    assert left_alone.folder.name != study.folder.name
    same = [(a.values, a.losses) for a in study.trials[: bad.number]]
    assert same == [(b.values, b.losses) for b in left_alone.trials[: bad.number]]


def test_killed_as_it_is_asked_whether_to_prune(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of an epoch is written down by then: it is told again as the training goes on."""
    plain = optuna.Trial.should_prune
    asked: list[tuple[int, bool]] = []

    def spied(trial: optuna.Trial) -> bool:
        if len(asked) == kill:
            asked.append((trial.number, False))
            raise KeyboardInterrupt
        asked.append((trial.number, plain(trial)))
        return asked[-1][1]

    kill = -1
    monkeypatch.setattr(optuna.Trial, "should_prune", spied)
    undisturbed = searched(tmp_path / "undisturbed", 9, assembled, RATES, settings=EPOCHS)
    pruned = next(number for number, answer in asked if answer)
    assert undisturbed.trials[pruned].state == PRUNED
    kill = asked.index((pruned, True))
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "killed", 9, assembled, RATES, settings=EPOCHS)
    again = searched(tmp_path / "killed", 9, assembled, RATES, settings=EPOCHS)
    assert contents(again.folder) == contents(undisturbed.folder)
    assert again.trials == undisturbed.trials


def test_more_finalists_later(assembled: Path, whole: Study, tmp_path: Path) -> None:
    """They are no other search."""
    root = tmp_path / "tune"
    shutil.copytree(whole.folder, root / whole.folder.name, symlinks=True)
    study = searched(root, 3, assembled, seeds=(7, 8, 9), finalists=5)
    assert [trial.number for trial in study.finalists] == [0, 1, 2]
    kept = [trial for trial in study.finalists if trial in whole.finalists]
    assert kept == whole.finalists
    assert all(list(trial.losses) == ["seed-7", "seed-8", "seed-9"] for trial in study.finalists)
    assert study.findings().budget["runs"] == 9


def test_other_data_settings_or_spaces_are_another_search(assembled: Path, tmp_path: Path) -> None:
    other = write_tiny_set(tmp_path / "other", {"train": 59, "valid": 20, "test": 25, "unlabeled": 0})
    less = {key: SPACE[key] for key in list(SPACE)[:2]}
    names = [
        Study(one, tmp_path).folder.name
        for one in (
            search(assembled),
            search(other),
            search(assembled, less),
            search(assembled, seeds=(8,)),
            search(assembled, settings={"dropout": 0.2}),
        )
    ]
    assert len(set(names)) == len(names)
    assert Study(search(assembled, settings={**SETTINGS, "dropout": 0.1}), tmp_path).folder.name == names[0]


def test_one_process_at_a_time(assembled: Path, tmp_path: Path) -> None:
    study = searched(tmp_path, 1, assembled)
    with (
        lock(study.folder),
        pytest.raises(MsaError, match="running in another process"),
    ):
        searched(tmp_path, 2, assembled)


def test_another_method_is_searched_meanwhile(
    assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "other", MethodEntry("made.tiny_set"))
    study, other = (
        Study(search(assembled), tmp_path),
        Study(replace(search(assembled), method="other"), tmp_path),
    )
    study.folder.mkdir()
    with lock(study.folder):
        other.run(1, 1)
    assert other.trials[0].state == COMPLETE and list(study.folder.iterdir()) == []
