"""The pictures of the results page, each as a PNG inside an `img`, with words for those who cannot see it.

They are as wide as a phone. Colours are Okabe and Ito's, and what colour tells, marker, line, hatching or
lightness tell too. Equal numbers give equal bytes: no dates, no versions, matplotlib's own defaults.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.reports.figures import COLOURS, LINES, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.4, 3.3  # inches
DPI = 140
PALETTE = 64  # colours of a PNG; more only make it larger
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
FILLS = ("#4D4D4D", "#E69F00", "#9AD0F5", "#009E73", "#CC79A7", "#F0E442", "#FFFFFF")  # by lightness too
STYLE_OF = {"text": 2, "audio": 1, "visual": 3, "joint": 0}  # modality -> colour and marker
FLAT = 1e-4  # of its values: what varies less is flat
MOST_NAMED = 12  # groups of bars whose numbers are said in words


@dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes
    ----------
    png : base64
    width, height : CSS pixels
    alt : what it shows, in words
    """

    png: str
    width: int
    height: int
    alt: str


# --------------------------------------------------------------------------------------------------- curves
def draw_terms(curves: list[dict[str, float]], terms: dict[str, float], epoch: int, unit: str) -> Picture:
    """A panel a loss term, and the validation loss; the chosen epoch is marked.

    Parameters
    ----------
    terms : name -> weight; curves hold them unweighted
    unit : of the validation loss
    """
    shown = {name: f"{name} (weight {weight:g})" for name, weight in terms.items() if name in curves[0]}
    shown |= {"total": "weighted sum", "valid_loss": f"validation, {unit}"}
    rows = (len(shown) + 1) // 2
    with _figure(1.25 * rows + 0.4) as figure:
        panels = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
        for panel, (name, title) in zip(panels, shown.items(), strict=False):
            epochs, values = _curve(curves, name)
            panel.plot(epochs, values, color="black", linewidth=1.1)
            panel.plot([epoch], [values[epochs.index(epoch)]], "o", color=COLOURS[1], markersize=5)
            panel.set_title(title, fontsize="small")
            panel.tick_params(labelsize="x-small")
            panel.locator_params(nbins=4)
            panel.margins(y=0.15)
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        figure.supxlabel("epoch (dot: the chosen one)", fontsize="small")
        last = curves[epoch - 1]
        said = ", ".join(f"{name} {last[name]:.3g}" for name in shown)
        return _picture(figure, f"Learning curves over {len(curves)} epochs; at epoch {epoch}: {said}.")


