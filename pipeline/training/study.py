"""A search as Optuna keeps it, a study in a journal, and its trials as people read them.

A trial is one set of values, trained with every seed; its loss is the mean validation loss over the seeds.
Trial 0 is the settings as they are.
"""

from __future__ import annotations

import math
import os
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError, MissingDependencyError
from pipeline.core.spreadsheets import write_cells
from pipeline.core.vocabulary import FAILED
from pipeline.params.edit import as_yaml
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
RUNNING, COMPLETE = "running", "complete"
FAIL = optuna.trial.TrialState.FAIL
SETTINGS, REASON = "settings", "reason"  # attributes of Optuna's trials
SHOWN = 5  # best trials in a summary


def open_study(folder: Path, space: SearchSpace) -> optuna.Study:
    """The study of a folder, with the trials that are there; nobody else may have it open.

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
            load_if_exists=True,
        )
    except Exception as error:  # its reader trusts what is there
        raise FormatError(
            f"{file}: no journal of a search ({error}); remove {folder} to search from the start"
        ) from error
    return study


def next_trial(study: optuna.Study) -> optuna.Trial:
    """The one that a killed process left unfinished, else a new one."""
    left = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    trial: optuna.Trial = optuna.Trial(study, left[0]._trial_id) if left else study.ask()
    return trial


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
class Trial:
    """One set of values.

    Attributes
    ----------
    values : by dotted key below `models.<method>.base`
    losses : validation loss by seed, of the seeds that are done
    state : running (some seeds are not done), complete, or failed
    reason : why it failed, or of which trial it is a repetition
    """

    number: int
    values: dict[str, Any]
    losses: dict[int, float] = field(default_factory=dict)
    state: str = RUNNING
    reason: str = ""

    @property
    def loss(self) -> float:
        """Mean over the seeds; not a number where none is done."""
        return statistics.fmean(self.losses.values()) if self.losses else math.nan


def trials_of(study: optuna.Study) -> list[Trial]:
    """Those of Optuna's study, in order; the values of trial 0 are an attribute, as they may lie outside."""
    return [
        Trial(
            found.number,
            found.user_attrs.get(SETTINGS) or found.params,
            found.intermediate_values,
            {"COMPLETE": COMPLETE, "FAIL": FAILED}.get(found.state.name, RUNNING),
            found.user_attrs.get(REASON, ""),
        )
        for found in study.get_trials()
    ]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the lowest loss, of equals the earlier; None where none is complete."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    return min(complete, key=lambda trial: trial.loss, default=None)


def write_table(trials: Sequence[Trial], keys: Sequence[str], seeds: Sequence[int], path: Path) -> None:
    """A TSV with one row a trial: number, state, loss, each seed's loss, the values, the reason."""
    each = [f"valid_loss_{seed}" for seed in seeds]
    rows = []
    for trial in trials:
        loss = trial.loss if trial.state == COMPLETE else ""
        losses = [trial.losses.get(seed, "") for seed in seeds]
        values = [as_yaml(trial.values[key]) for key in keys]
        reason = " ".join(trial.reason.split())
        numbers = ",".join(map(str, seeds))
        rows.append([trial.number, trial.state, loss, *losses, *values, numbers, reason])
    write_cells(path, ["trial", "state", "valid_loss", *each, *keys, "seeds", "reason"], rows, "\t")


# ----------------------------------------------------------------------------------------------- in words
def line(trial: Trial, total: int, best: Trial | None) -> str:
    """What became of a trial, for the one who waits."""
    values = " ".join(f"{key}={as_yaml(value)}" for key, value in trial.values.items())
    what = f"valid loss {trial.loss:.4f}" if trial.state == COMPLETE else f"failed: {trial.reason}"
    if trial.state == COMPLETE and trial.reason:
        what += f" ({trial.reason})"
    so_far = "" if best is None else f"; best {best.loss:.4f} in trial {best.number}"
    return f"trial {trial.number} ({trial.number + 1} of {total}): {values}: {what}{so_far}"


def summary(
    title: str,
    trials: Sequence[Trial],
    best: Trial,
    seeds: Sequence[int],
    importance: Mapping[str, float],
    edges: Sequence[str],
) -> str:
    """Markdown: the best trials beside the settings as they are, what mattered, how far to trust it.

    `importance` is empty where too few trials are complete; `edges` are keys whose best value lies at an end
    of its range.
    """
    complete = sorted((t for t in trials if t.state == COMPLETE), key=lambda t: (t.loss, t.number))
    shown = complete[:SHOWN]
    if trials[0].state == COMPLETE and trials[0] not in shown:
        shown.append(trials[0])
    keys = list(best.values)
    numbers = ", ".join(map(str, seeds))
    lines = [
        f"# {title}",
        "",
        f"Validation loss, mean over the seeds {numbers}; the lower the better."
        if len(seeds) > 1
        else f"Validation loss of seed {numbers}; the lower the better.",
        "",
        f"| trial | valid loss | {' | '.join(keys)} |",
        f"|---|---|{'---|' * len(keys)}",
    ]
    for trial in shown:
        name = "0, the settings as they are" if trial.number == 0 else str(trial.number)
        cells = [name, f"{trial.loss:.4f}", *(as_yaml(trial.values[key]) for key in keys)]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    if importance:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in importance.items())
        lines += [f"What the best trials have in common (PED-ANOVA): {shares}.", ""]
    if edges:
        lines += [f"The best value of {', '.join(edges)} lies at an end of its range: widen it.", ""]
    states = [trial.state for trial in trials]
    failed = f", {states.count(FAILED)} of them failed" if FAILED in states else ""
    found = f"{len(states) - states.count(RUNNING)} trials were looked at{failed}."
    if best.number == 0:
        found += " None was better than the settings as they are."
    elif states[0] == COMPLETE:
        found += f" The best is {trials[0].loss - best.loss:.4f} below the settings as they are."
    lines.append(
        f"{found} The lowest of {len(complete)} losses on the same validation clips is lower than it would "
        "be on new ones, the more so the more trials and the fewer clips. The search had no test split; "
        "compare the settings by it once, with seeds that were not searched with.\n"
    )
    return "\n".join(lines)
