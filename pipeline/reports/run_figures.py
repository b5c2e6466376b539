"""What the results page draws of one run: each picture with words for those who cannot see it.

They are as wide as a phone. Every picture has a title: its caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.vocabulary import TEST
from pipeline.evaluation.saved import SavedRun
from pipeline.evaluation.tasks import intensity_classes
from pipeline.params.explain import some_of
from pipeline.reports.blocks import Picture
from pipeline.reports.figures import (
    COLOURS,
    LINES,
    MARKERS,
    confusion,
    fill_confusion,
    line_style,
    new_figure,
    png_picture,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.4, 3.3  # inches
DPI = 140
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
FILLS = ("#4D4D4D", "#E69F00", "#9AD0F5", "#009E73", "#CC79A7", "#F0E442", "#FFFFFF")  # by lightness too
STYLE_OF = {"text": 2, "audio": 1, "visual": 3, "joint": 0}  # modality -> colour and marker
FLAT = 1e-4  # of its values: what varies less is flat
MOST_NAMED = 12  # groups of bars whose numbers are said in words
RANGES = 6  # of labels


def run_figures(
    run: SavedRun, views: dict[str, Any] | None, span: tuple[float, float], whole: bool
) -> list[Picture]:
    """The pictures of a run: losses and predictions, of a `whole` run its diagnostics and views too; of
    imported predictions these alone.

    `span` is the label range of a regression.
    """
    terms: dict[str, float] = {} if views is None else views["terms"]
    epoch = run.result.epoch
    if epoch is None:  # it was imported, and has no curves
        return _prediction_figures(run, span)
    found = [draw_terms(run, terms, epoch), *_prediction_figures(run, span)]
    if not whole:
        return found
    found += draw_diagnostics(run.curves, list(terms), epoch)
    return found + (_view_figures(run, views) if views else [])


def _prediction_figures(run: SavedRun, span: tuple[float, float]) -> list[Picture]:
    tested, class_names = run.predictions[TEST], run.result.class_names
    label, prediction = tested.label, tested.prediction
    true, guessed, names = classes_of(label, prediction, run.result.metric_set, class_names)
    counts = confusion(true, guessed, len(names))
    matrix = draw_confusion(counts, names)
    if class_names:
        missed = [1 - counts[i, i] / n if (n := counts[i].sum()) else None for i in range(len(names))]
        groups = [f"{name}\nn = {counts[i].sum()}" for i, name in enumerate(names)]
        unit = "share of the class that was missed"
        return [matrix, draw_bars("Error by class", unit, groups, {"test clips": missed})]
    groups, errors = error_by_range(label, prediction, span)
    unit = "mean absolute error (label units)"
    bars = draw_bars("Error by label range", unit, groups, {"test clips": errors})
    return [draw_scatter(label, prediction, span), matrix, bars]


def _view_figures(run: SavedRun, views: dict[str, Any]) -> list[Picture]:
    found = []
    for panel in views["panels"]:
        content = {name: value for name, value in panel.items() if name != "kind"}
        content["title"] += ", test split"
        found.append((draw_bars if panel["kind"] == "bars" else draw_histogram)(**content))
    for drawn in views["maps"]:
        ways = ("sentiment", "modality") if len(drawn["parts"]) > 1 else ("sentiment",)
        found += [draw_map(drawn, by, run.result.class_names) for by in ways]
    return found


def classes_of(
    label: np.ndarray, prediction: np.ndarray, metric_set: str, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """True and predicted class (clips,) int, and the classes' names; scores as the metric set bins them."""
    if class_names:
        return label.astype(int), prediction.astype(int), class_names
    (true, names), (guessed, _) = (intensity_classes(values, metric_set) for values in (label, prediction))
    return true, guessed, names


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


# --------------------------------------------------------------------------------------------------- curves
def draw_terms(run: SavedRun, terms: dict[str, float], epoch: int) -> Picture:
    """A panel a loss term (`terms`: their weights), and the validation loss; the chosen epoch is marked.

    Each term's share there is that of its weighted absolute value in the sum of all of them.
    """
    curves = run.curves
    epochs, last = [int(row["epoch"]) for row in curves], curves[epoch - 1]
    unit = "cross-entropy" if run.result.class_names else "MAE"
    sizes = {name: abs(weight * last[name]) for name, weight in terms.items() if name in last}
    whole = sum(sizes.values()) or 1.0
    shown = {name: f"{name}: weight {terms[name]:g}, {size / whole:.1%}" for name, size in sizes.items()}
    shown |= {"total": "weighted sum", "valid_loss": f"validation, {unit}"}
    rows = (len(shown) + 1) // 2
    with _figure(1.25 * rows + 0.4) as figure:
        panels = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
        for panel, (name, title) in zip(panels, shown.items(), strict=False):
            panel.plot(epochs, [row[name] for row in curves], color="black", linewidth=1.1)
            panel.plot([epoch], [last[name]], "o", color=COLOURS[1], markersize=5)
            panel.set_title(title, fontsize="small")
            panel.tick_params(labelsize="x-small")
            panel.locator_params(nbins=4)
            panel.margins(y=0.15)
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        shares = "; %: the term's share of the loss there" if sizes else ""
        figure.supxlabel(f"epoch (dot: the chosen one{shares})", fontsize="small")
        said = ", ".join(
            f"{name} {last[name]:.3g}"
            + (f" ({sizes[name] / whole:.1%} of the loss)" if name in sizes else "")
            for name in shown
        )
        said = f"Learning curves over {len(curves)} epochs; at epoch {epoch}: {said}."
        return _drawn(figure, "Loss terms" if terms else "Losses", said)


