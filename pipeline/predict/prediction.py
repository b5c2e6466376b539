"""What trained runs predict of one clip together: each run's outcome, their mean and spread.

*Contribution* of a modality, alike for all methods: its Shapley value (evaluation/shapley.py), in units of
the label, or in probability. Those of a clip add up to its prediction minus the *baseline*, the mean
prediction of the training clips. A modality that a run does not read, or that a clip lacks, has none there;
where other runs have one, it counts as 0, so that the means over the runs add up, too.

Symbols: R runs that could predict the clip, C classes; of a regression scores have one value.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from models.core.method import Output
from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import MODALITIES
from pipeline.evaluation.shapley import baseline_of, shapley
from pipeline.predict.cautions import Caution
from pipeline.predict.inputs import ClipInputs, batch_of
from pipeline.store.shard import FeatureRow
from pipeline.training.runs import TrainedRun
from pipeline.transcripts.stage import Transcript


@dataclass(frozen=True)
class Facts:
    """What the runs predict: a score in `label_range`, or one of `class_names`, empty for a regression."""

    dataset: str
    label_range: tuple[float, float]
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, run: TrainedRun) -> Facts:
        classes = tuple(run.stats["class_names"]) if run.task.classes else ()
        low, high = map(float, run.stats["label_range"])
        return cls(run.stats["dataset"], (low, high), classes)


@dataclass(frozen=True)
class ClipFeatures:
    """A clip, its file as it was given, and what the encoders made of it.

    Attributes
    ----------
    rows, columns : features and the names of their columns, by fingerprint
    """

    clip_id: str
    video: Path
    spoken: Transcript
    rows: dict[str, FeatureRow]
    columns: dict[str, list[str]]

    def streams(self, run: TrainedRun) -> tuple[dict[str, FeatureRow], dict[str, list[str]]]:
        """Rows and their column names, by the stream that they are of a run."""
        keys = {stream: entry["fingerprint"] for stream, entry in run.needed.items()}
        rows = {stream: self.rows[key] for stream, key in keys.items()}
        return rows, {stream: self.columns[key] for stream, key in keys.items()}


@dataclass(frozen=True)
class Outcome:
    """What one run predicts of one clip.

    Attributes
    ----------
    run : its name
    scores : (1,) the score, or (C,) probabilities
    baseline : the same on average of the run's training clips
    contributions : modality that the clip has and the run reads -> what it adds to the scores
    internals : name -> modality -> share in [0, 1], see `internals` of the method's class; often empty
    """

    run: str
    method: str
    scores: np.ndarray
    baseline: np.ndarray
    contributions: dict[str, np.ndarray]
    internals: dict[str, dict[str, float]]


@dataclass
class ClipPrediction:
    """What the runs predict of one clip together.

    Attributes
    ----------
    outcomes : one a run that could predict it; none = the clip failed, for `reason`
    cautions : what a reader should know
    half_width : of the interval around the score, see intervals.py; None where there is none
    """

    facts: Facts
    features: ClipFeatures
    outcomes: list[Outcome] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)
    reason: str = ""
    half_width: float | None = None

    @property
    def ok(self) -> bool:
        return bool(self.outcomes)

    @property
    def scores(self) -> np.ndarray:
        """Mean over the runs, (1,) or (C,)."""
        mean: np.ndarray = np.mean([one.scores for one in self.outcomes], axis=0)
        return mean

    @property
    def class_index(self) -> int | None:
        """The most probable class (the first of equals); None of a regression."""
        return int(self.scores.argmax()) if self.facts.class_names else None

    @property
    def value(self) -> float:
        """The score in label units, or the probability of the most probable class."""
        return self._mean_and_sd([one.scores for one in self.outcomes])[0]

    @property
    def sd(self) -> float | None:
        """Sample standard deviation (n - 1) of `value` over the runs; None of a single one."""
        return self._mean_and_sd([one.scores for one in self.outcomes])[1]

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the interval around `value`, inside the label range."""
        if self.half_width is None:
            return None
        low, high = self.facts.label_range
        ends = np.clip([self.value - self.half_width, self.value + self.half_width], low, high)
        return float(ends[0]), float(ends[1])

    @property
    def methods(self) -> dict[str, tuple[float, float | None, int]]:
        """Method -> mean, sd and number of its runs, of the same class as `value`."""
        found: dict[str, list[np.ndarray]] = {}
        for one in self.outcomes:
            found.setdefault(one.method, []).append(one.scores)
        return {method: (*self._mean_and_sd(own), len(own)) for method, own in found.items()}

    @property
    def means(self) -> list[tuple[str, tuple[float, float | None, int]]]:
        """`methods`, and behind several of them their mean: of all runs alike."""
        found = list(self.methods.items())
        mean = ("mean", (self.value, self.sd, len(self.outcomes)))
        return [*found, mean] if len(found) > 1 else found

    @property
    def contributions(self) -> dict[str, tuple[float, float | None]]:
        """Modality that the clip has -> mean and sd over the runs of what it adds to `value`."""
        had = [m for m in MODALITIES if any(m in one.contributions for one in self.outcomes)]
        return {
            modality: self._mean_and_sd(
                [one.contributions.get(modality, np.zeros_like(one.scores)) for one in self.outcomes]
            )
            for modality in had
        }

    @property
    def baseline(self) -> float:
        """What the contributions add up from: the mean over the runs, of the class of `value`."""
        return self._mean_and_sd([one.baseline for one in self.outcomes])[0]

    @property
    def internals(self) -> dict[str, dict[str, dict[str, float]]]:
        """Method -> what it shows -> modality -> mean over its runs."""
        shares: dict[str, dict[str, dict[str, list[float]]]] = {}
        for one in self.outcomes:
            for name in sorted(one.internals):
                found = shares.setdefault(one.method, {}).setdefault(name, {})
                for modality, share in one.internals[name].items():
                    found.setdefault(modality, []).append(share)
        return {
            method: {
                name: {modality: statistics.fmean(values) for modality, values in own.items()}
                for name, own in sorted(shown.items())
            }
            for method, shown in shares.items()
        }

    def _mean_and_sd(self, values: Sequence[np.ndarray]) -> tuple[float, float | None]:
        """Over runs, of the class of `value`."""
        place = self.class_index or 0
        sd = statistics.stdev(float(value[place]) for value in values) if len(values) > 1 else None
        return float(np.mean(values, axis=0)[place]), sd


