"""A search for better settings of a method on a dataset, by the validation loss alone.

    screening   every trial is trained once, with the first seed (or on the first fold); Optuna's median
                pruner ends it where its lowest loss so far is above the median of those before
    finals      the best of these and trial 0, the settings as they are, are trained on all others too

    value of a finalist = mean over seeds (or folds) of the validation loss of a run's checkpoint (train.py)

That is successive halving with seeds as the budget. A trial trains on a folder that holds links to the train,
valid, unlabeled and context splits and to stats.json, and no test split: there is none to look at; or on
folds of train and valid (folds.py). Trials run one after the other in this process. Values come from
Optuna's TPE.

`.state/tune/<method>-<dataset>-<fingerprint>/`
    study.json                  what decides every number
    journal.log                 Optuna's study: what was tried, and what was found so far
    assembled/, source/         the links; of the set that is trained on, and the one that pretrains
    fold-1/ ...                 the sets of the folds, in place of assembled/
    runs/trial-<n>-seed-<s>/    the run folders, trial-<n>-fold-<k>; without weights

The fingerprint is that of settings, space, seeds, folds, data, code and library versions, so a change of any
begins a new search. How many trials and finalists there are is not in it: more of them go on with what is
there. A killed search goes on: the values of trial n, and whether it is pruned, depend on the trials before
it and on n alone, no sampler has a memory, and a training that was running goes on from its state.
"""

from __future__ import annotations

