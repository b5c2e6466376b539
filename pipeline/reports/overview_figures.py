"""What is drawn of all methods of a set together: where they stand, how they learnt, what they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.vocabulary import TEST
from pipeline.evaluation.clusters import ClusterCount
from pipeline.evaluation.saved import SavedRun
from pipeline.evaluation.standing import Interval, Standing
from pipeline.reports.figures import (
    COLOURS,
    LINES,
    PAGE,
    PRINTED,
    SMALL,
    Drawing,
    explain,
    fill_confusion,
    limits_of,
    new_figure,
    save_png,
)
from pipeline.reports.names import method_name, metric_name
from pipeline.reports.run_figures import SEEDS, confusion_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOREST, CURVES = 4.9, 7.2  # inches
ROW = 0.175  # inches of a method
FAR = 4.0  # times a usual interval: a difference that is larger is written
LOGARITHMIC = 4.0  # from this ratio of the chosen losses on, the axis is logarithmic
PANEL_ROW = 1.0  # inches of a row of panels

Runs = Mapping[str, Sequence[SavedRun]]  # of each method


def draw_forest(
    name: str,
    standing: Sequence[Standing],
    metric: str,
    floor: float | None,
    called: str,
    clusters: ClusterCount,
) -> Drawing:
    """Each method's metric with its interval and its seeds, and how far it is from the best.

    Parameters
    ----------
    floor, called : what a predictor that knows only the training labels reaches, and its name
    clusters : of the test clips
    """
    words, of = metric_name(metric), clusters.text

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
        near, far = _near(standing)
        for place, one in enumerate(standing):
            _interval(left, place, one.score)
            left.plot(one.seeds, [place] * len(one.seeds), "|", color="0.45", markersize=6, zorder=1)
            if one.from_best is not None:
                found, low, high = one.from_best
                if near <= found <= far:
                    _interval(right, place, one.from_best, full=low > 0 or high < 0)
                else:
                    _beyond(right, place, found, near, far)
            else:
                right.plot([0], [place], "D", color="black", markersize=4)
        if floor is not None:
            left.axvline(floor, color=COLOURS[1], linestyle="--", linewidth=0.9)
            left.set_title(f"dashed: {called}, {floor:.3f}", fontsize=SMALL, color=COLOURS[1])
        right.set_xlim(near, far)
        right.axvline(0, color="0.5", linewidth=0.8)
        names = [method_name(one.method) for one in standing]
        left.set_yticks(range(len(standing)), [found.text for found in names])
        for label, name_of in zip(left.get_yticklabels(), names, strict=True):
            explain(label, name_of.why)
        left.set_ylim(len(standing) - 0.4, -0.6)
        left.set_xlabel(words.text)
        right.set_xlabel("difference from the best")
        for panel in (left, right):
            panel.tick_params(axis="y", length=0)
            panel.locator_params(axis="x", nbins=4)
            panel.spines["left"].set_visible(False)

    said = "; ".join(f"{method_name(one.method).text} {_in_words(one.score)}" for one in standing)
    alt = f"{words.text} of {len(standing)} methods with 95 % intervals over {of}, best first: {said}."
    few = " (too few)" if clusters.warning else ""
    title = f"{words.text} of each method, 95 % interval over {of}{few}"
    height = 0.75 + ROW * max(len(standing), 4)
    return Drawing(name, title, alt, paint, FOREST, height)


def _near(standing: Sequence[Standing]) -> tuple[float, float]:
    """Limits of the differences: those of methods far behind are written, not drawn."""
    known = [one.from_best for one in standing if one.from_best is not None]
    if not known:
        return -1.0, 1.0
    typical = float(np.median([high - low for _, low, high in known])) or 0.01
    drawn = [found for found in known if abs(found[0]) <= FAR * typical] or known
    ends = [0.0, *(end for found in drawn for end in found)]
    room = 0.08 * (max(ends) - min(ends)) or 0.01
    return min(ends) - room, max(ends) + room


def _beyond(panel: Axes, place: int, found: float, near: float, far: float) -> None:
    """The difference of a method that is outside the axis, at its edge."""
    text, side, at = (f"◂ {found:.3f}", "left", near) if found < near else (f"{found:.3f} ▸", "right", far)
    panel.text(at, place, text, ha=side, va="center", fontsize=SMALL)


def _interval(panel: Axes, place: int, found: Interval, full: bool = True) -> None:
    middle, low, high = found
    panel.plot([low, high], [place, place], color="black", linewidth=1.1, solid_capstyle="butt")
    fill = "black" if full else "white"
    panel.plot([middle], [place], "o", color="black", markerfacecolor=fill, markersize=4, markeredgewidth=0.9)


def _in_words(found: Interval) -> str:
    middle, low, high = found
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def draw_curves(name: str, methods: Runs) -> Drawing:
    """A panel a method: the validation loss of all its runs; in grey that of the method with the lowest."""
    learnt = {method: [run for run in runs if run.curves] for method, runs in methods.items()}
    learnt = {method: runs for method, runs in learnt.items() if runs}
    longer = {method: runs for method, runs in learnt.items() if any(len(run.curves) > 1 for run in runs)}
    learnt = longer or learnt  # a fit in closed form is one point
    title = "Validation loss, one line per run (grey: the method with the lowest)"
    if not learnt:
        none = "No method has learning curves: all predictions were imported"
        return Drawing(name, title, f"{none}.", lambda figure: _say(figure, none), CURVES, PANEL_ROW)
    first = next(iter(learnt.values()))[0].result
    unit = "cross-entropy (nats)" if first.class_names else "MAE (label units)"
    columns = _columns(len(learnt))
    rows = -(-len(learnt) // columns)

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        reached = {method: [min(_losses(run)) for run in runs] for method, runs in learnt.items()}
        best = min(reached, key=lambda method: float(np.mean(reached[method])))
        chosen = [loss for losses in reached.values() for loss in losses]
        everything = [value for runs in learnt.values() for run in runs for value in _losses(run)]
        top = min(1.05 * max(everything), 1.3 * max(float(np.percentile(everything, 90)), *chosen))
        logarithmic = min(everything) > 0 and max(chosen) > LOGARITHMIC * min(chosen)
        low = 0.8 * min(everything) if logarithmic else min(0.0, min(everything))
        longest = max(len(run.curves) for runs in learnt.values() for run in runs)
        for panel, (method, runs) in zip(panels, learnt.items(), strict=False):
            panel.plot(*_mean_curve(learnt[best]), color="0.7", linewidth=2.5, alpha=0.6)
            for number, run in reversed([*enumerate(runs)]):
                colour, line = SEEDS[number % len(SEEDS)], LINES[number % len(LINES)]
                epochs = range(1, len(run.curves) + 1)
                panel.plot(epochs, _losses(run), color=colour, linestyle=line, linewidth=0.9)
                epoch = run.result.epoch or 1
                panel.plot([epoch], [_losses(run)[epoch - 1]], "o", color=COLOURS[1], markersize=3)
            called = method_name(method)
            explain(panel.set_title(called.text, fontsize=SMALL, pad=2), called.why)
            if logarithmic:
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(
                    LogLocator(subs=(1.0, 3.0) if top > 30 * low else (1.0, 2.0, 5.0))
                )
                panel.yaxis.set_major_formatter("{x:g}")
                panel.yaxis.set_minor_locator(NullLocator())
            else:
                panel.locator_params(axis="y", nbins=4)
            panel.set(xlim=(0, longest + 1), ylim=(low, top))
            panel.locator_params(axis="x", nbins=4)
        for panel in panels[len(learnt) :]:
            panel.set_axis_off()
        for panel in panels[max(len(learnt) - columns, 0) : len(learnt)]:
            panel.tick_params(labelbottom=True)
        figure.supxlabel("epoch (dot: the chosen one)", fontsize=SMALL)
        figure.supylabel(unit, fontsize=SMALL)

    said = "; ".join(
        f"{method_name(method).text} {min(min(_losses(run)) for run in runs):.3g}"
        for method, runs in learnt.items()
    )
    alt = f"Validation loss ({unit}) over epochs of {len(learnt)} methods, one line per run; lowest: {said}."
    return Drawing(name, title, alt, paint, CURVES, 0.5 + PANEL_ROW * max(rows, 2))


def _say(figure: Figure, words: str) -> None:
    figure.text(0.5, 0.5, words, ha="center", va="center")


def _columns(count: int) -> int:
    """Panels beside each other: as many as leave the fewest places empty."""
    if count <= 3:
        return count
    return min(
        (3, 4, 5, 6) if count <= 12 else (6, 5),
        key=lambda columns: (-count % columns, abs(count / columns - 3)),
    )


def _losses(run: SavedRun) -> list[float]:
    return [row["valid_loss"] for row in run.curves]


def _mean_curve(runs: Sequence[SavedRun]) -> tuple[range, list[float]]:
    """Mean of the runs over the epochs that all of them have."""
    shortest = min(len(run.curves) for run in runs)
    means = np.mean([_losses(run)[:shortest] for run in runs], axis=0)
    return range(1, shortest + 1), means.tolist()


def draw_predictions(name: str, methods: Runs, span: tuple[float, float]) -> Drawing:
    """A panel a method: mean predictions over the seeds beside labels, or the confusion of all seeds."""
    columns = _columns(len(methods))
    rows = -(-len(methods) // columns)
    classes = next(iter(methods.values()))[0].result.class_names

    def paint(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (method, runs) in zip(panels, methods.items(), strict=False):
            if classes:
                fill_confusion(panel, *confusion_of(runs))
                panel.set(xlabel="", ylabel="")
            else:
                _scatter(panel, runs, span)
            panel.set_title(method_name(method).text, fontsize=SMALL, pad=2)
        for panel in panels[len(methods) :]:
            panel.set_axis_off()
        figure.supxlabel("prediction" if classes else "label", fontsize=SMALL)
        figure.supylabel("label" if classes else "mean prediction of the seeds", fontsize=SMALL)

    shown = "Confusion of all seeds" if classes else "Predicted against true, mean over the seeds"
    return Drawing(
        name, shown, f"{shown}, of {len(methods)} methods.", paint, PAGE, 0.6 + rows * PAGE / columns
    )


def _scatter(panel: Axes, runs: Sequence[SavedRun], span: tuple[float, float]) -> None:
    label = runs[0].predictions[TEST].label
    prediction = np.mean([run.predictions[TEST].prediction for run in runs], axis=0)
    ends = limits_of([*span, *prediction])
    panel.plot(ends, ends, color="0.5", linestyle="--", linewidth=0.8)
    marks: dict[str, Any] = {"markersize": 3, "markerfacecolor": "none", "markeredgewidth": 0.6}
    if len(label) > 200:
        marks = {"markersize": 1.2, "alpha": 0.5}
    panel.plot(label, prediction, "o", color="black", **marks)
    panel.set(xlim=ends, ylim=ends, aspect="equal")
    panel.locator_params(nbins=4)


def write_png(drawings: Mapping[str, Drawing], path: Path) -> None:
    """Drawings of several sets below each other, each with its set's name, as one picture."""
    heights = [drawing.height + 0.3 for drawing in drawings.values()]
    width = max(drawing.width for drawing in drawings.values())
    with new_figure(width, sum(heights), **PRINTED) as figure:
        parts = figure.subfigures(len(drawings), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, (called, drawing) in zip(parts, drawings.items(), strict=True):
            part.suptitle(f"{called}: {drawing.title[0].lower()}{drawing.title[1:]}")
            drawing.paint(part)
        save_png(figure, path)
