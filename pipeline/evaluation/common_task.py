"""What a run and a set of another corpus have in common, and how both are put on it.

scores     both are regressions: linear from the run's label range to the set's
classes    both are classifications: the classes whose names are in both; clips of others are left out, and
           what a run gives to others goes to those in both, in proportion
polarity   one is a regression, the classes of the other are negative, (neutral,) positive: scores are put
           into these as tasks.py says; without a neutral class by their sign, labels of 0 left out
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.core.method import Task
from pipeline.core.errors import MsaError
from pipeline.evaluation.metrics import CLASSIFICATION
from pipeline.evaluation.tasks import POLARITIES, SIMS, polarity
from pipeline.params.params import class_key

Labels = Callable[[np.ndarray], np.ndarray]
"""(clips,) labels, or decided predictions, as those of the common task; NaN where a clip has none there"""
SCALE = (-3.0, 3.0)  # on which a score is rounded, unless it is on that of SIMS
SIMS_SCALE = (-1.0, 1.0)


@dataclass(frozen=True)
class CommonTask:
    """A task that both can do.

    Attributes
    ----------
    class_names, metric_set : of it; no names = scores on the set's scale
    of_run, of_set : of labels of either side
    kept : of a run of classes, which of them are the common ones, in their order
    scale : what an error of the run is times, of scores
    said : the map in words
    """

    class_names: tuple[str, ...]
    metric_set: str
    of_run: Labels
    of_set: Labels
    said: list[str]
    kept: tuple[int, ...] = ()
    scale: float = 1.0

    def predict(self, outputs: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray | None]:
        """A run's outputs, (clips,) or (clips, C), as (clips,) predictions, and of a run of classes (clips,
        classes) probabilities.
        """
        if not task.classes:
            return self.of_run(outputs), None
        chances = task.probabilities(torch.from_numpy(outputs)).double().numpy()[:, self.kept]
        chances /= chances.sum(axis=1, keepdims=True)
        return chances.argmax(axis=1).astype(np.float64), chances


def common_task(run: Mapping[str, Any], of_set: Mapping[str, Any], metric_set: str) -> CommonTask:
    """Of the stats.json of the set that a run was trained on, and of the set that it is tested on.

    Raises
    ------
    MsaError : there is none
    """
    theirs, ours = tuple(run["class_names"]), tuple(of_set["class_names"])
    if not theirs and not ours:
        return _scores(run["label_range"], of_set["label_range"], metric_set)
    if theirs and ours:
        return _classes(theirs, ours)
    names, span = (ours, run["label_range"]) if ours else (theirs, of_set["label_range"])
    if not _are_polarities(names):
        raise MsaError(
            f"a regression and the classes {', '.join(names)} have no task in common; classes "
            "named negative, (neutral,) positive share polarity with it"
        )
    return _polarity(names, span, bool(theirs))


def _scores(of_run: Sequence[float], of_set: Sequence[float], metric_set: str) -> CommonTask:
    (low, high), (ours_low, ours_high) = of_run, of_set
    scale = (ours_high - ours_low) / (high - low)

    def mapped(values: np.ndarray) -> np.ndarray:
        return ours_low + (values.astype(np.float64) - low) * scale

    if [*of_run] == [*of_set]:
        said = f"scores in [{low:g}, {high:g}] on both sides, unchanged"
        return CommonTask((), metric_set, _same, _same, [said])
    plus = f", plus {offset:.4g}" if abs(offset := ours_low - low * scale) > 1e-9 else ""
    said = (
        f"scores in [{low:g}, {high:g}] are mapped linearly to [{ours_low:g}, {ours_high:g}]: times "
        f"{scale:.4g}{plus}"
    )
    return CommonTask((), metric_set, mapped, _same, [said], scale=scale)


def _classes(theirs: Sequence[str], ours: Sequence[str]) -> CommonTask:
    places = {class_key(name): place for place, name in enumerate(theirs)}
    names = [name for name in ours if class_key(name) in places]
    if len(names) < 2:
        raise MsaError(
            f"the run knows the classes {', '.join(theirs)}, the set has {', '.join(ours)}: fewer than two "
            "names match; give classes that mean the same the same name in params.yaml (`classes`)"
        )
    kept = tuple(places[class_key(name)] for name in names)
    said = [f"classes in both: {', '.join(names)}"]
    if unknown := [name for name in ours if name not in names]:
        said.append(f"clips labelled {', '.join(unknown)}, which the run does not know, are omitted")
    if others := [name for place, name in enumerate(theirs) if place not in kept]:
        said.append(f"what the run gives to {', '.join(others)} is shared out to the others in proportion")
    own = tuple(ours.index(name) for name in names)
    return CommonTask(tuple(names), CLASSIFICATION, _placed(kept), _placed(own), said, kept)


def _polarity(names: Sequence[str], span: Sequence[float], run_has_classes: bool) -> CommonTask:
    order = [POLARITIES.index(class_key(name)) for name in names]
    low, high = span
    of_sims = (low, high) == SIMS_SCALE

    def of_scores(values: np.ndarray) -> np.ndarray:
        scores = values.astype(np.float64)
        if not of_sims:
            scores = SCALE[0] + (scores - low) * (SCALE[1] - SCALE[0]) / (high - low)
        if len(names) == len(POLARITIES):
            return _placed(order)(polarity(scores, SIMS if of_sims else ""))
        return _placed(order)(np.select([scores < 0, scores > 0], [0.0, 2.0], np.nan))

    neutral = "of 0 are omitted" if len(names) == 2 else "within ±0.1" if of_sims else "that round to 0"
    if len(names) == 3:
        neutral += " are neutral" if of_sims else f" (on [{SCALE[0]:g}, {SCALE[1]:g}]) are neutral"
    said = [f"only polarity is shared ({', '.join(names)}): scores in [{low:g}, {high:g}] {neutral}"]
    sides = (_same, of_scores) if run_has_classes else (of_scores, _same)
    kept = tuple(range(len(names))) if run_has_classes else ()
    return CommonTask(tuple(names), CLASSIFICATION, *sides, said, kept)


def _are_polarities(names: Sequence[str]) -> bool:
    keys = {class_key(name) for name in names}
    return len(keys) == len(names) and keys in ({*POLARITIES}, {POLARITIES[0], POLARITIES[2]})


def _same(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def _placed(kept: Sequence[int]) -> Labels:
    """Old index -> its place among those that are kept; NaN of others."""

    def placed(values: np.ndarray) -> np.ndarray:
        found = np.full(len(values), np.nan)
        for place, old in enumerate(kept):
            found[values == old] = place
        return found

    return placed
