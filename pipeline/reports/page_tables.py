"""Tables of the results page: cells as text, and as what they are sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reports.report import OOD
from pipeline.reports.tables import Cell, ResultsTable, lower_is_better

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


@dataclass(frozen=True)
class HtmlHead:
    """A heading; `title` explains it, `style` is its class of CSS."""

    text: str
    title: str
    style: str = ""


@dataclass(frozen=True)
class HtmlCell:
    """A cell.

    Attributes
    ----------
    value : what it is sorted by, a number or words; empty = last
    strong, mark : it stands out, with a sign behind it
    paper, spread : the paper's figure, and the standard deviation
    style : class of CSS
    """

    text: str
    value: str
    strong: bool = False
    mark: str = ""
    paper: str = ""
    spread: str = ""
    style: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A table; the first cell of a row names it."""

    head: list[HtmlHead]
    rows: list[list[HtmlCell]]


EMPTY = HtmlCell("–", "")


def metric_table(table: ResultsTable, metrics: Sequence[str], constant: str) -> HtmlTable:
    """These metrics of all methods; the last row is the predictor that knows the training labels alone."""
    rows = [
        [HtmlCell(method, method), *(_cell(row[m]) if m in row else EMPTY for m in metrics)]
        for method, row in table.rows.items()
    ]
    floors = [table.floor.get(metric) for metric in metrics]
    rows.append([HtmlCell(constant, constant), *(EMPTY if v is None else number_cell(v) for v in floors)])
    return HtmlTable([HtmlHead("method", "", "l"), *map(_head, metrics)], rows)


def number_cell(value: float) -> HtmlCell:
    """A number alone."""
    return HtmlCell(f"{value:.{DIGITS}f}", f"{value:.6g}")


def _cell(cell: Cell) -> HtmlCell:
    text = f"{cell.mean:.{DIGITS}f}"
    spread = "" if cell.sd is None else f"± {cell.sd:.{DIGITS}f}"
    paper = "" if cell.paper is None else f"{cell.paper:.{DIGITS}f}"
    return HtmlCell(
        text, f"{cell.mean:.6g}", cell.best, "†" if cell.best_of_other_runs else "", paper, spread
    )


def _head(metric: str) -> HtmlHead:
    plain = metric.removeprefix(OOD)
    meaning = MEANING.get(plain.removeprefix("valid_"), "F1 of this class against all others")
    where = "validation split: " if plain.startswith("valid_") else ""
    lower = lower_is_better(metric)
    side = "lower is better" if lower else "higher is better"
    return HtmlHead(f"{plain.replace('_', ' ')} {'↓' if lower else '↑'}", f"{where}{meaning}; {side}")
