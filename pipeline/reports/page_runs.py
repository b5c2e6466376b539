"""What the results page shows of one run: its pictures in order, and its worst clips."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.reports import page_figures as figures
from pipeline.reports.page_figures import Picture
from pipeline.reports.page_tables import HtmlCell, HtmlHead, HtmlTable, number_cell
from pipeline.reports.report import Scored

RANGES = 6  # of labels
SIMS_EDGES = [-0.7, -0.1, 0.1, 0.7]  # acc5 of the metric set sims: bins closed on the right
SIMS_NAMES = ("≤ -0.7", "≤ -0.1", "≤ 0.1", "≤ 0.7", "> 0.7")
BESIDE = {"epoch", "total", "valid_loss", "lr"}  # columns of curves that are no term


def run_figures(
    run: Scored, views: dict[str, Any] | None, span: tuple[float, float]
) -> list[tuple[str, Picture]]:
    """Captions and pictures of a run.

    Parameters
    ----------
    views : of inspect, None where there are none
    span : smallest and largest label of a regression
    """
    epoch = run.result["epoch"]
    if views is not None:
        terms: dict[str, float] = views["terms"]
        found = [("Loss terms", figures.draw_terms(run.curves, terms, epoch, _unit(run)))]
        measured = figures.draw_diagnostics(run.curves, list(terms), epoch)
    else:
        found = [("Losses", figures.draw_terms(run.curves, {}, epoch, _unit(run)))]
        measured = figures.draw_diagnostics(run.curves, (), epoch)
    found += _prediction_figures(run, span)
    if measured is not None:
        found.append(("Measured in training", measured))
    return found + (_view_figures(run, views) if views is not None else [])


def _unit(run: Scored) -> str:
    return "cross-entropy" if run.class_names else "MAE"


def _prediction_figures(run: Scored, span: tuple[float, float]) -> list[tuple[str, Picture]]:
    label, prediction = np.array(run.labels), np.array(run.predictions)
    true, guessed, names = classes_of(label, prediction, run.result["metric_set"], run.class_names)
    counts = confusion(true, guessed, len(names))
    matrix = ("Confusion matrix", figures.draw_confusion(counts, names))
    if run.class_names:
        missed = [1 - counts[i, i] / n if (n := counts[i].sum()) else None for i in range(len(names))]
        groups = [f"{name}\nn = {counts[i].sum()}" for i, name in enumerate(names)]
        bars = figures.draw_bars(groups, {"test clips": missed}, "share of the class that was missed")
        return [matrix, ("Error by class", bars)]
    groups, errors = error_by_range(label, prediction, span)
    bars = figures.draw_bars(groups, {"test clips": errors}, "mean absolute error (label units)")
    scatter = figures.draw_scatter(label, prediction, span)
    return [("Predicted against true", scatter), matrix, ("Error by label range", bars)]


def _view_figures(run: Scored, views: dict[str, Any]) -> list[tuple[str, Picture]]:
    found = []
    for panel in views["panels"]:
        if panel["kind"] == "bars":
            picture = figures.draw_bars(panel["groups"], panel["series"], panel["unit"], panel["references"])
        else:
            picture = figures.draw_histogram(panel["edges"], panel["series"], panel["unit"])
        found.append((f"{panel['title']}, test split", picture))
    for drawn in views["maps"]:
        for by in ("sentiment", "modality"):
            picture = figures.draw_map(drawn, by, drawn["title"], run.class_names)
            found.append((f"t-SNE of {drawn['title']}, by {by}", picture))
    return found


def classes_of(
    label: np.ndarray, prediction: np.ndarray, metric_set: str, class_names: list[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True and predicted class (clips,) int, and the classes' names; scores as the metric set bins them."""
    if class_names:
        return label.astype(int), prediction.astype(int), class_names
    if metric_set == "sims":
        binned = [np.searchsorted(SIMS_EDGES, x.clip(-1, 1).round(6)) for x in (label, prediction)]
        return binned[0], binned[1], list(SIMS_NAMES)
    rounded = [np.rint(x.clip(-3, 3)).astype(int) + 3 for x in (label, prediction)]  # acc7
    return rounded[0], rounded[1], [str(score) for score in range(-3, 4)]


def confusion(true: np.ndarray, guessed: np.ndarray, classes: int) -> np.ndarray:
    """Clips of each true (row) and predicted (column) class."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (true, guessed), 1)
    return counts


def error_by_range(
    label: np.ndarray, prediction: np.ndarray, span: tuple[float, float]
) -> tuple[list[str], list[float | None]]:
    """Names of ranges of the label, with their clips, and the mean absolute error in each; None: no clips.

    A label between two ranges belongs to the upper one, the largest to the last.
    """
    edges = np.linspace(*span, RANGES + 1).round(6)
    places = np.searchsorted(edges[1:-1], label.round(6), side="right")
    names, errors = [], []
    for place in range(RANGES):
        mine = places == place
        names.append(f"{edges[place]:.3g} to {edges[place + 1]:.3g}\nn = {mine.sum()}")
        errors.append(float(np.abs(prediction - label)[mine].mean()) if mine.any() else None)
    return names, errors


def worst_table(worst: list[dict[str, Any]], class_names: list[str]) -> HtmlTable:
    """The clips with the largest errors, as inspect found them."""
    heads = [
        HtmlHead("clip", "", "l"),
        HtmlHead("label", ""),
        HtmlHead("prediction", ""),
        HtmlHead("error", "cross-entropy (nats)" if class_names else "|prediction - label|, in label units"),
        HtmlHead("transcript", "", "l"),
    ]

    def shown(value: float) -> HtmlCell:
        return HtmlCell(name := class_names[int(value)], name) if class_names else number_cell(value)

    rows = [
        [
            HtmlCell(clip["clip_id"], clip["clip_id"]),
            shown(clip["label"]),
            shown(clip["prediction"]),
            number_cell(clip["error"]),
            HtmlCell(clip["transcript"] or "–", clip["transcript"], style="l said"),
        ]
        for clip in worst
    ]
    return HtmlTable(heads, rows)
