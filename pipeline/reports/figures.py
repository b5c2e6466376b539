"""How every picture is drawn, and the report's own two.

Colours are Okabe and Ito's, which differ in lightness too; what colour tells, marker, line or hatching tell
too, so that grey print can be read. The same numbers give the same bytes: no dates, no versions, matplotlib's
own defaults.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pipeline.core.vocabulary import TEST
from pipeline.evaluation.saved import SavedRun
from pipeline.reports.blocks import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)))
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
PANEL = 3.6  # inches
PALETTE = 64  # colours of a PNG in a page; more only make it larger
COLUMNS = 6  # panels beside each other; more go on below
LEGEND = 8  # names that have room in a panel; more stand beside it

Runs = dict[str, dict[str, list[SavedRun]]]  # of each method on each dataset


# --------------------------------------------------------------------------------------------------- making
@contextmanager
def plain_style(**changes: Any) -> Iterator[None]:
    """matplotlib's own defaults, whatever a user has set, with these changes (dots of names as `__`)."""
    import matplotlib

    fixed: dict[Any, Any] = {**matplotlib.rcParamsDefault}
    fixed.pop("backend", None)
    fixed |= {name.replace("__", "."): value for name, value in changes.items()}
    with matplotlib.rc_context(fixed):
        yield


@contextmanager
def new_figure(width: float, height: float, dpi: int = 120, **changes: Any) -> Iterator[Figure]:
    """An empty figure, in inches, that is drawn and saved in `plain_style`."""
    from matplotlib.figure import Figure  # without pyplot: no window system is looked for

    with plain_style(**changes):
        yield Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def save_png(figure: Figure, path: Path | BinaryIO) -> None:
    """Write a figure, drawn once: `savefig` draws twice, for a box that is not asked for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    metadata = {"Software": None}  # matplotlib's version would be in it
    FigureCanvasAgg(figure).print_png(path, metadata=metadata)


def png_picture(figure: Figure, title: str, alt: str, colours: int = PALETTE) -> Picture:
    """A figure inside a page, small, of few colours (256 at most)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    with Image.fromarray(np.asarray(canvas.buffer_rgba())) as image:
        small = image.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    small.save(packed, format="png", optimize=True)
    return _picture(figure, title, alt, "image/png", packed.getvalue())


def svg_picture(figure: Figure, title: str, alt: str) -> Picture:
    """A figure inside a page, whose letters are drawn by the reader's fonts."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return _picture(figure, title, alt, "image/svg+xml", drawn.getvalue())


def _picture(figure: Figure, title: str, alt: str, kind: str, content: bytes) -> Picture:
    width, height = (round(inches * 96) for inches in figure.get_size_inches())
    return Picture(title, alt, f"data:{kind};base64,{base64.b64encode(content).decode()}", width, height)


def confusion(true: np.ndarray, guessed: np.ndarray, classes: int) -> np.ndarray:
    """Clips of each true (row) and predicted (column) class."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (true, guessed), 1)
    return counts