def draw_diagnostics(curves: list[dict[str, float]], terms: Sequence[str], epoch: int) -> list[Picture]:
    """What a method measured of itself in each epoch, a panel a group; nothing where it measured nothing."""
    groups: dict[str, list[str]] = {}
    for name in curves[0]:
        if name not in (*terms, "epoch", "total", "valid_loss", "lr"):
            groups.setdefault(name.rpartition("/")[0] or name, []).append(name)
    if not groups:
        return []
    with _figure(1.75 * len(groups) + 0.3) as figure:
        panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True).ravel()
        for panel, (title, names) in zip(panels, groups.items(), strict=True):
            for number, name in enumerate(names):
                panel.plot(
                    [int(row["epoch"]) for row in curves],
                    [row[name] for row in curves],
                    **{**line_style(number), "marker": ""},
                    linewidth=1.1,
                    label=name.rpartition("/")[2],
                )
            panel.axvline(epoch, color="0.6", linewidth=0.8, linestyle=":")
            panel.set_title(title.replace("/", ", "), fontsize="small", loc="left")
            panel.tick_params(labelsize="x-small")
            panel.locator_params(nbins=5)
            panel.ticklabel_format(useOffset=False)
            low, high = panel.get_ylim()
            largest = max(abs(low), abs(high))
            if high - low < FLAT * largest:  # rounding errors are not blown up to a curve
                middle = (low + high) / 2
                panel.set_ylim(middle - largest / 10, middle + largest / 10)
            if len(names) > 1:
                beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1.05), "handlelength": 3}
                panel.legend(frameon=False, fontsize="x-small", **beside)
        panels[-1].set_xlabel("epoch (dotted: the chosen one)", fontsize="small")
        last = curves[epoch - 1]
        said = "; ".join(f"{name} {last[name]:.3g}" for names in groups.values() for name in names)
        said = f"What the method measured in training, means over batches; at the end: {said}."
        return [_drawn(figure, "Measured in training", said)]


# ---------------------------------------------------------------------------------------------- predictions
def draw_scatter(label: np.ndarray, prediction: np.ndarray, span: tuple[float, float]) -> Picture:
    """Predictions over labels, in the label's unit."""
    low, high = min(span[0], prediction.min()), max(span[1], prediction.max())
    margin = 0.05 * (high - low)
    limits = (low - margin, high + margin)
    with _figure(HEIGHT) as figure:
        panel = figure.subplots()
        panel.plot(limits, limits, color="0.5", linestyle="--", linewidth=1, label="prediction = label")
        size, alpha = (22, 1.0) if len(label) < 200 else (6, 0.5)
        panel.scatter(
            label, prediction, s=size, marker="o", facecolors="none", edgecolors="black", alpha=alpha
        )
        panel.set(xlim=limits, ylim=limits, aspect="equal", ylabel="prediction (label units)")
        panel.set_xlabel(f"label ({span[0]:g} to {span[1]:g})")
        panel.legend(frameon=False, fontsize="small")
        said = f"{len(label)} test clips; mean absolute error {np.abs(prediction - label).mean():.3f}"
        return _drawn(figure, "Predicted against true", f"Predicted against true scores of {said}.")


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Picture:
    """Rows: labels, columns: predictions."""
    with _figure(HEIGHT + 0.2) as figure:
        fill_confusion(figure.subplots(), counts, names)
        said = f"{counts.sum()} test clips, classes {', '.join(names)}: {np.trace(counts)} on the diagonal"
        return _drawn(figure, "Confusion matrix", f"Confusion matrix of {said}. Rows are labels.")


