"""What a search found, and how far to trust it: the finalists beside the settings as they are.

    gain   g = mean_k(loss_k of trial 0 − loss_k of the winner), k = seeds or folds
    error  SE = sd_k(loss_k of trial 0 − loss_k of the winner) / √K

A gain of at most one standard error is none: nothing is to be changed then. Of one seed no error is known,
and no gain either.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.files import write_text
from pipeline.core.spreadsheets import write_cells
from pipeline.core.vocabulary import FAILED
from pipeline.params.edit import as_yaml
from pipeline.params.search import with_values
from pipeline.training.study import COMPLETE, PRUNED, Trial, TrialRun

GAIN, NO_GAIN, UNKNOWN = "gain", "no gain", "unknown"  # verdicts


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error; not a number of one value alone."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


@dataclass(frozen=True)
class Findings:
    """A finished search.

    Attributes
    ----------
    names : of what finalists were trained on (folds.py); the first screened
    finalists : by number; trial 0 is among them unless it failed
    keys : of the searched settings
    importance : share of each in what the best trials have in common; empty where too few are complete
    edges : keys whose best value lies at an end of its range
    """

    method: str
    dataset: str
    names: Sequence[str]
    trials: Sequence[Trial]
    finalists: Sequence[Trial]
    keys: Sequence[str]
    importance: Mapping[str, float] = field(default_factory=dict)
    edges: Sequence[str] = ()

    @cached_property
    def winner(self) -> Trial:
        """The finalist with the lowest mean, of equals the earlier."""
        return min(self.finalists, key=lambda trial: (trial.loss, trial.number))

    @property
    def as_they_are(self) -> Trial | None:
        """Trial 0; None where it failed."""
        return self.finalists[0] if self.finalists[0].number == 0 else None

    def gain(self, trial: Trial, names: Sequence[str] = ()) -> tuple[float, float]:
        """How much lower a finalist's loss is than that of trial 0, and the standard error of that.

        Of all runs, or of those of some names; not numbers where trial 0 failed.
        """
        if self.as_they_are is None:
            return math.nan, math.nan
        before, after = self.as_they_are.losses, trial.losses
        return mean_and_error([before[name] - after[name] for name in names or self.names])

    @property
    def verdict(self) -> str:
        """`gain`, `no gain`, or `unknown` where one seed has no spread, or trial 0 failed."""
        if self.as_they_are is None:
            return UNKNOWN
        gain, error = self.gain(self.winner)
        if gain == 0 or gain <= error:
            return NO_GAIN
        return UNKNOWN if math.isnan(error) else GAIN

    @property
    def chosen(self) -> dict[str, Any]:
        """The values to go on with, by dotted key; empty where the settings stay as they are."""
        return self.winner.values if self.verdict == GAIN else {}

    @property
    def budget(self) -> dict[str, int]:
        """What the search cost: trials looked at, runs begun, epochs; without pretraining."""
        own = [trial for trial in self.trials if trial.twin is None]
        begun = sum(max(1, len(trial.runs)) for trial in own)
        return {"trials": len(self.trials), "runs": begun, "epochs": sum(trial.epochs for trial in own)}

    def write(self, stem: Path) -> str:
        """`<stem>.tsv`, `.md` and `.yaml`; the text of the second."""
        write_table(self.trials, self.keys, self.names, stem.with_suffix(".tsv"))
        text = self.markdown(stem.name)
        write_text(text, stem.with_suffix(".md"))
        write_text(self.yaml(), stem.with_suffix(".yaml"))
        return text

    def yaml(self) -> str:
        """The winner and its gain, for programs; `chosen` goes below `models.<method>.corpora.<dataset>`."""
        gain, error = self.gain(self.winner)
        content = {
            "method": self.method,
            "dataset": self.dataset,
            "trained_on": list(self.names),
            "budget": self.budget,
            "verdict": self.verdict,
            "gain": None if math.isnan(gain) else gain,
            "standard_error": None if math.isnan(error) else error,
            "winner": {"trial": self.winner.number, "valid_loss": self.winner.loss, **self.winner.values},
            "chosen": with_values({}, self.chosen),
        }
        return "".join(f"{key}: {as_yaml(value)}\n" for key, value in content.items())

    def markdown(self, name: str) -> str:
        """The finalists, the verdict, what mattered, what it cost; equal for equal searches."""
        parts = [f"# {self.method} on {self.dataset}", self._how(), self._table(), self._verdict()]
        if self.importance:
            shares = ", ".join(f"{key} {share:.0%}" for key, share in self.importance.items())
            parts.append(f"What the best trials have in common (PED-ANOVA): {shares}.")
        if self.edges:
            parts.append(f"The best value of {', '.join(self.edges)} lies at an end of its range: widen it.")
        parts += [self._cost(), f"All trials: `{name}.tsv`; the winner's values: `{name}.yaml`."]
        return "\n\n".join(parts) + "\n"

    def _how(self) -> str:
        first, *others = self.names
        more = f", the {len(self.finalists)} below on {', '.join(others)} too" if others else ""
        text = (
            f"Validation loss, the lower the better. Every trial was trained on {first}{more}. Trial 0 has "
            "the current settings. `±` is one standard error over the runs; a gain is the mean difference "
            "from trial 0, run by run."
        )
        if first.startswith("fold"):
            text += (
                " Folds are groups of videos of the clips of train and valid together; their features are "
                "normalised as assembled, by the mean and deviation of the set's own train split."
            )
        return text

    def _table(self) -> str:
        rows = [
            ["trial", *self.names, "mean", "gain", *self.keys],
            ["---"] * (len(self.names) + len(self.keys) + 3),
        ]
        for trial in sorted(self.finalists, key=lambda trial: (trial.loss, trial.number)):
            losses = [f"{trial.losses[name]:.4f}" for name in self.names]
            mean = with_error(*mean_and_error(list(trial.losses.values())))
            gain = with_error(*self.gain(trial)) if trial.number and self.as_they_are else ""
            values = [as_yaml(trial.values[key]) for key in self.keys]
            rows.append([f"{trial.number}", *losses, mean, gain, *values])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def _verdict(self) -> str:
        winner = f"trial {self.winner.number}"
        if self.as_they_are is None:
            reason = self.trials[0].reason
            return f"**Unknown**: the current settings failed ({reason}); {winner} is the best of the others."
        if self.winner.number == 0:
            return "**No gain**: no finalist was better than the current settings, which stay."
        gain, error = self.gain(self.winner)
        found = f"{winner} is {with_error(gain, error)} below the current settings"
        if self.verdict == UNKNOWN:
            return f"**Unknown**: {found}; one run has no spread, ask for more `--seeds`. The settings stay."
        if self.verdict == NO_GAIN:
            return f"**No gain**: {found}, which is within one standard error. The settings stay."
        rest = with_error(*self.gain(self.winner, self.names[1:]))
        return f"**Gain**: {found}; {rest} without {self.names[0]}, by which the finalists were chosen."

    def _cost(self) -> str:
        states = [trial.state for trial in self.trials]
        twins = sum(trial.twin is not None for trial in self.trials)
        counts = {"pruned": states.count(PRUNED), "failed": states.count(FAILED), "repeated": twins}
        some = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        budget = self.budget
        return (
            f"Budget: {budget['trials']} trials{f' ({some})' if some else ''}, {budget['runs']} runs, "
            f"{budget['epochs']} epochs, pretraining not counted. The lowest of several losses on the same "
            "validation clips is lower than it would be on new clips, the more so with more trials and "
            "fewer clips. The search never read the test split; compare the settings on it once, with "
            "seeds that the search did not use."
        )


def with_error(mean: float, error: float) -> str:
    """`0.0123 ± 0.0045`, the mean alone where there is no error."""
    return f"{mean:.4f}" if math.isnan(error) else f"{mean:.4f} ± {error:.4f}"


def write_table(trials: Sequence[Trial], keys: Sequence[str], names: Sequence[str], path: Path) -> None:
    """A TSV with one row a trial: state, mean loss of a finalist, all its losses, epochs, values, reason."""
    rows = []
    for trial in trials:
        whole = trial.state == COMPLETE and all(name in trial.losses for name in names)
        losses = [trial.losses.get(name, "") for name in names]
        values = [as_yaml(trial.values[key]) for key in keys]
        reason = " ".join(trial.reason.split())
        rows.append(
            [trial.number, trial.state, trial.loss if whole else "", *losses, trial.epochs, *values, reason]
        )
    each = [f"valid_loss_{name}" for name in names]
    write_cells(path, ["trial", "state", "valid_loss", *each, "epochs", *keys, "reason"], rows, "\t")


# ------------------------------------------------------------------------------------- for the one who waits
def screening_line(trials: Sequence[Trial], number: int, total: int) -> str:
    """What became of a trial."""
    trial = trials[number]
    values = " ".join(f"{key}={as_yaml(value)}" for key, value in trial.values.items())
    what = f"valid loss {trial.screened:.4f}" if trial.state == COMPLETE else trial.state
    if trial.reason:
        what += f" ({trial.reason})"
    best = min(trials, key=lambda trial: (trial.screened, trial.number))
    so_far = f"; best {best.screened:.4f} in trial {best.number}" if best.state == COMPLETE else ""
    return f"trial {number} ({number + 1} of {total}): {values}: {what}{so_far}"


def final_line(trial: Trial, name: str, done: TrialRun, left: int) -> str:
    """What became of a finalist's run."""
    what = f"failed ({done.reason})" if done.loss is None else f"valid loss {done.loss:.4f}"
    return f"finalist {trial.number}, {name}: {what}" + (f"; {left} to go" if left else "")
