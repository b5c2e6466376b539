"""A search as Optuna keeps it, a study in a journal, and its trials.

A trial is one set of values. For Optuna it is its first run, screening: its intermediate values are the
validation losses by epoch, which the pruner compares, and its value is the lowest. Further runs of a
trial that is finished there (tune.py) are attributes of the study. Trial 0 is the settings as they are.
"""

from __future__ import annotations

import math
import os
import statistics
import zlib
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError, MissingDependencyError
from pipeline.core.vocabulary import FAILED
from pipeline.params.search import SearchSpace

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage
except (ImportError, OSError, RuntimeError) as error:
    raise MissingDependencyError(
        f"tune needs Optuna, which cannot be imported ({error}); pip install 'msa-pipeline[tune]'"
    ) from error

optuna.logging.set_verbosity(optuna.logging.ERROR)  # we say ourselves what happens
SEED = 1111  # of all searches
FEWEST_FOR_IMPORTANCE = 20  # complete trials; PED-ANOVA compares their best tenth with all
RUNNING, COMPLETE, PRUNED = "running", "complete", "pruned"
FAIL, PRUNE = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED
SETTINGS, REASON, TWIN = "settings", "reason", "twin"  # attributes of Optuna's trials
STARTUP = 4  # complete trials before one is pruned
SPARED = 0.25  # share of the epochs in which none is pruned: rates warm up, and slow ones have not begun


def open_study(folder: Path, space: SearchSpace, epochs: int = 0) -> optuna.Study:
    """The study of a folder, with the trials that are there; nobody else may have it open.

    `epochs` of a run, in the first quarter of which nothing is pruned; 0 = nothing is pruned at all.
    FormatError where its journal cannot be read.
    """
    file = folder.resolve() / "journal.log"
    Path(f"{file}.lock").unlink(missing_ok=True)  # of a process that was killed as it wrote
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)  # without its half line
    try:
        study: optuna.Study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name=folder.name,
            sampler=Sampler(space),
            pruner=_pruner(epochs),
            load_if_exists=True,
        )
    except Exception as error:  # its reader trusts what is there
        raise FormatError(
            f"{file}: not the journal of a search ({error}); remove {folder} to search from the start"
        ) from error
    return study


def _pruner(epochs: int) -> optuna.pruners.BasePruner:
    """Ends a run whose lowest loss so far is above the median of complete trials at the same epoch."""
    if epochs == 0:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=int(SPARED * epochs) + 1)


def next_trial(study: optuna.Study) -> optuna.Trial:
    """The one that a killed process left unfinished, else a new one."""
    left = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    trial: optuna.Trial = optuna.Trial(study, left[0]._trial_id) if left else study.ask()
    return trial


def report(trial: optuna.Trial, epoch: int, loss: float) -> None:
    """Write down the validation loss of an epoch of screening, unless a process did that was killed then."""
    if epoch not in trial.storage.get_trial(trial._trial_id).intermediate_values:
        trial.report(loss, epoch)


