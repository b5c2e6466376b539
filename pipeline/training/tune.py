"""A search for better settings of a method on a dataset, by the validation loss alone.

    value of a trial = mean over the seeds of the validation loss of the run's one checkpoint (train.py)

A trial trains on a folder that holds links to the train, valid, unlabeled and context splits and to
stats.json, and no test split: there is none to look at. Trials run one after the other in this process, each
with the early stopping of its method and no other pruning. Values come from Optuna's TPE.

`.state/tune/<method>-<dataset>-<fingerprint>/`
    study.json, trials.json     what decides every number, and what was found so far
    assembled/, source/         the links; of the set that is trained on, and the one that pretrains
    runs/trial-<n>-seed-<s>/    the run folders; weights of the best trial alone

The fingerprint is that of settings, space, seeds, data, code and library versions, so a change of any begins
a new search. A killed search goes on: the values of trial n depend on the trials before it and on n alone, no
sampler has a memory.
"""

from __future__ import annotations

import fcntl
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import METHODS
from pipeline.core.errors import (
    FormatError,
    MissingDependencyError,
    MissingModelError,
    MsaError,
    ParamsError,
    TooManyFailedError,
)
from pipeline.params.explain import unknown
from pipeline.params.params import TrainParams
from pipeline.params.search import SearchSpace, check_space, leaves, with_values
from pipeline.training.proposals import open_optuna, propose
from pipeline.training.trials import FAILED, RUNNING, Trial, best_of, line, read_trials, write_trials

if TYPE_CHECKING:
    from models.core.method import MethodSettings

SEEN = ("train", "valid", "unlabeled", "context")  # splits that a trial can open; the last two have no labels
BACKBONE_RATE = "training.lr_backbone"
EDGE = 0.02  # share of a range, in its own scale


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes
    ----------
    space : searched settings by dotted key
    seeds : of the trainings of each trial
    settings : the method's settings on the dataset, as they are
    train : the protocol that all methods share
    assembled : folder of the assembled set
    source : folder of the set whose labels pretrain; often the same
    device : `auto`, `cpu`, `cuda` or `cuda:<index>`
    """

    method: str
    dataset: str
    space: SearchSpace
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    train: TrainParams
    assembled: Path
    source: Path
    device: str = "auto"

    @property
    def config(self) -> type[MethodSettings]:
        """The class of the method's settings."""
        if self.method not in METHODS:
            raise ParamsError(unknown("method", self.method, METHODS))
        return METHODS[self.method].load().Config