import math
import shutil
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
from pipeline.store.fingerprint import code_hash, stage_hashes
from pipeline.training.findings import Findings, final_line, screening_line
from pipeline.training.folds import TRIED, Resample, deal, resamples, videos_of, write_fold
from pipeline.training.loop.checkpoint import fingerprint
from pipeline.training.loop.device import open_device
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import Watch, train
from pipeline.training.runs import WEIGHTS, hashes, library_versions
from pipeline.training.study import (
    FAIL,
    PRUNE,
    REASON,
    RUNNING,
    SETTINGS,
    SPARED,
    STARTUP,
    TWIN,
    Training,
    Trial,
    add_training,
    finalists_of,
    importance,
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
    seeds : that a finalist is trained with; the first screens
    settings : the method's settings on the dataset, as they are
    source : folder of the set whose labels pretrain; often the same as `assembled`
    folds : groups of videos that take the place of the seeds, all trained with the first; 0 = none
    prune : whether screening may end a training early
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
    folds: int = 0
    prune: bool = True

    @property
    def config(self) -> type[MethodSettings]:
        """The class of the method's settings."""
        if self.method not in METHODS:
            raise ParamsError(unknown("method", self.method, METHODS))
        return METHODS[self.method].load().Config

    @property
    def epochs(self) -> int:
        """Of a training with the settings as they are."""
        return self.config.model_validate(self.settings).training.epochs


class Study:
    """A search on disk, with the trials that are there already.

    Attributes
    ----------
    resamples : what a finalist is trained on; the first screens
    trials : in order, once it has run; the last may be one that was killed
    finalists : by number, once it has run
    importance : share of each searched setting in what the best trials have in common, once it has run
    left_out : keys of the space that change nothing on this dataset

    Raises
    ------
    ParamsError : a key or a range under `tune` that the method does not take
    FormatError : the assembled set cannot be read, or has fewer videos than there are folds
    """

    def __init__(self, search: Search, root: Path = Path(".state/tune")):
        check_space(search.method, search.space, search.config, search.settings)
        self.search = replace(search, space=_with_effect(search))
        self.left_out = [key for key in search.space if key not in self.search.space]
        for folder in dict.fromkeys((search.assembled, search.source)):
            read_stats(folder)
            for name in TRIED:
                if not (folder / f"{name}.parquet").exists():
                    raise FormatError(f"{folder}: has no {name}.parquet; run its assemble stage")
        self.resamples = resamples(search.seeds, search.folds)
        self.group = deal(videos_of(search.assembled), search.folds) if search.folds else {}
        self.identity = _identity(self.search)
        self.folder = root / f"{search.method}-{search.dataset}-{fingerprint(self.identity)[:12]}"
        self.trials: list[Trial] = []
        self.finalists: list[Trial] = []
        self.importance: dict[str, float] = {}

    def run(self, total: int, finalists: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Go on until there are `total` trials, and so many finalists beside trial 0 have all trainings.

        `say` is told of each training as it ends. MsaError where another process runs this very search.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = f"{self.folder}: this search is running in another process; wait for it"
        with lock(self.folder, busy), writing(self.folder):
            write_json(self.identity, self.folder / "study.json")
            self._lay_out()
            study = open_study(self.folder, self.search.space, self.search.epochs if self.search.prune else 0)
            self._read(study)
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
                self._screen(study)
                seconds = (time.monotonic() - started) / (number + 1 - finished)
                left = (total - number - 1) * seconds
                words = screening_line(self.trials, number, total)
                say(f"{words}; {seconds:.1f} s a trial" + (f", {_duration(left)} left" if left else ""))
            while due := self._due(finalists):
                trial, resample = due[0]
                done = self._train(trial, resample)
                add_training(study, trial.number, resample.name, done)
                self._read(study)
                say(final_line(trial, resample.name, done, len(due) - 1))
            self.importance = importance(study, self.search.space)

    def findings(self) -> Findings:
        """What was found; TooManyFailedError where every trial failed."""
        if not self.finalists:
            reasons = [trial.reason for trial in self.trials if trial.state == FAILED and trial.twin is None]
            raise TooManyFailedError(f"all {len(self.trials)} trials failed, the last because: {reasons[-1]}")
        found = Findings(
            self.search.method,
            self.search.dataset,
            [resample.name for resample in self.resamples],
            self.trials,
            self.finalists,
            list(self.search.space),
            self.importance,
        )
        return replace(found, edges=self.at_an_edge(found.winner))

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

    def _read(self, study: optuna.Study) -> None:
        self.trials = trials_of(study, self.resamples[0].name)

    def _due(self, count: int) -> list[tuple[Trial, Resample]]:
        """Trainings that the finalists lack; where one fails, another trial takes its place."""
        self.finalists = finalists_of(self.trials, count)
        pairs = ((trial, resample) for trial in self.finalists for resample in self.resamples)
        return [(trial, resample) for trial, resample in pairs if resample.name not in trial.trainings]

    def _lay_out(self) -> None:
        """What trials may see, in the study's folder."""
        search = self.search
        link_splits(search.source, self.folder / "source")
        if not search.folds:
            link_splits(search.assembled, self.folder / "assembled")
        others = [name for name in SEEN if name.partition(".")[0] not in (*TRIED, "stats")]
        for resample in self.resamples:
            out = self.folder / resample.name
            if search.folds and not out.exists():
                write_fold(search.assembled, self.group, resample.fold, out, others)

    # --------------------------------------------------------------------------------------------- one trial
    def _screen(self, study: optuna.Study) -> None:
        """Train a new trial, or go on with one that was killed; its losses are on disk at once."""
        drawn = next_trial(study)
        given = drawn.user_attrs.get(SETTINGS, {})
        for key, dimension in self.search.space.items():
            if key not in given or dimension.holds(given[key]):
                dimension.suggest(drawn, key)
        self._read(study)
        trial = self.trials[drawn.number]
        before = study.get_trials(deepcopy=False)[: trial.number]
        values = [other.values for other in self.trials[: trial.number]]
        if trial.values in values:
            twin = before[values.index(trial.values)]
            drawn.set_user_attr(TWIN, twin.number)
            for epoch, loss in twin.intermediate_values.items():
                drawn.report(loss, epoch)
            study.tell(trial.number, twin.value if twin.state.name == "COMPLETE" else None, state=twin.state)
        else:
            self._screen_new(study, drawn, trial)
        self._read(study)

    def _screen_new(self, study: optuna.Study, drawn: optuna.Trial, trial: Trial) -> None:
        last = trial.values.get("training.epochs", self.search.epochs)
        known = dict(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

        def watch(epoch: int, loss: float) -> None:
            if epoch not in known:  # by a process that was killed before it could save the epoch's state
                drawn.report(loss, epoch)
            if trial.number and epoch < last and drawn.should_prune():
                raise _Pruned

        try:
            done = self._train(trial, self.resamples[0], watch)
        except _Pruned:
            study.tell(trial.number, state=PRUNE)
            return
        if done.loss is None:
            drawn.set_user_attr(REASON, done.reason)
            study.tell(trial.number, state=FAIL)
        else:
            study.tell(trial.number, done.loss)

    def _train(self, trial: Trial, resample: Resample, watch: Watch | None = None) -> Training:
        """One training of a trial; what it reads is in the study's folder. Weights are not kept."""
        search, folder = self.search, self.folder
        out = folder / "runs" / f"trial-{trial.number}-{resample.name}"
        assembled = folder / (resample.name if resample.fold else "assembled")
        own = search.source.resolve() == search.assembled.resolve()  # then a fold pretrains on its own labels
        run = RunConfig(
            method_name=search.method,
            dataset=search.dataset,
            seed=resample.seed,
            method_params=with_values(search.settings, trial.values),
            train_params=search.train,
            assembled=assembled,
            pretrained=folder / ("pretrained-" + resample.name if resample.fold else "pretrained"),
            source=assembled if own else folder / "source",
            out=out,
        )
        where: dict[str, Any] = {"device": search.device, "state_root": folder / "state"}
        epochs = 0

        def count(epoch: int, loss: float) -> None:
            nonlocal epochs
            epochs = epoch
            if watch is not None:
                watch(epoch, loss)

        try:
            pretrain(run, **where)
            found = train(run, logs=folder / "logs", watch=count, **where)
        except (FormatError, MissingDependencyError, MissingModelError):  # of every trial alike
            raise
        except torch.OutOfMemoryError:
            reason = "out of memory on the device"
        except MsaError as error:
            reason = str(error)
        except _Pruned:
            shutil.rmtree(folder / "state", ignore_errors=True)  # from where it would go on
            raise
        else:
            (out / WEIGHTS).unlink()
            return Training(float(found["valid_loss"]), epochs)
        shutil.rmtree(folder / "state", ignore_errors=True)
        return Training(None, epochs, reason)


class _Pruned(Exception):
    """Others were better at this epoch."""


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
        "folds": [search.folds, code_hash(deal, write_fold)] if search.folds else None,
        "pruned": [STARTUP, SPARED] if search.prune else None,
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