class Sampler(optuna.samplers.BaseSampler):
    """Optuna's TPE, whose draws are functions of the finished trials, the trial's number and the key alone.

    So a search that was killed proposes what it would have proposed. Numbers have few digits.
    """

    def __init__(self, space: SearchSpace):
        self.space = space

    def _tpe(self, trial: optuna.trial.FrozenTrial, key: str = "") -> optuna.samplers.TPESampler:
        return optuna.samplers.TPESampler(seed=zlib.crc32(f"{SEED} {trial.number} {key}".encode()))

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        return self._tpe(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        drawn = self._tpe(trial).sample_relative(study, trial, search_space)
        return {key: self.space[key].rounded(value) for key, value in drawn.items()}

    def sample_independent(self, study: Any, trial: Any, key: str, distribution: Any) -> Any:
        drawn = self._tpe(trial, key).sample_independent(study, trial, key, distribution)
        return self.space[key].rounded(drawn)


def importance(study: optuna.Study, space: SearchSpace) -> dict[str, float]:
    """Share of each setting in what sets the best tenth of the trials apart, sums to 1, largest first.

    Empty with fewer than 20 complete trials, of which the best tenth would be one.
    """
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    whole = optuna.create_study()
    whole.add_trials(trial for trial in complete if trial.params.keys() == space.keys())
    if len(whole.trials) < FEWEST_FOR_IMPORTANCE:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares: dict[str, float] = optuna.importance.get_param_importances(whole, evaluator=evaluator)
    return shares


# --------------------------------------------------------------------------------------------------- trials
@dataclass(frozen=True)
class TrialRun:
    """What came of one run of a trial.

    Attributes
    ----------
    loss : validation loss of the run's one checkpoint; None where it failed, and `reason` says why
    epochs : done
    """

    loss: float | None
    epochs: int
    reason: str = ""


@dataclass(frozen=True)
class Trial:
    """One set of values.

    Attributes
    ----------
    values : by dotted key below `models.<method>.base`
    runs : by the name of what it was trained on (folds.py), those that are done; screening is the first
    state : running (screening is not done), pruned in it, failed in any run, or complete
    reason : why it failed, when it was pruned, or of which trial it is a repetition
    epochs : of all its runs; 0 where it is a repetition, which is not trained
    twin : number of the trial that it is a repetition of
    """

    number: int
    values: dict[str, Any]
    runs: dict[str, TrialRun] = field(default_factory=dict)
    state: str = RUNNING
    reason: str = ""
    epochs: int = 0
    twin: int | None = None

    @property
    def losses(self) -> dict[str, float]:
        """Of the runs that ended well, by their names."""
        return {name: done.loss for name, done in self.runs.items() if done.loss is not None}

    @property
    def screened(self) -> float:
        """Loss of the first run; infinite where it has none."""
        return next(iter(self.losses.values()), math.inf) if self.state == COMPLETE else math.inf

    @property
    def loss(self) -> float:
        """Mean over the runs; not a number where none is done."""
        return statistics.fmean(self.losses.values()) if self.losses else math.nan


def trials_of(study: optuna.Study, screening: str) -> list[Trial]:
    """Those of Optuna's study, in order; the first run of each is called `screening`.

    The values of trial 0 are an attribute, as they may lie outside of the space.
    """
    further: dict[int, dict[str, TrialRun]] = {}
    for key, done in study.user_attrs.items():
        number, _, name = key.partition("/")
        further.setdefault(int(number), {})[name] = TrialRun(**done)
    return [_trial(found, screening, further.get(found.number, {})) for found in study.get_trials()]


def _trial(found: optuna.trial.FrozenTrial, screening: str, further: dict[str, TrialRun]) -> Trial:
    states = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}
    state, reason = states.get(found.state.name, RUNNING), found.user_attrs.get(REASON, "")
    twin, epochs = found.user_attrs.get(TWIN), len(found.intermediate_values)
    runs = {}
    if state == COMPLETE:
        runs[screening] = TrialRun(found.value, epochs)
    elif state == PRUNED:
        reason = f"after epoch {epochs}, lowest loss {min(found.intermediate_values.values()):.4f}"
    for name, done in further.items():
        runs[name] = done
        if done.loss is None:
            state, reason = FAILED, f"{name}: {done.reason}"
    if twin is not None:
        reason = f"as trial {twin}"
    return Trial(
        found.number,
        found.user_attrs.get(SETTINGS) or found.params,
        runs,
        state,
        reason,
        0 if twin is not None else epochs + sum(done.epochs for done in further.values()),
        twin,
    )


def add_run(study: optuna.Study, number: int, name: str, done: TrialRun) -> None:
    """Write down one more run of a trial that is finished for Optuna."""
    study.set_user_attr(f"{number}/{name}", asdict(done))


def finalists_of(trials: Collection[Trial], count: int) -> list[Trial]:
    """Trial 0 and the `count` best of the others by their screening, of equals the earlier, by number.

    Repetitions are not among them, nor are trials that failed or were pruned, trial 0 neither.
    """
    screened = [trial for trial in trials if trial.state == COMPLETE and trial.twin is None]
    others = sorted((trial for trial in screened if trial.number), key=lambda trial: trial.screened)[:count]
    return [trial for trial in screened if trial.number == 0 or trial in others]
