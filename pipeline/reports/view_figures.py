"""What a method shows of itself, as evaluate saved it: bars, histograms and maps of the test split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.params.explain import some_of
from pipeline.reports.figures import (
    COLOURS,
    HEIGHT,
    LINES,
    MARKERS,
    MOST_POINTS,
    SMALL,
    TALL,
    Drawing,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HATCHES = ("", "///", "\\\\\\", "xx", "--", "++", "||")
FILLS = ("#4D4D4D", "#E69F00", "#9AD0F5", "#009E73", "#CC79A7", "#F0E442", "#FFFFFE")  # by lightness too
STYLE_OF = {"text": 2, "audio": 1, "visual": 3, "joint": 0}  # modality -> colour and marker
MOST_NAMED = 12  # groups of bars whose numbers are said in words
FEW_BARS, MOST_BARS = 4, 10  # that a picture of usual height has room for
SHADES = 7  # of labels in a map


def view_drawings(stem: str, views: dict[str, Any], classes: Sequence[str] = ()) -> list[Drawing]:
    """The pictures of a run's views; `stem` begins their names."""
    found = []
    for number, panel in enumerate(views["panels"]):
        content = {name: value for name, value in panel.items() if name != "kind"}
        if panel["kind"] == "bars":
            if classes and content["groups"] == [str(place) for place in range(len(classes))]:
                content["groups"] = list(classes)  # views name classes by their index
            found.append(draw_bars(f"{stem}-view{number}", **content))
        else:
            found.append(draw_histogram(f"{stem}-view{number}", **content))
    for number, drawn in enumerate(views["maps"]):
        for by in ("sentiment", "group") if len(drawn["parts"]) > 1 else ("sentiment",):
            found.append(draw_map(f"{stem}-map{number}-{by}", drawn, by, classes))
    return found


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
        from matplotlib.colors import BoundaryNorm, ListedColormap

        shades = ListedColormap(
            colormaps["cividis"](np.linspace(0.25, 0.95, SHADES))
        )  # seen on dark pages too
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
                    points(mine & (shade == kind), sign, full, shades(kind), None)
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
            scale = ScalarMappable(BoundaryNorm(edges, SHADES), shades)
            ticks = sorted({edges[0], min(max(0.0, edges[0]), edges[-1]), edges[-1]})
            figure.colorbar(scale, ax=panel, label="label", shrink=0.8, format="%.2g", ticks=ticks)
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