def draw_diagnostics(curves: list[dict[str, float]], terms: Sequence[str], epoch: int) -> Picture | None:
    """What a method measured of itself in each epoch, a panel a group; None where it measured nothing."""
    groups: dict[str, list[str]] = {}
    for name in curves[0]:
        if name not in (*terms, "epoch", "total", "valid_loss", "lr"):
            groups.setdefault(name.rpartition("/")[0] or name, []).append(name)
    if not groups:
        return None
    with _figure(1.75 * len(groups) + 0.3) as figure:
        panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True).ravel()
        for panel, (title, names) in zip(panels, groups.items(), strict=True):
            for number, name in enumerate(names):
                epochs, values = _curve(curves, name)
                style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "linewidth": 1.1}
                style["linestyle"] = LINES[(number + number // len(LINES)) % len(LINES)]
                panel.plot(epochs, values, label=name.rpartition("/")[2], **style)
            panel.axvline(epoch, color="0.6", linewidth=0.8, linestyle=":")
            panel.set_title(title.replace("/", ", "), fontsize="small", loc="left")
            panel.tick_params(labelsize="x-small")
            panel.locator_params(nbins=5)
            panel.ticklabel_format(useOffset=False)
            _never_flat(panel)
            if len(names) > 1:
                panel.legend(
                    loc="upper left",
                    bbox_to_anchor=(1, 1.05),
                    frameon=False,
                    fontsize="x-small",
                    handlelength=3,
                )
        panels[-1].set_xlabel("epoch (dotted: the chosen one)", fontsize="small")
        said = "; ".join(
            f"{name} {curves[epoch - 1][name]:.3g}" for names in groups.values() for name in names
        )
        return _picture(
            figure, f"What the method measured in training, means over batches; at the end: {said}."
        )


def _never_flat(panel: Axes) -> None:
    """Rounding errors are not blown up to a curve."""
    low, high = panel.get_ylim()
    if high - low < FLAT * max(abs(low), abs(high)):
        middle, reach = (low + high) / 2, max(abs(low), abs(high)) / 10
        panel.set_ylim(middle - reach, middle + reach)


def _curve(curves: list[dict[str, float]], name: str) -> tuple[list[int], list[float]]:
    return [int(row["epoch"]) for row in curves], [row[name] for row in curves]


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
        mean = np.abs(prediction - label).mean()
        return _picture(
            figure,
            f"Predicted against true scores of {len(label)} test clips; mean absolute error {mean:.3f}.",
        )


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Picture:
    """Rows: labels, columns: predictions; darker is a larger share of the row."""
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    with _figure(HEIGHT + 0.2) as figure:
        panel = figure.subplots()
        panel.imshow(shares, cmap="Greys", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            ink = "white" if shares[row, column] > 0.5 else "black"
            panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=8)
        longest = max(map(len, names))
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        panel.set_xticks(range(len(names)), names, fontsize="small", **(turned if longest > 4 else {}))
        panel.set_yticks(range(len(names)), names, fontsize="small")
        panel.set(xlabel="prediction", ylabel="label")
        return _picture(
            figure,
            f"Confusion matrix of {counts.sum()} test clips, classes {', '.join(names)}: "
            f"{np.trace(counts)} on the diagonal. Rows are labels.",
        )


def draw_bars(
    groups: Sequence[str],
    series: dict[str, list[float | None]],
    unit: str,
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
        return _picture(figure, f"{unit}: {_in_words(groups, series)}.")


def _in_words(groups: Sequence[str], series: dict[str, list[float | None]]) -> str:
    said = []
    for name, values in series.items():
        known = zip(groups, values, strict=True)
        cells = [f"{group.replace(chr(10), ' ')} {value:.3f}" for group, value in known if value is not None]
        more = f" and {len(cells) - MOST_NAMED} more" if len(cells) > MOST_NAMED else ""
        said.append((f"{name}: " if len(series) > 1 else "") + ", ".join(cells[:MOST_NAMED]) + more)
    return "; ".join(said)


def draw_histogram(edges: list[float], series: dict[str, list[int]], unit: str) -> Picture:
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
        return _picture(figure, f"Histogram of {unit}; means: {means}.")


# ----------------------------------------------------------------------------------------------------- maps
def draw_map(drawn: dict[str, Any], by: str, title: str, classes: Sequence[str] = ()) -> Picture:
    """Points of a t-SNE, coloured by `modality` or by `sentiment`.

    Full markers are shared representations, hollow ones private. The marker tells the modality, and of
    classes by sentiment the class.
    """
    part, label = np.array(drawn["part"]), np.array(drawn["label"])
    places = np.stack([drawn["x"], drawn["y"]], axis=1)
    named = by == "sentiment" and bool(classes)
    with _figure(HEIGHT + 0.6) as figure:
        panel = figure.subplots()
        shades = _shades(figure, panel, label) if by == "sentiment" and not classes else None
        for number, entry in enumerate(drawn["parts"]):
            mine = part == number
            if named:
                for index, name in enumerate(classes):
                    chosen = places[mine & (label == index)]
                    _points(panel, chosen, index, entry["shared"], name if number == 0 else None, len(part))
                continue
            look, full, name = STYLE_OF[entry["modality"]], entry["shared"], entry["name"]
            if shades is None:
                _points(panel, places[mine], look, full, name, len(part))
            else:
                _points(panel, places[mine], look, full, None, len(part), shades(label[mine]))
                _points(panel, places[:0], look, full, name, len(part), "0.3")  # for the legend
        panel.set(xticks=[], yticks=[], aspect="equal")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
        names = ", ".join(entry["name"] for entry in drawn["parts"])
        return _picture(figure, f"t-SNE of {title}: {len(part)} points of {names}, coloured by {by}.")


def _points(
    panel: Axes,
    places: np.ndarray,
    look: int,
    full: bool,
    name: str | None,
    among: int,
    colours: np.ndarray | str | None = None,
) -> None:
    """Markers of one look, in its colour, in one given colour, or in a colour each."""
    edges: Any = COLOURS[look % len(COLOURS)] if colours is None else colours
    panel.scatter(
        places[:, 0],
        places[:, 1],
        s=26 if among < 400 else 9,
        marker=MARKERS[look % len(MARKERS)],
        edgecolors=edges,
        facecolors=edges if full else "none",
        linewidths=1.2,
        label=name,
    )


def _shades(figure: Figure, panel: Axes, label: np.ndarray) -> Any:
    """Labels -> colours whose lightness rises with the label, and a bar that explains them."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(label.min(), label.max()), "cividis")
    figure.colorbar(scale, ax=panel, label="label (its units)", shrink=0.8)
    return scale.to_rgba


# --------------------------------------------------------------------------------------------------- making
@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    import matplotlib
    from matplotlib.figure import Figure  # without pyplot: no window system is looked for

    fixed: dict[Any, Any] = {**matplotlib.rcParamsDefault, "font.size": 9, "hatch.linewidth": 0.6}
    fixed.pop("backend", None)
    with matplotlib.rc_context(fixed):
        yield Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def _picture(figure: Figure, alt: str) -> Picture:
    from PIL import Image

    for panel in figure.axes:
        _plain_frame(panel)
    raw = io.BytesIO()
    figure.savefig(raw, format="png", metadata={"Software": None})
    with Image.open(raw) as image:
        small = image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    small.save(packed, format="png", optimize=True)
    width, height = (round(inches * 96) for inches in figure.get_size_inches())
    return Picture(base64.b64encode(packed.getvalue()).decode(), width, height, alt)


def _plain_frame(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
