"""All runs of a method on a set under corruptions, as few numbers: what tables and pictures are made of.

Scores are taken for each seed of the run and each draw of the corruption, on all test clips; what is written
are means and sample standard deviations over them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.evaluation.evaluate import DECIMALS
from pipeline.evaluation.metrics import CLASSIFICATION, MetricSums
from pipeline.evaluation.saved import Spread
from pipeline.robustness.conditions import UNTOUCHED, WITH_CLEAN, Condition
from pipeline.robustness.media.kinds import MEDIA_LEVELS
from pipeline.robustness.numbers import change, curve_numbers, sign_flips
from pipeline.robustness.sweep import Internals, Sweep

Floors = Mapping[str, float]  # metric -> what the best constant reaches


def constant_floors(
    known: np.ndarray, label: np.ndarray, metric_set: str, class_names: Sequence[str]
) -> dict[str, float]:
    """What a constant reaches on the test clips: of each metric the best of those tried.

    Of a regression 0, and the median and the mean of the training labels, compared by MAE; of all else but
    the MAE it is that of 0, whose sign favours nobody. Of classes the most frequent one.

    Parameters
    ----------
    known, label : (clips,), of the training and of the test split
    """
    if metric_set == CLASSIFICATION:
        guesses = [float(np.bincount(known.astype(np.int64)).argmax())]
    else:
        guesses = [0.0, float(np.median(known)), float(known.mean())]
    sums = MetricSums(
        metric_set, np.repeat(np.array(guesses)[:, None], len(label), axis=1), label, class_names
    )
    scores = sums.scores(sums.terms.sum(axis=0))
    found = dict(zip(sums.names, scores[0].tolist(), strict=True))
    if "mae" in found:
        found["mae"] = float(scores[:, sums.names.index("mae")].min())
    return found


def summary(
    sweeps: Mapping[int, Sweep], metric_set: str, class_names: Sequence[str], floors: Floors
) -> dict[str, Any]:
    """`clean` (metric -> mean, sd) and `kinds`: kind -> case -> what came of it.

    Of a case: `levels`, and their `places` on a curve, clean first; `scores` metric -> [mean, sd] at each
    level; `numbers` metric -> CurveNumbers; `change` and `flips` at each level; `flat`, whether the method
    reads nothing of what is hit; of subsets `internals`, what the method weighs, as a mean over runs and
    clips, and `nothing_left`.
    """
    (first, *_) = sweeps.values()
    cases: dict[tuple[str, str], list[Condition]] = {}
    for condition in first.predictions:
        if condition is not UNTOUCHED and condition != UNTOUCHED:
            cases.setdefault((condition.kind, condition.case), []).append(condition)
    clean = _scores(
        [one.predictions[UNTOUCHED] for one in sweeps.values()], first.label, metric_set, class_names
    )
    kinds: dict[str, dict[str, Any]] = {}
    for (kind, case), found in cases.items():
        kinds.setdefault(kind, {})[case] = _of_case(sweeps, found, clean, metric_set, class_names, floors)
    return {"clean": {name: _spread(values) for name, values in clean.items()}, "kinds": kinds}


def _of_case(
    sweeps: Mapping[int, Sweep],
    found: Sequence[Condition],
    clean: Mapping[str, np.ndarray],
    metric_set: str,
    class_names: Sequence[str],
    floors: Floors,
) -> dict[str, Any]:
    kind, label = found[0].kind, next(iter(sweeps.values())).label
    steps = MEDIA_LEVELS.get(kind)  # from mild to severe, as they lie on a curve one behind the other
    levels = sorted({condition.level for condition in found}, key=None if steps is None else steps.index)
    places = [0.0, *(levels if steps is None else map(float, range(1, len(levels) + 1)))]
    scores: dict[str, list[list[float | None]]] = {name: [] for name in clean}
    changes, flips = [], []
    for level in levels:
        pairs = [
            (one.predictions[condition], one.predictions[UNTOUCHED])
            for one in sweeps.values()
            for condition in found
            if condition.level == level
        ]
        at_level = _scores([spoilt for spoilt, _ in pairs], label, metric_set, class_names)
        for name, values in at_level.items():
            scores[name].append(_spread(values))
        changes.append(round(float(np.mean([change(*pair, bool(class_names)) for pair in pairs])), DECIMALS))
        flips.append(round(float(np.mean([sign_flips(*pair) for pair in pairs])), DECIMALS))
    numbers = {
        name: {
            key: None if value is None else round(value, DECIMALS)
            for key, value in asdict(
                curve_numbers(
                    name,
                    places,
                    [float(clean[name].mean()), *(at[0] or 0.0 for at in scores[name])],
                    floors.get(name),
                    with_clean=kind in WITH_CLEAN,
                )
            ).items()
        }
        for name in clean
    }
    return {
        "levels": levels,
        "places": places,
        "scores": scores,
        "numbers": numbers,
        "change": changes,
        "flips": None if class_names else flips,
        "flat": all(condition in one.flat for one in sweeps.values() for condition in found),
        **_of_subset([*sweeps.values()], found[0]),
    }


def _of_subset(sweeps: Sequence[Sweep], condition: Condition) -> dict[str, Any]:
    """`nothing_left`, clips whose prediction is the constant, and `internals`; nothing of other kinds."""
    if condition.kind != "subsets":
        return {}
    internals = [one.internals[condition] for one in sweeps if condition in one.internals]
    return {
        "nothing_left": sweeps[0].floored.get(condition, 0),
        "internals": mean_internals(internals) if internals else {},
    }


def _scores(
    predictions: Sequence[np.ndarray], label: np.ndarray, metric_set: str, class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Metric -> (predictions,)."""
    sums = MetricSums(metric_set, np.stack(predictions), label, class_names)
    scores = sums.scores(sums.terms.sum(axis=0)).round(DECIMALS)  # as evaluate rounds a run's
    return {name: scores[:, place] for place, name in enumerate(sums.names)}


def _spread(values: np.ndarray) -> list[float | None]:
    found = Spread.of(values.tolist(), DECIMALS)
    return [found.mean, found.sd]


def mean_internals(found: Sequence[Internals]) -> Internals:
    """Means over runs; of what all of them have."""
    first = found[0]
    return {
        name: {
            m: round(float(np.mean([one[name][m] for one in found])), DECIMALS)
            for m in by_modality
            if all(m in one.get(name, {}) for one in found)
        }
        for name, by_modality in first.items()
    }