class Study:
    """A search on disk, with the trials that are there already.

    Parameters
    ----------
    search : what is searched
    root : folder of all searches

    Attributes
    ----------
    trials : in order; the last may be one that was killed
    left_out : keys of the space that change nothing on this dataset

    Raises
    ------
    ParamsError : a key or a range under `tune` that the method does not take
    MissingDependencyError : Optuna is not installed
    FormatError : the assembled set cannot be read
    """

    def __init__(self, search: Search, root: Path = Path(".state/tune")):
        from pipeline.training.loop.checkpoint import fingerprint

        open_optuna()
        check_space(search.method, search.space, search.config, search.settings)
        self.search = replace(search, space=_with_effect(search))
        self.left_out = [key for key in search.space if key not in self.search.space]
        for folder in dict.fromkeys((search.assembled, search.source)):
            _check_set(folder)
        self.identity = _identity(self.search)
        self.folder = root / f"{search.method}-{search.dataset}-{fingerprint(self.identity)[:12]}"
        self.trials = read_trials(self.folder / "trials.json")

    @property
    def best(self) -> Trial | None:
        """The complete trial with the lowest loss."""
        return best_of(self.trials)

    def run(self, total: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Go on until there are `total` trials; those that are finished are not run again.

        Parameters
        ----------
        say : is told of each trial as it ends

        Raises
        ------
        MsaError : another process runs this very search
        """
        from pipeline.core.files import write_json

        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder):
            self.trials = read_trials(self.folder / "trials.json")
            write_json(self.identity, self.folder / "study.json")
            link_splits(self.search.assembled, self.folder / "assembled")
            link_splits(self.search.source, self.folder / "source")
            finished = [trial for trial in self.trials if trial.state != RUNNING]
            if finished:
                say(f"{len(finished)} finished trials are kept ({self.folder})")
            started = time.monotonic()
            for number in range(len(finished), total):
                self._run_trial(number)
                words = line(self.trials[number], total, self.best)
                seconds = (time.monotonic() - started) / (number + 1 - len(finished))
                left = (total - number - 1) * seconds
                say(f"{words}; {seconds:.1f} s a trial" + (f", {_duration(left)} left" if left else ""))

    def winner(self) -> Trial:
        """The best trial.

        Raises
        ------
        TooManyFailedError : every trial failed
        """
        best = self.best
        if best is None:
            reasons = [trial.reason for trial in self.trials if trial.state == FAILED]
            raise TooManyFailedError(f"all {len(reasons)} trials failed, the last because: {reasons[-1]}")
        return best

    def at_an_edge(self, trial: Trial) -> list[str]:
        """Settings of a trial that lie at an end of their range."""
        found = []
        for key, dimension in self.search.space.items():
            if dimension.low is None or dimension.high is None or trial.number == 0:
                continue
            scale = math.log if dimension.log else float
            low, high, value = (scale(x) for x in (dimension.low, dimension.high, trial.values[key]))
            share = (value - low) / (high - low)
            if share <= EDGE or share >= 1 - EDGE:
                found.append(key)
        return found

    # --------------------------------------------------------------------------------------------- one trial
    def _run_trial(self, number: int) -> None:
        """Train what is not done of a trial; a loss or a reason more is on disk after every seed."""
        if number == len(self.trials):
            self.trials.append(Trial(number, self._values(number)))
        trial, before = self.trials[number], self.trials[:number]
        twin = next((other for other in before if other.values == trial.values), None)
        if twin is not None:
            reason = twin.reason or f"as trial {twin.number}"
            self._keep(replace(trial, losses=twin.losses, state=twin.state, reason=reason))
            return
        for seed in self.search.seeds:
            if seed in trial.losses:
                continue
            self._keep(trial)  # its values, for one who looks on
            try:
                trial = trial.with_loss(seed, self._train(trial, seed), self.search.seeds)
            except _Failure as failure:
                trial = replace(trial, state=FAILED, reason=str(failure))
            self._keep(trial)
            if trial.state == FAILED:
                return

    def _values(self, number: int) -> dict[str, Any]:
        search = self.search
        if number > 0:
            return propose(search.space, self.trials, number)
        known = dict(leaves(search.config.model_validate(search.settings).model_dump(mode="json")))
        return {key: known[key] for key in search.space}

    def _keep(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        write_trials(self.trials, self.folder / "trials.json")
        best = None if self.best is None else self.best.number
        for folder in (self.folder / "runs").glob("trial-*"):
            if trial.state == RUNNING or folder.name.startswith(f"trial-{best}-"):
                continue
            (folder / "model.safetensors").unlink(missing_ok=True)

    def _train(self, trial: Trial, seed: int) -> float:
        """Validation loss of one run; what it reads is in the study's folder."""
        import torch

        from pipeline.training.loop.pretrain import pretrain
        from pipeline.training.loop.train import train

        search, folder = self.search, self.folder
        settings = with_values(search.settings, trial.values)
        common = (search.method, search.dataset)
        pretrained = folder / "pretrained"
        where: dict[str, Any] = {"device": search.device, "state_root": folder / "state"}
        try:
            pretrain(
                *common, settings, search.train, folder / "assembled", folder / "source", pretrained, **where
            )
            found = train(
                *common,
                seed,
                settings,
                search.train,
                folder / "assembled",
                pretrained,
                folder / "runs" / f"trial-{trial.number}-seed-{seed}",
                logs=folder / "logs",
                **where,
            )
        except (FormatError, MissingDependencyError, MissingModelError):  # of every trial alike
            raise
        except torch.OutOfMemoryError as error:
            raise _Failure("out of memory on the device") from error
        except MsaError as error:
            raise _Failure(str(error)) from error
        return float(found["valid_loss"])


class _Failure(Exception):
    """These values cannot be trained."""


# --------------------------------------------------------------------------------------- before the trials
def link_splits(assembled: Path, folder: Path) -> None:
    """Links to all of an assembled set that a trial may see; the test split is not among it."""
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    for file in _seen(assembled):
        (folder / file.name).symlink_to(file.resolve())


def _seen(assembled: Path) -> list[Path]:
    """stats.json counts the clips of the test split, and has nothing of their labels."""
    files = [assembled / f"{name}{kind}.parquet" for name in SEEN for kind in ("", ".waveform")]
    return [assembled / "stats.json", *(file for file in files if file.exists())]


def _check_set(assembled: Path) -> None:
    from pipeline.datasets.training_set import read_stats

    read_stats(assembled)
    for name in ("train", "valid"):
        if not (assembled / f"{name}.parquet").exists():
            raise FormatError(f"{assembled}: has no {name}.parquet; run its assemble stage")


def _with_effect(search: Search) -> SearchSpace:
    """The space without the learning rate of fine-tuned encoders, where none is fine-tuned."""
    config = search.config.model_validate(search.settings)
    encoders = ("text", "audio")
    learns = any(getattr(config, name, "frozen") == "finetune" or name in search.space for name in encoders)
    space = {key: value for key, value in search.space.items() if learns or key != BACKBONE_RATE}
    if not space:
        raise ParamsError(
            f"tune.{search.method} names {BACKBONE_RATE} alone, but no encoder is fine-tuned on "
            f"{search.dataset}, so it changes nothing; name another setting"
        )
    return space


def _identity(search: Search) -> dict[str, Any]:
    """Everything that decides what the trials are and what comes of them."""
    from pipeline.core.files import file_hash
    from pipeline.training.loop.fabric import open_fabric
    from pipeline.training.runs import code_hashes, library_versions

    return {
        "method": search.method,
        "dataset": search.dataset,
        "space": {key: dimension.model_dump(mode="json") for key, dimension in search.space.items()},
        "seeds": list(search.seeds),
        "params": search.config.model_validate(search.settings).model_dump(mode="json"),
        "train": search.train.model_dump(mode="json"),
        "assembled": {file.name: file_hash(file) for file in sorted(_seen(search.assembled))},
        "source": {file.name: file_hash(file) for file in sorted(_seen(search.source))},
        "code": code_hashes(search.method),
        "libraries": library_versions() | {"optuna": version("optuna")},
        "device": open_fabric(search.device, search.train.precision).device.type,
    }


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two processes in one study would train the same trials."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MsaError(f"{folder}: this search is running in another process; wait for it") from error
        yield


def _duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
