"""How every picture is drawn, once for a page and for a paper.

Colours are Okabe and Ito's, which differ in lightness too; what colour tells, marker, line or hatching tell
too, so that grey print can be read. The same numbers give the same bytes: no dates, no versions, matplotlib's
own defaults. A page has SVG, whose letters are those of the reader's fonts; a file has the fonts in it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pipeline.reports.blocks import Picture
from pipeline.reports.fonts import use_fonts
from pipeline.reports.svg import WHY, compact

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)))
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
WIDTH, HEIGHT, TALL = 3.7, 2.75, 5.9  # inches of a page's picture; a tall one stands beside two others
COLUMN, PAGE = 3.35, 7.0  # inches of a paper's column, and of its page
MOST_POINTS = 600  # of a map or scatter: more are one blot, or cells
SMALL, FONT = 7.5, 8.0  # points
FORMATS = ("pdf", "svg", "png")
DPI = 300  # of a PNG, and of what a PDF has as pixels
PRINTED: dict[str, Any] = {  # of every picture
    **{"font__size": FONT, "text__parse_math": False},  # a class may be called $x$
    **{f"{part}__labelsize": SMALL for part in ("xtick", "ytick")},
    **{"axes__labelsize": FONT, "axes__titlesize": FONT, "legend__fontsize": SMALL},
    **{"axes__linewidth": 0.6, "lines__linewidth": 1.1, "hatch__linewidth": 0.6},
    **{"axes__spines__top": False, "axes__spines__right": False},
}
FLAT = 1e-4  # of its values: what varies less is flat
ENOUGH = 10  # values, to tell a spike
SPIKE = 2.0  # times the range of nearly all values: a range that is wider is that of a few
DARKEST = 1.1  # share that would be black: a whole row is not quite, as black turns to white on a dark page
INK, PAPER = "#010101", "#FEFEFE"  # on what is filled: these do not follow a dark page


@dataclass(frozen=True)
class Drawing:
    """A picture that is not yet drawn.

    Attributes
    ----------
    name : of its file, and of no other of a page
    alt : what is seen, in words
    paint : draws into an empty figure, whatever its width
    """

    name: str
    title: str
    alt: str
    paint: Callable[[Figure], None]
    width: float = WIDTH
    height: float = HEIGHT


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


def svg_picture(figure: Figure, title: str, alt: str, name: str = "") -> Picture:
    """A figure inside a page, drawn once as in `save_png`; `name` is of it alone, by default its title."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    for patch in (figure.patch, *(panel.patch for panel in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    drawn = io.StringIO()
    with plain_style(svg__fonttype="none", svg__hashsalt="0", svg__image_inline=True):
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": None})
    width, height = (round(inches * 96) for inches in figure.get_size_inches())
    return Picture(title, alt, compact(drawn.getvalue(), alt, name or title), width, height, name or "figure")


def picture(drawing: Drawing) -> Picture:
    """A drawing as a page shows it."""
    with new_figure(drawing.width, drawing.height, **PRINTED) as figure:
        drawing.paint(figure)
        return svg_picture(figure, drawing.title, drawing.alt, drawing.name)


def save(drawing: Drawing, path: Path, width: float | None = None) -> str:
    """Write a drawing as a paper has it, by the suffix: PDF with its fonts, SVG with outlines, PNG.

    `width` is in inches, by default a column, or a page of what is wider on a page of ours too. Returns the
    letters that no font of this machine has. A title is for the caption to say.
    """
    chosen = width or (COLUMN if drawing.width <= WIDTH else PAGE)
    height = drawing.height * max(1.0, chosen / drawing.width)
    kinds: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    kinds |= {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    with new_figure(chosen, height, DPI, **PRINTED, pdf__fonttype=42, svg__hashsalt="0") as figure:
        drawing.paint(figure)
        lacking = use_fonts(figure)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # who calls is told which
            figure.savefig(path, metadata=kinds[path.suffix.removeprefix(".")])
    return lacking


def explain(artist: Artist, why: str) -> None:
    """What a page shows of it on hover."""
    if why:
        artist.set_gid(WHY + why)


def confusion(true: np.ndarray, guessed: np.ndarray, classes: int) -> np.ndarray:
    """Clips of each true (row) and predicted (column) class."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (true, guessed), 1)
    return counts


def fill_confusion(panel: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw the clips of each true (row) and predicted (column) class; darker is a larger share of the row."""
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    edges = np.arange(len(names) + 1) - 0.5
    panel.pcolormesh(edges, edges, shares, cmap="Greys", vmin=0, vmax=DARKEST, edgecolors=INK, linewidth=0.3)
    for row, column in np.ndindex(*counts.shape):
        ink = PAPER if shares[row, column] > 0.5 else INK
        panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=SMALL)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    longest = max(map(len, names))
    panel.set_xticks(range(len(names)), names, **(turned if longest * len(names) > 30 else {}))
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.tick_params(length=0)
    panel.set(xlabel="prediction", ylabel="label")


def line_style(number: int) -> dict[str, Any]:
    """Colour, line and marker of a method by its number; those of 49 differ."""
    colour, form = number % len(COLOURS), (number + number // len(COLOURS)) % len(LINES)
    return {"color": COLOURS[colour], "linestyle": LINES[form], "marker": MARKERS[form]}


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis: a few points far from all others do not press the rest into a line."""
    found = np.asarray(values, np.float64)
    low, high = found.min(), found.max()
    inner_low = np.percentile(found, 2, method="higher")
    inner_high = np.percentile(found, 98, method="lower")
    margin = 0.15 * (inner_high - inner_low)
    if len(found) >= ENOUGH and high - low > SPIKE * (inner_high - inner_low + 2 * margin):
        low, high = max(low, inner_low - margin), min(high, inner_high + margin)
    room = 0.06 * (high - low)
    largest = max(abs(low), abs(high))
    if high - low < FLAT * largest or largest == 0:  # rounding errors are not blown up to a curve
        room = largest / 10 or 0.1
    return float(low - room), float(high + room)
