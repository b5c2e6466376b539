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
from pipeline.reports.blocks import Cell, Table
from pipeline.reports.names import OOD, method_name, metric_name

FIRST = ("mae", "corr", "accuracy", "f1_weighted", "f1_macro")  # metrics, before all others
DECIMALS = 6
DIGITS = 3  # decimals
SORTED = 4  # decimals that a page sorts by: more would change its bytes, and nothing that is seen
EMPTY = Cell("–")

Scores = dict[str, dict[str, Spread]]  # method -> metric -> spread over the seeds


def summarize(runs: dict[str, list[SavedRun]]) -> Scores:
    """Scores of one dataset, from the runs of each method.

    The test metrics; of what was trained here `valid_mae`, or `valid_accuracy` of a classification; where
    there is a second test split, of another distribution, its metrics with `ood_` before their names.
    """
    scores = {}
    for method, of_method in runs.items():
        values: dict[str, list[float]] = {}
        for result in (run.result for run in of_method):
            first = [n for n in (*FIRST, *(f"f1_{name}" for name in result.class_names)) if n in result.test]
            chief = "accuracy" if result.class_names else "mae"
            found = {name: result.test[name] for name in (*first, *sorted(result.test))}
            if chief in result.valid:  # what was imported has none
                found[f"valid_{chief}"] = result.valid[chief]
            found |= {f"{OOD}{name}": value for name, value in result.test_ood.items()}
            for name, value in found.items():
                values.setdefault(name, []).append(value)
        scores[method] = {name: Spread.of(numbers, DECIMALS) for name, numbers in values.items()}
    return scores


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


def results_table(summary: Scores, runs: dict[str, list[SavedRun]], dataset: str) -> ResultsTable:
    """The table of a dataset; `runs` are those of each method."""
    metrics = list(next(iter(summary.values())))
    tests, remarks = _tested(summary, runs, metrics)
    rows = {}
    for method, scores in summary.items():
        paper = paper_figures(method, dataset)
        rows[method] = {
            metric: _cell(found, paper.get(metric), tests.get((method, metric)))
            for metric, found in scores.items()
        }
    floor = next(iter(runs.values()))[0].result.floor
    floors = {name.replace("test_ood_", OOD).removeprefix("test_"): value for name, value in floor.items()}
    return ResultsTable(metrics, rows, floors, remarks)


def paper_figures(method: str, dataset: str) -> dict[str, float]:
    """What the method's paper prints of its full model on the corpus of this name, shares in [0, 1]."""
    for (of, _), table in TABLES.items():
        for row in table.rows if of == method else ():
            if row.method != "" or row.overrides or row.without or row.blocked:
                continue
            for corpus, figures in row.paper.items():
                if plain_name(corpus) == plain_name(dataset):
                    return {m: v if m in NO_SHARES else round(v / 100, 6) for m, v in figures.items()}
    return {}


def _tested(
    summary: Scores, runs: dict[str, list[SavedRun]], metrics: Sequence[str]
) -> tuple[dict[tuple[str, str], Difference], list[str]]:
    """(Best method, metric) -> its difference from the second best, corrected; and what was not tested."""
    contested: dict[tuple[str, ...], list[str]] = {}
    for metric in metrics:
        sign = 1 if lower_is_better(metric) else -1
        means = {method: sign * scores[metric].mean for method, scores in summary.items() if metric in scores}
        if len(means) > 1:
            contested.setdefault(tuple(sorted(means, key=means.__getitem__)[:2]), []).append(metric)
    tests: dict[tuple[str, str], Difference] = {}
    remarks = []
    for (best, second), of_pair in contested.items():
        try:
            entry = compare_runs(f"{best} and {second}", runs[second], runs[best], RESAMPLES, SEED)
        except MsaError as error:
            remarks.append(f"not tested: {error}")
            continue
        remarks += [f"statistics: {remark}" for remark in entry.remarks]
        found = {row.metric: row.test for row in entry.rows}
        tests |= {(best, metric): test for metric in of_pair if (test := found.get(metric)) is not None}
    return dict(zip(tests, corrected([*tests.values()]), strict=True)), [*dict.fromkeys(remarks)]


def _cell(found: Spread, paper: float | None, test: Difference | None) -> Cell:
    best = test is not None and test.shown == "better"
    return Cell(
        f"{found.mean:.{DIGITS}f}",
        f"{found.mean:.{SORTED}f}",
        strong=best,
        mark="†" if best and test is not None and test.shown_for_other_runs else "",
        spread="" if found.sd is None else f"± {found.sd:.{DIGITS}f}",
        paper="" if paper is None else f"{paper:.{DIGITS}f}",
    )


# ----------------------------------------------------------------------------------------------- for a page
def metric_table(table: ResultsTable, metrics: Sequence[str], constant: str, links: str = "") -> Table:
    """These metrics of all methods; the last row is the predictor that knows only the training labels.

    `links`: where the methods' names lead to, before their key. A column that nobody has a number for is left
    out.
    """
    shown = [metric for metric in metrics if any(metric in row for row in table.rows.values())]
    rows = [
        [method_cell(method, links), *(row.get(m, EMPTY) for m in shown)]
        for method, row in table.rows.items()
    ]
    floors = [table.floor.get(metric) for metric in shown]
    if any(value is not None for value in floors):
        known = "knows only the training labels"
        rows.append(
            [Cell(constant, constant, known), *(EMPTY if v is None else number_cell(v) for v in floors)]
        )
    return Table(["method", *map(_head, shown)], rows, sortable=True)


def method_cell(method: str, links: str = "") -> Cell:
    """A method by its name, which says what it is on hover."""
    name = method_name(method)
    return Cell(name.text, name.text, name.why, link=f"{links}{method}" if links else "")


def number_cell(value: float) -> Cell:
    """A number alone."""
    return Cell(f"{value:.{DIGITS}f}", f"{value:.{SORTED}f}")


def signed(value: float) -> str:
    """Three decimals with a sign that is seen; zero has none."""
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text[1:] == "0.000" else text


def interval(low: float, high: float) -> str:
    """`−0.031 to +0.025`."""
    return f"{signed(low)} to {signed(high)}"


def _head(metric: str) -> Cell:
    name = metric_name(metric)
    side, arrow = ("lower", "↓") if lower_is_better(metric) else ("higher", "↑")
    return Cell(f"{name.text}\N{NO-BREAK SPACE}{arrow}", title=f"{name.why}; {side} is better")
