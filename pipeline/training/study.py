"""Optuna as searches use it: a study in a journal, a sampler without a memory, and what mattered."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import FormatError, MissingDependencyError
from pipeline.params.search import SearchSpace

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

SEED = 1111  # of all searches
FEWEST_FOR_IMPORTANCE = 20  # complete trials; PED-ANOVA compares their best tenth with all


def open_optuna() -> Any:
    """The module, silent.

    Raises
    ------
    MissingDependencyError : it is not installed
    """
    try:
        import optuna
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependencyError(
            f"tune needs Optuna, which cannot be imported ({error}); pip install 'msa-pipeline[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # we say ourselves what happens
    return optuna


def open_study(folder: Path, space: SearchSpace) -> Study:
    """The study of a folder, with the trials that are there; nobody else may have it open.

    Raises
    ------
    FormatError : its journal cannot be read
    """
    optuna = open_optuna()
    file = folder.resolve() / "journal.log"
    Path(f"{file}.lock").unlink(missing_ok=True)  # of a process that was killed as it wrote
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)  # without its half line
    try:
        backend = optuna.storages.journal.JournalFileBackend(str(file))
        study: Study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=folder.name,
            sampler=make_sampler(space),
            load_if_exists=True,
        )
    except Exception as error:  # its reader trusts what is there
        raise FormatError(
            f"{file}: no journal of a search ({error}); remove {folder} to search from the start"
        ) from error
    return study


def next_trial(study: Study) -> Trial:
    """The one that a killed process left unfinished, else a new one."""
    optuna = open_optuna()
    left = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    trial: Trial = optuna.Trial(study, left[0]._trial_id) if left else study.ask()
    return trial


def make_sampler(space: SearchSpace) -> BaseSampler:
    """Optuna's TPE, whose draws are functions of the finished trials, the trial's number and the key alone.

    So a search that was killed proposes what it would have proposed. Numbers have few digits.
    """
    optuna = open_optuna()

    class Sampler(optuna.samplers.BaseSampler):  # type: ignore[name-defined]
        def _tpe(self, trial: Any, key: str = "") -> Any:
            seed = zlib.crc32(f"{SEED} {trial.number} {key}".encode())
            return optuna.samplers.TPESampler(seed=seed)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._tpe(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            drawn = self._tpe(trial).sample_relative(study, trial, search_space)
            return {key: space[key].rounded(value) for key, value in drawn.items()}

        def sample_independent(self, study: Any, trial: Any, key: str, distribution: Any) -> Any:
            return space[key].rounded(
                self._tpe(trial, key).sample_independent(study, trial, key, distribution)
            )

    sampler: BaseSampler = Sampler()
    return sampler


def importance(study: Study, space: SearchSpace) -> dict[str, float]:
    """Share of each setting in what sets the best tenth of the trials apart, sums to 1, largest first.

    Empty with fewer than 20 complete trials, of which the best tenth would be one.
    """
    optuna = open_optuna()
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    whole = optuna.create_study()
    whole.add_trials(trial for trial in complete if trial.params.keys() == space.keys())
    if len(whole.trials) < FEWEST_FOR_IMPORTANCE:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares: dict[str, float] = optuna.importance.get_param_importances(whole, evaluator=evaluator)
    return shares
