"""The results of one dataset as a table: mean ± sd over seeds, the paper's figures, which best is no chance.

A number stands out only where the method with the best mean differs significantly from the second: statistics
of significance.py, Holm's correction over the dataset's metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.errors import MsaError
from pipeline.evaluation.comparison import compare_runs
from pipeline.evaluation.saved import SavedRun, Spread
from pipeline.evaluation.significance import RESAMPLES, SEED, Difference, corrected, lower_is_better
from pipeline.evaluation.tables import TABLES
from pipeline.evaluation.tables.rows import NO_SHARES, plain_name
from pipeline.reports.blocks import Cell, Head, Table

FIRST = ("mae", "corr", "accuracy", "f1_weighted", "f1_macro")  # metrics, before all others
OOD = "ood_"  # before the names of metrics of a second test split
DECIMALS = 6
DIGITS = 3  # decimals
MEANING = {  # of metrics; metrics.py defines them
    "mae": "mean absolute error, in label units",
    "corr": "Pearson's correlation",
    "acc7": "share of clips whose rounded score, -3 to 3, is the label's",
    "acc5": "share of clips in the label's class of five",
    "acc3": "share of clips in the label's class of three",
    "acc2": "share of clips on the label's side",
    "f1": "F1 of two classes, weighted by true support",
    "acc2_has0": "negative against non-negative, all clips",
    "f1_has0": "F1, negative against non-negative, all clips",
    "acc2_non0": "negative against positive, without labels of 0",
    "f1_non0": "F1, negative against positive, without labels of 0",
    "accuracy": "share of clips whose class is the label",
    "f1_weighted": "mean F1 of the classes, weighted by true support",
    "f1_macro": "plain mean F1 of the classes",
}
EMPTY = Cell("–")


def summarize(runs: Sequence[SavedRun]) -> dict[str, dict[str, dict[str, Spread]]]:
    """{dataset: {method: {metric: its spread over the seeds}}}.

    The test metrics, and `valid_mae`, or `valid_accuracy` of a classification; where there is a second test
    split, of another distribution, its metrics with `ood_` before their names.
    """
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for run in runs:
        result = run.result
        metrics = values.setdefault(result.dataset, {}).setdefault(result.method, {})
        first = [n for n in (*FIRST, *(f"f1_{name}" for name in result.class_names)) if n in result.test]
        for name in [*first, *sorted(n for n in result.test if n not in first)]:
            metrics.setdefault(name, []).append(result.test[name])
        chief = "accuracy" if result.class_names else "mae"
        metrics.setdefault(f"valid_{chief}", []).append(result.valid[chief])
        for name, value in result.test_ood.items():
            metrics.setdefault(f"{OOD}{name}", []).append(value)
    return {
        dataset: {
            method: {metric: Spread.of(numbers, DECIMALS) for metric, numbers in metrics.items()}
            for method, metrics in methods.items()
        }
        for dataset, methods in values.items()
    }


@dataclass(frozen=True)
class ResultsTable:
    """A row a method, of cells of a page.

    A cell stands out where it is significantly better than the second best, for these runs on other clips,
    and has a mark where that is so as a statement on other seeds too; beside it is the figure of the method's
    paper, where that has one of this dataset.

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
    summary: dict[str, dict[str, Spread]],
    runs: dict[str, list[SavedRun]],
    dataset: str,
    floor: dict[str, float],
) -> ResultsTable:
    """The table of a dataset.

    Parameters
    ----------
    summary : method -> metric -> spread, of `summarize`
    runs : method -> its runs
    floor : as evaluate wrote it: `test_mae` and the like
    """
    metrics = list(next(iter(summary.values())))
    tests, remarks = _tested(summary, runs, metrics)
    rows = {}
    for method, scores in summary.items():
        paper = paper_figures(method, dataset)
        rows[method] = {
            metric: _cell(found, paper.get(metric), tests.get((method, metric)))
            for metric, found in scores.items()
        }
    floors = {_floor_metric(name): value for name, value in floor.items()}
    return ResultsTable(metrics, rows, floors, remarks)


def paper_figures(method: str, dataset: str) -> dict[str, float]:
    """What the method's paper prints of its full model on the corpus of this name, shares in [0, 1]."""
    for (of, _), table in TABLES.items():
        for row in table.rows if of == method else ():
            if row.overrides or row.without or row.blocked:
                continue
            for corpus, figures in row.paper.items():
                if plain_name(corpus) == plain_name(dataset):
                    return {m: v if m in NO_SHARES else round(v / 100, 6) for m, v in figures.items()}
    return {}


def _floor_metric(name: str) -> str:
    return name.replace("test_ood_", OOD).removeprefix("test_")


def _tested(
    summary: dict[str, dict[str, Spread]], runs: dict[str, list[SavedRun]], metrics: Sequence[str]
) -> tuple[dict[tuple[str, str], Difference], list[str]]:
    """(Best method, metric) -> its difference from the second best, corrected; and what was not tested."""
    chosen: dict[str, tuple[str, str]] = {}
    for metric in metrics:
        ranked = sorted(
            (method for method in summary if metric in summary[method]),
            key=lambda m, metric=metric: summary[m][metric].mean * (1 if lower_is_better(metric) else -1),  # type: ignore[misc]
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
    tests = {
        (pair[0], metric): known[pair][metric]
        for metric, pair in chosen.items()
        if metric in known.get(pair, {})
    }
    found = corrected([*tests.values()]) if tests else []
    return dict(zip(tests, found, strict=True)), [*dict.fromkeys(remarks)]


def _cell(found: Spread, paper: float | None, test: Difference | None) -> Cell:
    best = test if test is not None and test.shown == "better" else None
    return Cell(
        f"{found.mean:.{DIGITS}f}",
        f"{found.mean:.6g}",
        strong=best is not None,
        mark="†" if best is not None and best.shown_for_other_runs else "",
        spread="" if found.sd is None else f"± {found.sd:.{DIGITS}f}",
        paper="" if paper is None else f"{paper:.{DIGITS}f}",
    )


# ----------------------------------------------------------------------------------------------- for a page
def metric_table(table: ResultsTable, metrics: Sequence[str], constant: str) -> Table:
    """These metrics of all methods; the last row is the predictor that knows the training labels alone."""
    rows = [
        [Cell(method, method), *(row.get(m, EMPTY) for m in metrics)] for method, row in table.rows.items()
    ]
    floors = [table.floor.get(metric) for metric in metrics]
    rows.append([Cell(constant, constant), *(EMPTY if v is None else number_cell(v) for v in floors)])
    return Table([Head("method"), *map(_head, metrics)], rows, sortable=True)


def number_cell(value: float) -> Cell:
    """A number alone."""
    return Cell(f"{value:.{DIGITS}f}", f"{value:.6g}")


def _head(metric: str) -> Head:
    plain = metric.removeprefix(OOD)
    meaning = MEANING.get(plain.removeprefix("valid_"), "F1 of this class against all others")
    where = "validation split: " if plain.startswith("valid_") else ""
    lower = lower_is_better(metric)
    side = "lower is better" if lower else "higher is better"
    return Head(f"{plain.replace('_', ' ')} {'↓' if lower else '↑'}", f"{where}{meaning}; {side}")
