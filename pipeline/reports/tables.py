"""The results of one dataset as a table: mean ± sd over seeds, the paper's figures, which best is no chance.

A number stands out only where the method with the best mean differs significantly from the second: statistics
of significance.py, Holm's correction over the dataset's metrics.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.core.errors import MsaError
from pipeline.evaluation.comparison import compare_runs
from pipeline.evaluation.saved import SavedRun
from pipeline.evaluation.significance import LOWER_IS_BETTER, RESAMPLES, SEED, Difference, corrected
from pipeline.evaluation.tables import TABLES
from pipeline.reports.report import OOD

NO_SHARES = ("mae", "corr")  # all else is printed in percent


@dataclass(frozen=True)
class Cell:
    """A metric of a method.

    Attributes
    ----------
    mean, sd : over the seeds; sd None for one seed
    paper : the paper's figure in our unit, None where it has none of this dataset
    best : significantly better than the second best, for these runs on other clips
    best_of_other_runs : also as a statement on other seeds
    """

    mean: float
    sd: float | None
    paper: float | None = None
    best: bool = False
    best_of_other_runs: bool = False


@dataclass(frozen=True)
class ResultsTable:
    """A row a method.

    Attributes
    ----------
    floor : metric -> what a predictor that knows only the training labels reaches
    remarks : what was not tested, and why
    """

    metrics: list[str]
    rows: dict[str, dict[str, Cell]]
    floor: dict[str, float]
    remarks: list[str]


def results_table(
    summary: dict[str, dict[str, dict[str, Any]]],
    runs: dict[str, list[SavedRun]],
    dataset: str,
    floor: dict[str, float],
) -> ResultsTable:
    """The table of a dataset.

    Parameters
    ----------
    summary : method -> metric -> {mean, sd, n}, as `report.summarize` has it
    runs : method -> its runs
    floor : as evaluate wrote it: `test_mae` and the like
    """
    metrics = list(next(iter(summary.values())))
    rows = {
        method: {
            metric: Cell(found["mean"], found["sd"], paper_figures(method, dataset).get(metric))
            for metric, found in scores.items()
        }
        for method, scores in summary.items()
    }
    tests, remarks = _tested(rows, runs, metrics)
    for metric, (method, test) in tests.items():
        if test.shown == "better":
            best = replace(rows[method][metric], best=True, best_of_other_runs=test.shown_for_other_runs)
            rows[method][metric] = best
    floors = {_floor_metric(name): value for name, value in floor.items()}
    return ResultsTable(metrics, rows, floors, remarks)


def lower_is_better(metric: str) -> bool:
    """Of a metric as the table names it: `mae`, `valid_mae`, `ood_mae` ..."""
    return metric.removeprefix("valid_").removeprefix(OOD) in LOWER_IS_BETTER


def paper_figures(method: str, dataset: str) -> dict[str, float]:
    """What the method's paper prints of its full model on the corpus of this name, shares in [0, 1]."""
    for (of, _), table in TABLES.items():
        for row in table.rows if of == method else ():
            if row.overrides or row.without or row.blocked:
                continue
            for corpus, figures in row.paper.items():
                if _plain(corpus) == _plain(dataset):
                    return {m: v if m in NO_SHARES else round(v / 100, 6) for m, v in figures.items()}
    return {}


def _plain(name: str) -> str:
    """CMU-MOSI, MOSI and mosi are one name."""
    return re.sub(r"^(cmu|ch)-|[^a-z0-9]", "", name.lower())


def _floor_metric(name: str) -> str:
    return name.replace("test_ood_", OOD).removeprefix("test_")


def _tested(
    rows: dict[str, dict[str, Cell]], runs: dict[str, list[SavedRun]], metrics: Sequence[str]
) -> tuple[dict[str, tuple[str, Difference]], list[str]]:
    """Metric -> the best method and its difference from the second, corrected; and what was not tested."""
    chosen: dict[str, tuple[str, str]] = {}
    for metric in metrics:
        ranked = sorted(
            (method for method in rows if metric in rows[method]),
            key=lambda m, metric=metric: rows[m][metric].mean * (1 if lower_is_better(metric) else -1),  # type: ignore[misc]
        )
        if len(ranked) > 1:
            chosen[metric] = (ranked[0], ranked[1])
    known: dict[tuple[str, str], dict[str, Difference]] = {}
    remarks = []
    for best, second in dict.fromkeys(chosen.values()):
        try:
            entry = compare_runs(f"{best} and {second}", runs[second], runs[best], RESAMPLES, SEED)
        except MsaError as error:
            remarks.append(f"not tested: {error}")
            continue
        remarks += [f"statistics: {remark}" for remark in entry.remarks]
        known[best, second] = {row.metric: row.test for row in entry.rows if row.test is not None}
    tests = [
        (metric, pair[0], known[pair][metric])
        for metric, pair in chosen.items()
        if metric in known.get(pair, {})
    ]
    found = corrected([test for *_, test in tests]) if tests else []
    return {metric: (method, test) for (metric, method, _), test in zip(tests, found, strict=True)}, [
        *dict.fromkeys(remarks)
    ]
