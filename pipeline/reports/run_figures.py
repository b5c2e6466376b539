"""What is drawn of one method's runs: all seeds together, and the method's own view of the first.

Each picture has words for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.vocabulary import TEST
from pipeline.evaluation.saved import SavedRun
from pipeline.evaluation.tasks import intensity_classes
from pipeline.reports.figures import (
    COLOURS,
    HEIGHT,
    LINES,
    MOST_POINTS,
    SMALL,
    TALL,
    Drawing,
    confusion,
    explain,
    fill_confusion,
    limits_of,
    line_style,
)
from pipeline.reports.names import diagnostic_groups, plain, term_name
from pipeline.reports.view_figures import draw_bars, view_drawings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEEDS = ("#000000", "0.55", "0.35", "0.7", "0.45")  # lines of the first seed and the others
MOST_PANELS = {"terms": 4, "diagnostics": 2}  # the same
RANGES = 6  # of labels
NO_TERMS = ("epoch", "total", "valid_loss", "lr")  # columns of curves that are no terms


def method_drawings(
    runs: Sequence[SavedRun], views: dict[str, Any] | None, span: tuple[float, float]
) -> list[Drawing]:
    """Losses, predictions, diagnostics and views of a method; of imported predictions these alone.

    Parameters
    ----------
    runs : by seed
    views : of the first, None where there are none
    span : label range of a regression
    """
    found = (
        [] if runs[0].result.epoch is None else [draw_terms(runs, {} if views is None else views["terms"])]
    )
    found += prediction_drawings(runs, span)
    if runs[0].result.epoch is None:
        return found
    found += draw_diagnostics(runs[0], [] if views is None else list(views["terms"]))
    return found + ([] if views is None else view_drawings(_stem(runs[0]), views, runs[0].result.class_names))


def prediction_drawings(runs: Sequence[SavedRun], span: tuple[float, float]) -> list[Drawing]:
    """Predictions beside labels, over all seeds."""
    first, label = runs[0].result, runs[0].predictions[TEST].label
    predictions = np.stack([run.predictions[TEST].prediction for run in runs])
    stem = _stem(runs[0])
    counts, names = confusion_of(runs)
    matrix = draw_confusion(f"{stem}-confusion", counts, names, len(runs))
    over = f", mean over {len(runs)} seeds" if len(runs) > 1 else ""
    if first.class_names:
        missed = [1 - counts[i, i] / n if (n := counts[i].sum()) else None for i in range(len(names))]
        groups = [f"{name}\nn = {counts[i].sum() // len(runs)}" for i, name in enumerate(names)]
        unit = f"share of the class that was missed{over}"
        return [matrix, draw_bars(f"{stem}-errors", "Error by class", unit, groups, {"test clips": missed})]
    groups, errors = error_by_range(label, predictions, span)
    unit = f"mean absolute error (label units){over}"
    bars = draw_bars(f"{stem}-errors", "Error by label range", unit, groups, {"test clips": errors})
    return [draw_scatter(f"{stem}-scatter", label, predictions, span), matrix, bars]


def _stem(run: SavedRun) -> str:
    return f"{run.result.dataset}-{run.result.method}"


# -------------------------------------------------------------------------------------------------- numbers
def classes_of(
    label: np.ndarray, prediction: np.ndarray, metric_set: str, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """True and predicted class (clips,) int, and the classes' names; scores as the metric set bins them."""
    if class_names:
        return label.astype(int), prediction.astype(int), class_names
    (true, names), (guessed, _) = (intensity_classes(values, metric_set) for values in (label, prediction))
    return true, guessed, names


def confusion_of(runs: Sequence[SavedRun]) -> tuple[np.ndarray, Sequence[str]]:
    """Clips of each true (row) and predicted (column) class, of all runs, and the classes' names."""
    label, prediction = (
        np.concatenate([getattr(run.predictions[TEST], side) for run in runs])
        for side in ("label", "prediction")
    )
    first = runs[0].result
    true, guessed, names = classes_of(label, prediction, first.metric_set, first.class_names)
    return confusion(true, guessed, len(names)), names


