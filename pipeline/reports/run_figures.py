"""What is drawn of one method's runs: all seeds together, and the method's own view of the first.

Each picture has words for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.vocabulary import TEST
from pipeline.evaluation.metrics import score_classes, sims_bins
from pipeline.evaluation.saved import SavedRun
from pipeline.params.explain import some_of
from pipeline.reports.figures import (
    COLOURS,
    HEIGHT,
    LINES,
    MARKERS,
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = ("", "///", "\\\\\\", "xx", "--", "++", "||")
FILLS = ("#4D4D4D", "#E69F00", "#9AD0F5", "#009E73", "#CC79A7", "#F0E442", "#FFFFFE")  # by lightness too
STYLE_OF = {"text": 2, "audio": 1, "visual": 3, "joint": 0}  # modality -> colour and marker
SEEDS = ("#000000", "0.55", "0.35", "0.7", "0.45")  # lines of the first seed and the others
MOST_NAMED = 12  # groups of bars whose numbers are said in words
FEW_BARS, MOST_BARS = 4, 10  # that a picture of usual height has room for
MOST_PANELS = {"terms": 4, "diagnostics": 2}  # the same
MOST_POINTS = 600  # of a page's map or scatter: more are one blot, or cells
SHADES = 7  # of labels in a map
RANGES = 6  # of labels
SIMS_NAMES = ("≤ -0.7", "≤ -0.1", "≤ 0.1", "≤ 0.7", "> 0.7")  # classes of acc5
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
    return found + ([] if views is None else _view_drawings(runs[0], views))


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


def _view_drawings(run: SavedRun, views: dict[str, Any]) -> list[Drawing]:
    found, stem = [], _stem(run)
    for number, panel in enumerate(views["panels"]):
        content = {name: value for name, value in panel.items() if name != "kind"}
        if panel["kind"] == "bars":
            classes = run.result.class_names
            if classes and content["groups"] == [str(place) for place in range(len(classes))]:
                content["groups"] = list(classes)  # views name classes by their index
            found.append(draw_bars(f"{stem}-view{number}", **content))
        else:
            found.append(draw_histogram(f"{stem}-view{number}", **content))
    for number, drawn in enumerate(views["maps"]):
        for by in ("sentiment", "group") if len(drawn["parts"]) > 1 else ("sentiment",):
            found.append(draw_map(f"{stem}-map{number}-{by}", drawn, by, run.result.class_names))
    return found


def _stem(run: SavedRun) -> str:
    return f"{run.result.dataset}-{run.result.method}"


# -------------------------------------------------------------------------------------------------- numbers
def classes_of(
    label: np.ndarray, prediction: np.ndarray, metric_set: str, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """True and predicted class (clips,) int, and the classes' names; scores as the metric set bins them."""
    if class_names:
        return label.astype(int), prediction.astype(int), class_names
    if metric_set == "sims":
        return sims_bins(label), sims_bins(prediction), SIMS_NAMES
    true, guessed = (score_classes(values, 3).astype(int) + 3 for values in (label, prediction))  # acc7
    return true, guessed, [str(score) for score in range(-3, 4)]


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


# ---------------------------------------------------------------------------------------------------- views
def draw_bars(
    name: str,
    title: str,
    unit: str,
    groups: Sequence[str],
    series: dict[str, list[float | None]],
    references: dict[str, float] | None = None,
) -> Drawing:
    """Horizontal bars with their numbers, by group and series; references are dashed lines."""

    def paint(figure: Figure) -> None:
        panel, height = figure.subplots(), 0.8 / len(series)
        for number, (of, values) in enumerate(series.items()):
            places = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * height
            lengths = [0.0 if value is None else value for value in values]
            fill = "0.6" if len(series) == 1 else FILLS[number % len(FILLS)]
            bars = panel.barh(
                places, lengths, height, color=fill, edgecolor="black", linewidth=0.6, label=of,
                hatch=HATCHES[number % len(HATCHES)],
            )  # fmt: skip
            texts = ["none" if value is None else _short(value) for value in values]
            panel.bar_label(bars, texts, padding=3, fontsize=SMALL)
        for of, value in (references or {}).items():
            panel.axvline(value, color="black", linestyle="--", linewidth=1, label=f"{of}: {_short(value)}")
        panel.set_yticks(range(len(groups)), groups)
        middle, room = (len(groups) - 1) / 2, max(len(groups), FEW_BARS / len(series)) / 2
        panel.set_ylim(middle + room, middle - room)  # a few bars do not fill the picture
        below = any(value is not None and value < 0 for values in series.values() for value in values)
        panel.margins(x=0.26 if below else 0.16)  # room for the numbers
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel(unit)
        if len(series) > 1 or references:
            figure.legend(loc="outside upper left", ncols=2, frameon=False)

    many = len(groups) * len(series) > MOST_BARS
    alt = f"{unit}: {_in_words(groups, series)}."
    return Drawing(name, title, alt, paint, height=TALL if many else HEIGHT)


