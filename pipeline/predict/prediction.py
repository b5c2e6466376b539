"""What trained runs predict of one clip together: each run's outcome, their mean and spread.

Symbols: R runs that could predict the clip, C classes; of a regression scores have one value.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.core.vocabulary import MODALITIES
from pipeline.predict.cautions import Caution
from pipeline.predict.contributions import Outcome
from pipeline.store.shard import FeatureRow
from pipeline.training.runs import TrainedRun
from pipeline.transcripts.stage import Spoken


@dataclass(frozen=True)
class Facts:
    """What the runs predict.

    Attributes
    ----------
    label_range : of a regression
    class_names : empty for a regression
    """

    dataset: str
    label_range: tuple[float, float]
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, run: TrainedRun) -> Facts:
        stats = run.stats
        classes = tuple(stats["class_names"]) if stats["task"] == "classification" else ()
        low, high = stats["label_range"]
        return cls(stats["dataset"], (float(low), float(high)), classes)


@dataclass(frozen=True)
class ClipFeatures:
    """A clip and what the encoders made of it.

    Attributes
    ----------
    video : the file, as it was given
    rows : by the fingerprint of the runs' features
    """

    clip_id: str
    video: Path
    spoken: Spoken
    rows: dict[str, FeatureRow]


@dataclass
class ClipPrediction:
    """What the runs predict of one clip together.

    Attributes
    ----------
    outcomes : one a run that could predict it; none = the clip failed, for `reason`
    cautions : what a reader should know
    seconds : what extraction and prediction took; for people, in no file
    """

    facts: Facts
    features: ClipFeatures
    outcomes: list[Outcome] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)
    reason: str = ""
    seconds: float = 0.0

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
    def methods(self) -> dict[str, tuple[float, float | None, int]]:
        """Method -> mean, sd and number of its runs, of the same class as `value`."""
        found: dict[str, list[np.ndarray]] = {}
        for one in self.outcomes:
            found.setdefault(one.method, []).append(one.scores)
        return {method: (*self._mean_and_sd(own), len(own)) for method, own in found.items()}

    @property
    def contributions(self) -> dict[str, tuple[float, float | None]]:
        """Modality -> mean and sd, over the runs that read it and something else of the clip, of what it
        changes `value` by.
        """
        changes = {
            modality: [
                one.scores - rest for one in self.outcomes if (rest := one.without.get(modality)) is not None
            ]
            for modality in MODALITIES
        }
        return {modality: self._mean_and_sd(own) for modality, own in changes.items() if own}

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
