"""Training sets that are the folds of one cross-validation, and what is said of them together."""

from __future__ import annotations

from pipeline.evaluation.saved import Spread
from pipeline.params.params import Params
from pipeline.reports.tables import DECIMALS, OOD, Scores


def fold_name(names: list[str]) -> str:
    """`ravdess-f0 to ravdess-f4, cross-validated`."""
    return f"{names[0]} to {names[-1]}, cross-validated"


def fold_text(names: list[str], params: Params) -> str:
    """What their numbers are."""
    folds = params.assemble[names[0]].protocol.folds
    assert folds is not None
    named = f"{len(names)} of {folds.text} ({', '.join(names)})"
    return f"{named}; mean ± sample standard deviation over the folds, each the mean of its seeds."


def fold_scores(names: list[str], summary: dict[str, Scores]) -> Scores:
    """Of the methods that all folds have: means and deviations over the folds.

    What was imported may be of some folds alone, and has no validation metric.
    """
    first = summary[names[0]]
    metrics = [name for name in next(iter(first.values())) if not name.startswith(OOD)]
    return {
        method: {
            m: Spread.of([summary[name][method][m].mean for name in names], DECIMALS)
            for m in metrics
            if m in scores
        }
        for method, scores in first.items()
        if all(method in summary[name] for name in names)
    }