def _short(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.3f}"


def _in_words(groups: Sequence[str], series: dict[str, list[float | None]]) -> str:
    said = []
    for name, values in series.items():
        known = zip(groups, values, strict=True)
        cells = [f"{group.replace(chr(10), ' ')} {value:.3f}" for group, value in known if value is not None]
        said.append((f"{name}: " if len(series) > 1 else "") + some_of(cells, MOST_NAMED))
    return "; ".join(said)


def draw_histogram(
    name: str, title: str, unit: str, edges: list[float], series: dict[str, list[int]]
) -> Drawing:
    """Numbers of clips, a line a series."""

    def paint(figure: Figure) -> None:
        panel = figure.subplots()
        for number, (of, counts) in enumerate(series.items()):
            colour, line = COLOURS[STYLE_OF.get(of, number)], LINES[number % len(LINES)]
            panel.stairs(counts, edges, color=colour, linestyle=line, linewidth=1.5, label=of)
        panel.set(xlabel=unit, ylabel="clips", ylim=(0, None))
        panel.locator_params(axis="x", nbins=5)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=3, frameon=False)

    middles = (np.array(edges[:-1]) + edges[1:]) / 2
    means = ", ".join(
        f"{of} about {np.average(middles, weights=counts):.3g}"
        for of, counts in series.items()
        if any(counts)
    )
    return Drawing(name, title, f"Histogram of {unit}; means: {means}.", paint)


def draw_map(name: str, drawn: dict[str, Any], by: str, classes: Sequence[str] = ()) -> Drawing:
    """Points of a t-SNE, coloured by `group` (a representation of one modality) or by `sentiment`.

    Full markers are shared representations, hollow ones private. Groups differ in colour and marker, and so
    do classes; scores in colour alone, whose lightness rises with the label.
    """
    part, label, x, y = (np.array(drawn[key]) for key in ("part", "label", "x", "y"))
    shown = np.unique(np.linspace(0, len(part) - 1, min(len(part), MOST_POINTS)).round().astype(int))
    part, label, x, y = part[shown], label[shown], x[shown], y[shown]
    entries, scores = drawn["parts"], by == "sentiment" and not classes
    edges = np.linspace(label.min(), label.max(), SHADES + 1)
    shade = np.clip(np.searchsorted(edges, label, side="right") - 1, 0, SHADES - 1)

    def paint(figure: Figure) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import BoundaryNorm

        panel = figure.subplots()
        size = 3.2 if len(part) > 200 else 4.5

        def points(mine: np.ndarray, sign: int, full: bool, colour: Any, called: str | None) -> None:
            panel.plot(
                x[mine], y[mine], MARKERS[sign % len(MARKERS)], markersize=size, color=colour,
                markerfacecolor=colour if full else "none", markeredgewidth=0.8, label=called,
            )  # fmt: skip

        for number, entry in enumerate(entries):
            sign, full = STYLE_OF[entry["modality"]], entry["shared"]
            for kind in range(SHADES if scores else len(classes) if by == "sentiment" else 1):
                mine = part == number
                if scores:
                    points(
                        mine & (shade == kind), sign, full, colormaps["cividis"](kind / (SHADES - 1)), None
                    )
                elif by == "sentiment":
                    of = mine & (label == kind)
                    points(
                        of, kind, full, COLOURS[kind % len(COLOURS)], classes[kind] if number == 0 else None
                    )
                else:
                    points(mine, sign, full, COLOURS[sign], entry["name"])
            if scores and len(entries) > 1:
                points(np.zeros_like(part, bool), sign, full, "0.4", entry["name"])  # for the legend
        if scores and edges[0] < edges[-1]:
            shades = ScalarMappable(BoundaryNorm(edges, 256), "cividis")
            ticks = sorted({edges[0], min(max(0.0, edges[0]), edges[-1]), edges[-1]})
            figure.colorbar(shades, ax=panel, label="label", shrink=0.8, format="%.2g", ticks=ticks)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        panel.set_aspect("equal", adjustable="datalim")
        if panel.get_legend_handles_labels()[1]:
            figure.legend(
                loc="outside lower center", ncols=3, frameon=False, columnspacing=1, handletextpad=0.2
            )

    names = ", ".join(entry["name"] for entry in entries)
    said = f"{len(part)} points of {names}, coloured by {by}"
    return Drawing(name, f"Map of {drawn['title']}, by {by}", f"t-SNE of {drawn['title']}: {said}.", paint)
