"""What to try next, and what mattered: Optuna's TPE and PED-ANOVA on a list of trials.

Nothing is remembered between calls: a study is built from the trials each time, with a seed of the trial's
number. So a search that was killed proposes what it would have proposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import MissingDependencyError
from pipeline.params.search import SearchSpace
from pipeline.training.trials import COMPLETE, Trial

if TYPE_CHECKING:
    import optuna

SEED = 1111  # of the search, plus the number of the trial
FEWEST_FOR_IMPORTANCE = 20  # complete trials; PED-ANOVA compares their best tenth with all


def propose(space: SearchSpace, before: Sequence[Trial], number: int) -> dict[str, Any]:
    """Values of trial `number` (from 1), a function of its arguments and of nothing else.

    Parameters
    ----------
    before : the trials 0 ... number - 1
    """
    study = _told(space, before[:number], seed=SEED + number)
    drawn = study.ask({key: dimension.distribution() for key, dimension in space.items()}).params
    return {key: dimension.rounded(drawn[key]) for key, dimension in space.items()}


def importance(space: SearchSpace, trials: Sequence[Trial]) -> dict[str, float]:
    """Share of each setting in what sets the best tenth of the trials apart, sums to 1, largest first.

    Empty with fewer than 20 complete trials, of which the best tenth would be one.
    """
    optuna = open_optuna()
    complete = [trial for trial in trials if trial.state == COMPLETE]
    if len(complete) < FEWEST_FOR_IMPORTANCE:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    study = _told(space, complete, seed=SEED)
    shares: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return shares


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
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # we say ourselves what happens
    return optuna


def _told(space: SearchSpace, trials: Sequence[Trial], seed: int) -> optuna.Study:
    """A study that knows the complete trials; trial 0 only if it lies within the space."""
    optuna = open_optuna()
    distributions = {key: dimension.distribution() for key, dimension in space.items()}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for trial in trials:
        if trial.state != COMPLETE:
            continue
        try:
            told = optuna.trial.create_trial(
                params=trial.values, distributions=distributions, value=trial.loss
            )
        except (ValueError, TypeError):
            if trial.number > 0:
                raise
            continue
        study.add_trial(told)
    return study