def draw_bars(
    title: str,
    unit: str,
    groups: Sequence[str],
    series: dict[str, list[float | None]],
    references: dict[str, float] | None = None,
) -> Picture:
    """Horizontal bars with their numbers, by group and series; references are dashed lines."""
    height = 0.8 / len(series)
    with _figure(max(1.6, 0.8 + 0.28 * len(groups) * max(1.0, 0.75 * len(series)))) as figure:
        panel = figure.subplots()
        for number, (name, values) in enumerate(series.items()):
            places = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * height
            lengths = [0.0 if value is None else value for value in values]
            fill = "0.6" if len(series) == 1 else FILLS[number % len(FILLS)]
            bars = panel.barh(
                places, lengths, height, color=fill, edgecolor="black", linewidth=0.6, label=name,
                hatch=HATCHES[number % len(HATCHES)],
            )  # fmt: skip
            texts = ["none" if value is None else f"{value:.3f}" for value in values]
            panel.bar_label(bars, texts, padding=3, fontsize="small")
        for name, value in (references or {}).items():
            panel.axvline(value, color="black", linestyle="--", linewidth=1, label=f"{name}: {value:.3f}")
        panel.set_yticks(range(len(groups)), groups, fontsize="small")
        panel.invert_yaxis()
        below = any(value is not None and value < 0 for values in series.values() for value in values)
        panel.margins(x=0.26 if below else 0.16)  # room for the numbers
        panel.set_xlabel(unit)
        if len(series) > 1 or references:
            figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize="small")
        return _drawn(figure, title, f"{unit}: {_in_words(groups, series)}.")


def _in_words(groups: Sequence[str], series: dict[str, list[float | None]]) -> str:
    said = []
    for name, values in series.items():
        known = zip(groups, values, strict=True)
        cells = [f"{group.replace(chr(10), ' ')} {value:.3f}" for group, value in known if value is not None]
        said.append((f"{name}: " if len(series) > 1 else "") + some_of(cells, MOST_NAMED))
    return "; ".join(said)


def draw_histogram(title: str, unit: str, edges: list[float], series: dict[str, list[int]]) -> Picture:
    """Numbers of clips, a line a series."""
    with _figure(2.4) as figure:
        panel = figure.subplots()
        for number, (name, counts) in enumerate(series.items()):
            colour, line = COLOURS[STYLE_OF.get(name, number)], LINES[number % len(LINES)]
            panel.stairs(counts, edges, color=colour, linestyle=line, linewidth=1.5, label=name)
        panel.set(xlabel=unit, ylabel="clips", ylim=(0, None))
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize="small")
        middles = (np.array(edges[:-1]) + edges[1:]) / 2
        means = ", ".join(
            f"{name} about {np.average(middles, weights=counts):.3g}"
            for name, counts in series.items()
            if any(counts)
        )
        return _drawn(figure, title, f"Histogram of {unit}; means: {means}.")


# ----------------------------------------------------------------------------------------------------- maps
def draw_map(drawn: dict[str, Any], by: str, classes: Sequence[str] = ()) -> Picture:
    """Points of a t-SNE, coloured by `modality` or by `sentiment`.

    Full markers are shared representations, hollow ones private. The marker tells the modality, and of
    classes by sentiment the class.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    part, label, x, y = (np.array(drawn[name]) for name in ("part", "label", "x", "y"))
    with _figure(HEIGHT + 0.6) as figure:
        panel = figure.subplots()

        def points(mine: np.ndarray, sign: int, full: bool, name: str | None, colours: Any = None) -> None:
            edges = COLOURS[sign % len(COLOURS)] if colours is None else colours
            panel.scatter(
                x[mine],
                y[mine],
                s=26 if len(part) < 400 else 9,
                marker=MARKERS[sign % len(MARKERS)],
                edgecolors=edges,
                facecolors=edges if full else "none",
                linewidths=1.2,
                label=name,
            )

        shades = None
        if by == "sentiment" and not classes:  # lightness rises with the label
            scale = ScalarMappable(Normalize(label.min(), label.max()), "cividis")
            figure.colorbar(scale, ax=panel, label="label (its units)", shrink=0.8)
            shades = scale.to_rgba
        for number, entry in enumerate(drawn["parts"]):
            mine, sign, full = part == number, STYLE_OF[entry["modality"]], entry["shared"]
            if shades is not None:
                points(mine, sign, full, None, shades(label[mine]))
                points(np.zeros_like(mine), sign, full, entry["name"], "0.3")  # for the legend
            elif by == "sentiment":
                for index, name in enumerate(classes):
                    points(mine & (label == index), index, full, name if number == 0 else None)
            else:
                points(mine, sign, full, entry["name"])
        panel.set(xticks=[], yticks=[], aspect="equal")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
        names = ", ".join(entry["name"] for entry in drawn["parts"])
        title, said = f"t-SNE of {drawn['title']}", f"{len(part)} points of {names}, coloured by {by}."
        return _drawn(figure, f"{title}, by {by}", f"{title}: {said}")


# --------------------------------------------------------------------------------------------------- making
def _figure(height: float) -> AbstractContextManager[Figure]:
    return new_figure(WIDTH, height, DPI, font__size=9, hatch__linewidth=0.6)


def _drawn(figure: Figure, title: str, alt: str) -> Picture:
    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
    return png_picture(figure, title, alt)
