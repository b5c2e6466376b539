"""A search for better settings of a method on a dataset, by the validation loss alone.

    value of a trial = mean over the seeds of the validation loss of the run's one checkpoint (train.py)

A trial trains on a folder that holds links to the train, valid, unlabeled and context splits and to
stats.json, and no test split: there is none to look at. Trials run one after the other in this process, each
with the early stopping of its method and no other pruning. Values come from Optuna's TPE.

`.state/tune/<method>-<dataset>-<fingerprint>/`
    study.json                  what decides every number
    journal.log                 Optuna's study: what was tried, and what was found so far
    assembled/, source/         the links; of the set that is trained on, and the one that pretrains
    runs/trial-<n>-seed-<s>/    the run folders; weights of the best trial alone

The fingerprint is that of settings, space, seeds, data, code and library versions, so a change of any begins
a new search. A killed search goes on: the values of trial n depend on the trials before it and on n alone, no
sampler has a memory, and a trial that was running is trained with the seeds that are left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models import METHODS
from pipeline.core.errors import (
    FormatError,
    MissingDependencyError,
    MissingModelError,
    MsaError,
    ParamsError,
    TooManyFailedError,
)
from pipeline.core.files import lock, write_json, writing
from pipeline.core.vocabulary import FAILED
from pipeline.datasets.training_set import read_stats
from pipeline.params.explain import unknown
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.params.search import SearchSpace, check_space, leaves, with_values
from pipeline.store.fingerprint import stage_hashes
from pipeline.training.loop.checkpoint import fingerprint
from pipeline.training.loop.device import open_device
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import train
from pipeline.training.runs import hashes, library_versions
from pipeline.training.study import (
    FAIL,
    REASON,
    RUNNING,
    SETTINGS,
    Trial,
    best_of,
    importance,
    line,
    next_trial,
    open_study,
    trials_of,
)

if TYPE_CHECKING:
    import optuna

    from models.core.method import MethodSettings

OPENED = ("train", "valid", "unlabeled", "context")  # splits for a trial; the last two have no labels
# Files of an assembled set; stats.json counts the clips of the test split, and has nothing of their labels.
SEEN = ("stats.json", *(f"{split}{kind}.parquet" for split in OPENED for kind in ("", ".waveform")))
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
    source : folder of the set whose labels pretrain; often the same as `assembled`
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

    Attributes
    ----------
    trials : in order, once it has run; the last may be one that was killed
    importance : share of each searched setting in what the best trials have in common, once it has run
    left_out : keys of the space that change nothing on this dataset

    Raises
    ------
    ParamsError : a key or a range under `tune` that the method does not take
    FormatError : the assembled set cannot be read
    """

    def __init__(self, search: Search, root: Path = Path(".state/tune")):
        check_space(search.method, search.space, search.config, search.settings)
        self.search = replace(search, space=_with_effect(search))
        self.left_out = [key for key in search.space if key not in self.search.space]
        for folder in dict.fromkeys((search.assembled, search.source)):
            read_stats(folder)
            for name in ("train", "valid"):
                if not (folder / f"{name}.parquet").exists():
                    raise FormatError(f"{folder}: has no {name}.parquet; run its assemble stage")
        self.identity = _identity(self.search)
        self.folder = root / f"{search.method}-{search.dataset}-{fingerprint(self.identity)[:12]}"
        self.trials: list[Trial] = []
        self.importance: dict[str, float] = {}

    @property
    def best(self) -> Trial | None:
        """The complete trial with the lowest loss."""
        return best_of(self.trials)

    def run(self, total: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Go on until there are `total` trials; those that are finished are not run again.

        `say` is told of each as it ends. MsaError where another process runs this very search.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = f"{self.folder}: this search is running in another process; wait for it"
        with lock(self.folder, busy), writing(self.folder):
            write_json(self.identity, self.folder / "study.json")
            link_splits(self.search.assembled, self.folder / "assembled")
            link_splits(self.search.source, self.folder / "source")
            study = open_study(self.folder, self.search.space)
            self.trials = trials_of(study)
            if not self.trials:
                search = self.search
                known = dict(leaves(search.config.model_validate(search.settings).model_dump(mode="json")))
                values = {key: known[key] for key in search.space}
                inside = {key: value for key, value in values.items() if search.space[key].holds(value)}
                study.enqueue_trial(inside, user_attrs={SETTINGS: values})  # told of what lies in the space
            finished = sum(trial.state != RUNNING for trial in self.trials)
            if finished:
                say(f"{finished} finished trials are kept ({self.folder})")
            started = time.monotonic()
            for number in range(finished, total):
                self._run_trial(study)
                words = line(self.trials[number], total, self.best)
                seconds = (time.monotonic() - started) / (number + 1 - finished)
                left = (total - number - 1) * seconds
                say(f"{words}; {seconds:.1f} s a trial" + (f", {_duration(left)} left" if left else ""))
            self.importance = importance(study, self.search.space)

    def winner(self) -> Trial:
        """The best trial; TooManyFailedError where every trial failed."""
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
    def _run_trial(self, study: optuna.Study) -> None:
        """Train a new trial, or what is not done of one that was killed; each loss is on disk at once."""
        drawn = next_trial(study)
        given = drawn.user_attrs.get(SETTINGS, {})
        for key, dimension in self.search.space.items():
            if key not in given or dimension.holds(given[key]):
                dimension.suggest(drawn, key)
        self.trials = trials_of(study)
        trial = self.trials[drawn.number]
        twin = next((other for other in self.trials[: trial.number] if other.values == trial.values), None)
        try:
            for seed in self.search.seeds:
                if seed in trial.losses:
                    continue
                if twin is not None and seed not in twin.losses:
                    raise _Failure(twin.reason)
                drawn.report(twin.losses[seed] if twin is not None else self._train(trial, seed), seed)
            if twin is not None:
                drawn.set_user_attr(REASON, f"as trial {twin.number}")
            study.tell(trial.number, trials_of(study)[trial.number].loss)
        except _Failure as failure:
            drawn.set_user_attr(REASON, str(failure))
            study.tell(trial.number, state=FAIL)
        self.trials = trials_of(study)
        for folder in (self.folder / "runs").glob("trial-*"):
            if self.best is None or not folder.name.startswith(f"trial-{self.best.number}-"):
                (folder / "model.safetensors").unlink(missing_ok=True)

    def _train(self, trial: Trial, seed: int) -> float:
        """Validation loss of one run; what it reads is in the study's folder."""
        search, folder = self.search, self.folder
        settings = with_values(search.settings, trial.values)
        run = RunConfig(
            method_name=search.method,
            dataset=search.dataset,
            seed=seed,
            method_params=settings,
            train_params=search.train,
            assembled=folder / "assembled",
            pretrained=folder / "pretrained",
            source=folder / "source",
            out=folder / "runs" / f"trial-{trial.number}-seed-{seed}",
        )
        where: dict[str, Any] = {"device": search.device, "state_root": folder / "state"}
        try:
            pretrain(run, **where)
            found = train(run, logs=folder / "logs", **where)
        except (FormatError, MissingDependencyError, MissingModelError):  # of every trial alike
            raise
        except torch.OutOfMemoryError as error:
            raise _Failure("out of memory on the device") from error
        except MsaError as error:
            raise _Failure(str(error)) from error
        loss = float(found["valid_loss"])
        if not math.isfinite(loss):
            raise _Failure(f"the validation loss is {loss}")
        return loss


class _Failure(Exception):
    """These values cannot be trained."""


# --------------------------------------------------------------------------------------- before the trials
def link_splits(assembled: Path, folder: Path) -> None:
    """Links to all of an assembled set that a trial may see; the test split is not among it."""
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    for file in (assembled / name for name in SEEN):
        if file.exists():
            (folder / file.name).symlink_to(file.resolve())


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
    return {
        "method": search.method,
        "dataset": search.dataset,
        "space": {key: dimension.model_dump(mode="json") for key, dimension in search.space.items()},
        "seeds": list(search.seeds),
        "params": search.config.model_validate(search.settings).model_dump(mode="json"),
        "train": search.train.model_dump(mode="json"),
        "assembled": hashes(search.assembled, *SEEN),
        "source": hashes(search.source, *SEEN),
        "code": stage_hashes("train", search.method),
        "libraries": library_versions() | {"optuna": version("optuna")},
        "device": open_device(search.device).type,
    }


def _duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