def error_by_range(
    label: np.ndarray, predictions: np.ndarray, span: tuple[float, float]
) -> tuple[list[str], list[float | None]]:
    """Names of ranges of the label, with their clips, and the mean absolute error in each; None: no clips.

    `label` (clips,), `predictions` (runs, clips). A label between two ranges belongs to the upper one, the
    largest to the last.
    """
    edges = np.linspace(*span, RANGES + 1).round(6)
    places = np.searchsorted(edges[1:-1], label.round(6), side="right")
    names, errors = [], []
    for place in range(RANGES):
        mine = places == place
        names.append(f"{edges[place]:.3g} to {edges[place + 1]:.3g}\nn = {mine.sum()}")
        errors.append(float(np.abs(predictions - label)[:, mine].mean()) if mine.any() else None)
    return names, errors


# --------------------------------------------------------------------------------------------------- curves
def draw_terms(runs: Sequence[SavedRun], terms: dict[str, float]) -> Drawing:
    """A panel a loss term (`terms`: their weights), and the validation loss; chosen epochs are marked.

    Each term's share is that of its weighted absolute value in the sum of all, at the first's chosen epoch.
    """
    first = runs[0]
    method, epoch = first.result.method, first.result.epoch or 1
    last = first.curves[epoch - 1]
    sizes = {name: abs(weight * last[name]) for name, weight in terms.items() if name in last and weight}
    whole = sum(sizes.values()) or 1.0
    notes = {name: f"× {terms[name]:g}, {size / whole:.0%} of the loss" for name, size in sizes.items()}
    unit = "cross-entropy (nats)" if first.result.class_names else "MAE (label units)"
    shown = [*sizes, *(["total"] if len(sizes) != 1 else []), "valid_loss"]
    notes |= {"total": "of all terms", "valid_loss": unit}

    def paint(figure: Figure) -> None:
        rows = (len(shown) + 1) // 2
        panels = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
        for panel, name in zip(panels, shown, strict=False):
            _draw_seeds(panel, runs, name)
            called = term_name(name, method)
            explain(panel.set_title(f"{called.text}\n{notes[name]}", fontsize=SMALL), called.why)
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
            panels[len(shown) - 2].tick_params(labelbottom=True)
        figure.supxlabel("epoch (dot: the chosen one)", fontsize=SMALL)

    said = ", ".join(
        f"{term_name(name, method).text} {last[name]:.3g}"
        + (f" ({sizes[name] / whole:.1%} of the loss)" if name in sizes else "")
        for name in shown
    )
    seeds = f", {len(runs)} seeds" if len(runs) > 1 else ""
    alt = f"Learning curves over {len(first.curves)} epochs{seeds}; at epoch {epoch}: {said}."
    height = HEIGHT if len(shown) <= MOST_PANELS["terms"] else TALL
    return Drawing(f"{_stem(first)}-losses", "Loss terms" if terms else "Losses", alt, paint, height=height)


def _draw_seeds(panel: Axes, runs: Sequence[SavedRun], name: str) -> None:
    """A curve of every run, the first on top."""
    for number, run in reversed([*enumerate(runs)]):
        if run.result.epoch is None or name not in run.curves[0]:
            continue
        values = [row[name] for row in run.curves]
        colour, line = SEEDS[number % len(SEEDS)], LINES[number % len(LINES)]
        panel.plot([row["epoch"] for row in run.curves], values, color=colour, linestyle=line)
        panel.plot([run.result.epoch], [values[run.result.epoch - 1]], "o", color=COLOURS[1], markersize=3.5)
    values = [row[name] for run in runs for row in run.curves if name in row]
    panel.set_ylim(*limits_of(values))
    panel.locator_params(nbins=4)