# ----------------------------------------------------------------------------------------------- one run
def outcome(run: TrainedRun, inputs: ClipInputs, name: str) -> Outcome:
    """Predict a clip that has something of what the run reads, and what each modality adds to it.

    MsaError where a prediction is not finite.
    """
    batch = batch_of(run, inputs)
    output = run.forward(batch)
    parts = shapley(run.method, batch, baseline_of(run))
    contributions = {
        modality: values[0] for modality, values in parts.values.items() if not np.isnan(values).all()
    }
    with torch.inference_mode():
        internals = run.method.internals(batch, output)
    own = {
        name: {part: share for part, share in shares.items() if part in (*inputs.present, "shared")}
        for name, shares in internals.items()
    }
    shown = {name: shares for name, shares in own.items() if shares}
    scores = _scores(run, output)
    return Outcome(name, run.config["method"], scores, parts.baseline, contributions, shown)


def _scores(run: TrainedRun, output: Output) -> np.ndarray:
    """(1,) or (C,) float64 of the one clip."""
    prediction = output.prediction.float()
    scores = run.task.probabilities(prediction)[0] if run.task.classes else prediction[:1]
    if not scores.isfinite().all():
        raise MsaError(f"{run.folder}: its prediction is not finite; train again with a lower rate")
    return scores.cpu().double().numpy()
