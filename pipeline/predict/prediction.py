"""What trained runs say of one clip together: each run's outcome, their mean and spread.

Symbols: R runs that could predict the clip, C classes; of a regression scores have one value.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.predict.cautions import Caution
from pipeline.predict.contributions import Outcome
from pipeline.store.shard import FeatureRow
from pipeline.training.trained import TrainedRun
from pipeline.transcripts.stage import Transcript

MODALITIES = ("text", "audio", "visual")


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
class Material:
    """A clip and what the encoders made of it.

    Attributes
    ----------
    video : the file, as it was given
    rows : by the fingerprint of the runs' features
    """

    clip_id: str
    video: Path
    spoken: Transcript
    rows: dict[str, FeatureRow]


@dataclass(frozen=True)
class Voice:
    """One run's outcome."""

    run: str
    method: str
    seed: int
    outcome: Outcome


@dataclass
class ClipPrediction:
    """What the runs say of one clip together.

    Attributes
    ----------
    voices : one a run that could predict it; none = the clip failed, for `reason`
    cautions : what a reader should know
    seconds : what extraction and prediction took; for people, in no file
    """

    facts: Facts
    material: Material
    voices: list[Voice] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)
    reason: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return bool(self.voices)

    @property
    def scores(self) -> np.ndarray:
        """Mean over the runs, (1,) or (C,)."""
        return _mean(self.voices)

    @property
    def class_index(self) -> int | None:
        """The most probable class (the first of equals); None of a regression."""
        return int(self.scores.argmax()) if self.facts.class_names else None

    @property
    def value(self) -> float:
        """The score in label units, or the probability of the most probable class."""
        return float(self.scores[self.class_index or 0])

    @property
    def sd(self) -> float | None:
        """Sample standard deviation (n - 1) of `value` over the runs; None of a single one."""
        return _sd([voice.outcome.scores for voice in self.voices], self.class_index or 0)

    @property
    def methods(self) -> dict[str, tuple[float, float | None, int]]:
        """Method -> mean, sd and number of its runs, of the same class as `value`."""
        found = {}
        for method in dict.fromkeys(voice.method for voice in self.voices):
            own = [voice for voice in self.voices if voice.method == method]
            place = self.class_index or 0
            found[method] = (
                float(_mean(own)[place]),
                _sd([voice.outcome.scores for voice in own], place),
                len(own),
            )
        return found

    @property
    def contributions(self) -> dict[str, tuple[float, float | None]]:
        """Modality -> mean and sd, over the runs that read it and something else of the clip, of what it
        changes `value` by.
        """
        place, found = self.class_index or 0, {}
        for modality in MODALITIES:
            changes = [
                voice.outcome.scores - rest
                for voice in self.voices
                if (rest := voice.outcome.without.get(modality)) is not None
            ]
            if changes:
                found[modality] = (float(np.mean(changes, axis=0)[place]), _sd(changes, place))
        return found

    @property
    def internals(self) -> dict[str, dict[str, dict[str, float]]]:
        """Method -> what it shows -> modality -> mean over its runs."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for method in self.methods:
            shown = [voice.outcome.internals for voice in self.voices if voice.method == method]
            names = sorted({name for one in shown for name in one})
            for name in names:
                parts = [one[name] for one in shown if name in one]
                found.setdefault(method, {})[name] = {
                    part: statistics.fmean(values[part] for values in parts if part in values)
                    for part in dict.fromkeys(part for values in parts for part in values)
                }
        return found


def _mean(voices: Iterable[Voice]) -> np.ndarray:
    mean: np.ndarray = np.mean([voice.outcome.scores for voice in voices], axis=0)
    return mean


def _sd(values: Sequence[np.ndarray], place: int) -> float | None:
    return statistics.stdev(float(value[place]) for value in values) if len(values) > 1 else None