def draw_diagnostics(run: SavedRun, terms: Sequence[str]) -> list[Drawing]:
    """What a method measured of itself in each epoch, a panel a group; nothing where it measured nothing."""
    curves, epoch, method = run.curves, run.result.epoch or 1, run.result.method
    groups = diagnostic_groups([name for name in curves[0] if name not in (*terms, *NO_TERMS)])
    groups = {title: names for title, names in groups.items() if len(curves) > 1 or len(names) > 1}
    if not groups:
        return []

    def paint(figure: Figure) -> None:
        columns = 1 if len(groups) <= 4 else 2
        rows = -(-len(groups) // columns)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        known: set[tuple[str, ...]] = set()  # legends that another panel has already
        for panel, (group, names) in zip(panels, groups.items(), strict=False):
            for number, name in enumerate(names):
                style = {**line_style(number), "marker": ""}
                label = plain(name.removeprefix("weight_").rpartition("/")[2])
                panel.plot(
                    [row["epoch"] for row in curves], [row[name] for row in curves], label=label, **style
                )
            panel.axvline(epoch, color="0.6", linewidth=0.8, linestyle=":")
            called = term_name(group, method)
            explain(panel.set_title(called.text, fontsize=SMALL, loc="left"), called.why)
            panel.locator_params(nbins=4)
            panel.ticklabel_format(useOffset=False)
            panel.set_ylim(*limits_of([row[name] for row in curves for name in names]))
            labels = tuple(panel.get_legend_handles_labels()[1])
            if len(names) > 1 and columns == 1:
                panel.legend(loc="upper left", bbox_to_anchor=(1, 1.1), handlelength=2.4, frameon=False)
            elif len(names) > 1 and labels not in known:
                panel.legend(loc="best", handlelength=1.6, frameon=False, ncols=len(names), columnspacing=0.8)
            known.add(labels)
        for panel in panels[len(groups) :]:
            panel.set_axis_off()
        figure.supxlabel("epoch (dotted: the chosen one)", fontsize=SMALL)

    last = curves[epoch - 1]
    said = "; ".join(
        f"{term_name(group, method).text}: "
        + ", ".join(f"{plain(name.rpartition('/')[2])} {last[name]:.3g}" for name in names)
        for group, names in groups.items()
    )
    alt = f"What the method measured in training, means over batches; at the chosen epoch: {said}."
    height = HEIGHT if len(groups) <= MOST_PANELS["diagnostics"] else TALL
    return [Drawing(f"{_stem(run)}-measured", "Measured in training", alt, paint, height=height)]


# ---------------------------------------------------------------------------------------------- predictions
def draw_scatter(name: str, label: np.ndarray, predictions: np.ndarray, span: tuple[float, float]) -> Drawing:
    """Mean predictions of the runs, (runs, clips), over labels, in its unit; of many clips as cells."""
    prediction = predictions.mean(axis=0)
    low, high = min(span[0], prediction.min()), max(span[1], prediction.max())
    margin = 0.05 * (high - low)
    limits = (low - margin, high + margin)

    def paint(figure: Figure) -> None:
        panel = figure.subplots()
        if len(label) > MOST_POINTS // 2:
            box = (*limits, *limits)
            cells = panel.hexbin(
                label, prediction, gridsize=24, extent=box, cmap="Greys", mincnt=1, vmin=0, lw=0.1
            )
            figure.colorbar(cells, ax=panel, label="clips", shrink=0.8)
        else:
            panel.plot(label, prediction, "o", markersize=4, markerfacecolor="none", color="black", mew=0.8)
        panel.plot(limits, limits, color=COLOURS[1], linestyle="--", linewidth=1, label="prediction = label")
        panel.set(xlim=limits, ylim=limits, aspect="equal", ylabel="prediction (label units)")
        panel.set_xlabel(f"label ({span[0]:g} to {span[1]:g})")
        panel.legend(frameon=False, loc="lower right")

    over = f", mean over {len(predictions)} seeds" if len(predictions) > 1 else ""
    error = np.abs(predictions - label).mean()
    alt = f"Predicted against true scores of {len(label)} test clips{over}; mean absolute error {error:.3f}."
    return Drawing(name, f"Predicted against true{over}", alt, paint)


def draw_confusion(name: str, counts: np.ndarray, classes: Sequence[str], seeds: int = 1) -> Drawing:
    """Rows: labels, columns: predictions."""
    over = f", {seeds} seeds" if seeds > 1 else ""
    said = (
        f"{counts.sum()} test clips{over}, classes {', '.join(classes)}: {np.trace(counts)} on the diagonal"
    )
    alt = f"Confusion matrix of {said}. Rows are labels; darker is a larger share of the row."
    return Drawing(
        name, f"Confusion{over}", alt, lambda figure: fill_confusion(figure.subplots(), counts, classes)
    )