def fill_confusion(panel: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw the clips of each true (row) and predicted (column) class; darker is a larger share of the row."""
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    panel.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        ink = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=8)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    longest = max(map(len, names))
    panel.set_xticks(range(len(names)), names, fontsize="small", **(turned if longest > 4 else {}))
    panel.set_yticks(range(len(names)), names, fontsize="small")
    panel.set(xlabel="prediction", ylabel="label")


def line_style(number: int) -> dict[str, Any]:
    """Colour, line and marker of a method by its number; those of 49 differ."""
    colour, form = number % len(COLOURS), (number + number // len(COLOURS)) % len(LINES)
    return {"color": COLOURS[colour], "linestyle": LINES[form], "marker": MARKERS[form]}


# ---------------------------------------------------------------------------------------------- the report's
def draw_learning_curves(runs: Runs, folder: Path) -> None:
    """learning_curves.png: validation loss above, training loss below, one column a dataset."""
    many = max(map(len, runs.values())) > LEGEND
    with new_figure(len(runs) * PANEL * (2.2 if many else 1.4), 2 * PANEL) as figure:
        panels = figure.subplots(2, len(runs), squeeze=False, sharex="col")
        for (upper, lower), (dataset, methods) in zip(panels.T, runs.items(), strict=True):
            result = next(iter(methods.values()))[0].result
            for number, (method, seeds) in enumerate(methods.items()):
                style = line_style(number) | {"linewidth": 1.2, "markersize": 7, "label": method}
                for run in seeds:
                    if run.result.epoch is None:  # it was imported, and has no curves
                        continue
                    style["markevery"] = [run.result.epoch - 1]
                    epochs = [row["epoch"] for row in run.curves]
                    upper.plot(epochs, [row["valid_loss"] for row in run.curves], **style)
                    lower.plot(epochs, [row["total"] for row in run.curves], **style)
                    style["label"] = None  # once a method
            unit = "cross-entropy (nats)" if result.class_names else "MAE (label units)"
            if not result.class_names:
                height = result.floor["valid_mae"]
                upper.axhline(height, color="0.5", linestyle=(0, (1, 3)), label="train median")
            upper.set(title=f"{dataset}: validation", ylabel=unit)
            upper.set_ylim(bottom=0)
            lower.set(title=f"{dataset}: training", ylabel="weighted sum of the loss terms", xlabel="epoch")
            beside: dict[str, Any] = (
                {"loc": "upper left", "bbox_to_anchor": (1, 1), "ncols": 2} if many else {}
            )
            upper.legend(frameon=False, fontsize="small", **beside)
        figure.suptitle("Learning curves, one line a seed\n(marker: the epoch that was chosen)")
        save_png(figure, folder / "learning_curves.png")


def draw_predictions(runs: Runs, label_ranges: dict[str, tuple[float, float]], folder: Path) -> None:
    """predicted_vs_true.png: a panel a method, each dataset in rows of its own, the test clips of all seeds.

    Predictions over labels; of a classification the confusion matrix.
    """
    columns = min(COLUMNS, max(map(len, runs.values())))
    rows = {dataset: -(-len(methods) // columns) for dataset, methods in runs.items()}
    with new_figure(columns * PANEL, sum(rows.values()) * (PANEL + 0.3) + 0.6) as figure:
        panels = iter(figure.subplots(sum(rows.values()), columns, squeeze=False).flat)
        tasks = set()
        for dataset, methods in runs.items():
            own = list(islice(panels, rows[dataset] * columns))
            for panel in own[len(methods) :]:
                panel.set_axis_off()
            for panel, (method, seeds) in zip(own, methods.items(), strict=False):
                names = seeds[0].result.class_names
                tasks.add(bool(names))
                panel.set_title(f"{method} on {dataset}")
                if names:
                    label, found = (
                        np.concatenate([getattr(run.predictions[TEST], side) for run in seeds]).astype(int)
                        for side in ("label", "prediction")
                    )
                    fill_confusion(panel, confusion(label, found, len(names)), names)
                else:
                    _draw_scatter(panel, seeds, *label_ranges[dataset])
        lines = ["Test clips"]
        if False in tasks:
            lines.append("(dashed: prediction = label)")
        if True in tasks:
            lines.append("(matrix: clips of all seeds,\ndarker: a larger share of the row)")
        figure.suptitle("\n".join(lines))
        save_png(figure, folder / "predicted_vs_true.png")


def _draw_scatter(panel: Axes, runs: list[SavedRun], low: float, high: float) -> None:
    ends = [low, high, *(p for run in runs for p in run.predictions[TEST].prediction)]
    margin = 0.05 * (max(ends) - min(ends))
    limits = (min(ends) - margin, max(ends) + margin)
    panel.plot(limits, limits, color="0.5", linestyle="--", linewidth=1)
    for number, run in enumerate(runs):
        panel.scatter(
            run.predictions[TEST].label,
            run.predictions[TEST].prediction,
            s=18,
            marker=MARKERS[number % len(MARKERS)],
            edgecolors=COLOURS[number % len(COLOURS)],
            facecolors="none",
            linewidths=0.8,
            label=f"seed {run.result.seed}",
        )
    panel.set(xlim=limits, ylim=limits, aspect="equal", ylabel="prediction (label units)")
    panel.set_xlabel(f"label ({low:g} to {high:g})")
    panel.legend(frameon=False, fontsize="small")
