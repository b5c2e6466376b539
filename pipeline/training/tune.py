"""A search for better settings of a method on a dataset, by the validation loss alone.

    screening   every trial is one run, with the first seed (or on the first fold); Optuna's median pruner
                ends it where its lowest loss so far is above the median of the trials before
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
it and on n alone, no sampler has a memory, and a run that was going on resumes from its state.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline.core.errors import (
    FormatError,
    MissingDependencyError,
    MissingModelError,
    MsaError,
    TooManyFailedError,
)
from pipeline.core.files import lock, write_json, writing
from pipeline.core.vocabulary import FAILED
from pipeline.datasets.training_set import read_stats
from pipeline.params.run import RunConfig
from pipeline.params.search import check_space, leaves, with_values
from pipeline.training.findings import Findings, final_line, screening_line
from pipeline.training.folds import TRIED, Resample, deal, link_splits, resamples, videos_of, write_fold
from pipeline.training.loop.checkpoint import fingerprint
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import Watch, train
from pipeline.training.runs import WEIGHTS
from pipeline.training.search import Search
from pipeline.training.study import (
    FAIL,
    PRUNE,
    REASON,
    RUNNING,
    SETTINGS,
    TWIN,
    Trial,
    TrialRun,
    add_run,
    finalists_of,
    importance,
    next_trial,
    open_study,
    report,
    trials_of,
)

if TYPE_CHECKING:
    import optuna


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
        self.search = search.with_effect()
        self.left_out = [key for key in search.space if key not in self.search.space]
        for folder in dict.fromkeys((search.assembled, search.source)):
            read_stats(folder)
            for name in TRIED:
                if not (folder / f"{name}.parquet").exists():
                    raise FormatError(f"{folder}: has no {name}.parquet; run its assemble stage")
        self.resamples = resamples(search.seeds, search.folds)
        self.group = deal(videos_of(search.assembled), search.folds) if search.folds else {}
        self.identity = self.search.identity()
        self.folder = root / f"{search.method}-{search.dataset}-{fingerprint(self.identity)[:12]}"
        self.trials: list[Trial] = []
        self.finalists: list[Trial] = []
        self.importance: dict[str, float] = {}

    def run(self, total: int, finalists: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Go on until there are `total` trials, and so many finalists beside trial 0 have all runs.

        `say` is told of each run as it ends. MsaError where another process runs this very search.
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
                add_run(study, trial.number, resample.name, done)
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
        ends = [key for key, value in found.winner.values.items() if self.search.space[key].at_an_end(value)]
        return replace(found, edges=ends if found.winner.number else [])

    def _read(self, study: optuna.Study) -> None:
        self.trials = trials_of(study, self.resamples[0].name)

    def _due(self, count: int) -> list[tuple[Trial, Resample]]:
        """Runs that the finalists lack; where one fails, another trial takes its place."""
        self.finalists = finalists_of(self.trials, count)
        pairs = ((trial, resample) for trial in self.finalists for resample in self.resamples)
        return [(trial, resample) for trial, resample in pairs if resample.name not in trial.runs]

    def _lay_out(self) -> None:
        """What trials may see, in the study's folder."""
        search = self.search
        link_splits(search.source, self.folder / "source")
        if not search.folds:
            link_splits(search.assembled, self.folder / "assembled")
        for resample in self.resamples:
            out = self.folder / resample.name
            if search.folds and not out.exists():
                write_fold(search.assembled, self.group, resample.fold, out)

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
                report(drawn, epoch, loss)
            study.tell(trial.number, twin.value if twin.state.name == "COMPLETE" else None, state=twin.state)
        else:
            self._screen_new(study, drawn, trial)
        self._read(study)

    def _screen_new(self, study: optuna.Study, drawn: optuna.Trial, trial: Trial) -> None:
        last = trial.values.get("training.epochs", self.search.epochs)

        def watch(epoch: int, loss: float) -> None:
            report(drawn, epoch, loss)
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

    def _train(self, trial: Trial, resample: Resample, watch: Watch | None = None) -> TrialRun:
        """One run of a trial; what it reads is in the study's folder. Weights are not kept."""
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
            return TrialRun(found["valid_loss"], found["epochs"])
        shutil.rmtree(folder / "state", ignore_errors=True)
        return TrialRun(None, epochs, reason)


class _Pruned(Exception):
    """Others were better at this epoch."""


def _duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
