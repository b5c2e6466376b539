"""The transcript in the picture of a clip: words at their times or in lines, coloured by their evidence.

Sizes are inches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ClipError
from pipeline.media.words import spans
from pipeline.predict.marks import Marks, tint
from pipeline.reports.figures import plain_style
from pipeline.reports.fonts import families
from pipeline.transcripts.words import locate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPAN, LEFT, RIGHT = 9.7, 0.95, 0.35  # of the time axis, and the margins beside it
LINE = 0.2  # of text
MOST_LINES = 8
CELL = 0.076  # width of a Latin letter; an ideograph has two


@contextmanager
def style(text: str) -> Iterator[None]:
    """matplotlib's own defaults with fonts for the text; nothing in it is read as a formula."""
    changes: dict[str, Any] = {"text__parse_math": False, "axes__unicode_minus": False, "font__size": 9}
    if not text.isascii():
        changes["font__family"] = families(text)[0]
    with plain_style(**changes):
        yield


def word_rows(words: list[dict[str, Any]], duration_s: float) -> list[int]:
    """The row of each word, so that none overlaps another; empty where they do not fit."""
    from rich.cells import cell_len

    ends = [0.0] * MOST_LINES
    rows = []
    for word in words:
        free = next((row for row, end in enumerate(ends) if end <= word["start_s"]), None)
        if free is None:
            return []
        rows.append(free)
        ends[free] = word["start_s"] + (cell_len(word["text"]) + 1) * CELL * duration_s / SPAN
    return rows


def wrapped(text: str) -> list[str]:
    """The text in lines as wide as the panel, at most MOST_LINES of them."""
    from rich.console import Console
    from rich.text import Text

    width = int(SPAN / CELL)
    lines = [line.plain for line in Text(" ".join(text.split())).wrap(Console(width=width), width)]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][: width - 2]} …"]
    return [line for line in lines if line]


def shades_of(marks: Marks, words: list[dict[str, Any]], text: str) -> dict[int, float]:
    """Number of a word, of those with times or else of the text -> its evidence."""
    try:
        places = locate([word["text"] for word in words], text).tolist() if words else spans(text)
    except ClipError:  # the times are of other words
        return {}
    found = {number: marks.of_word(*place) for number, place in enumerate(places)}
    return {number: value for number, value in found.items() if value is not None}


def draw_words(
    panel: Axes, words: list[dict[str, Any]], rows: list[int], lines: list[str], shades: dict[int, float]
) -> None:
    """Words at their times or in lines, coloured by their evidence; what lowers is underlined in dashes."""
    panel.set(ylim=(max(rows, default=len(lines) - 1) + 1, 0), yticks=[])
    panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    panel.tick_params(bottom=False)
    strongest = max(map(abs, shades.values()), default=0.0) or 1.0
    if shades:
        panel.set_ylabel(f"words\n(±{strongest:.2g})", rotation=0, ha="right", va="center")

    def box(number: int) -> dict[str, Any] | None:
        if number not in shades:
            return None
        colour, alpha = tint(shades[number], strongest)
        return {"facecolor": colour, "alpha": alpha, "edgecolor": "none", "pad": 0.8}

    for number, (word, row) in enumerate(zip(words, rows, strict=False)):
        lowers = shades.get(number, 0.0) < 0
        ends = [word["start_s"], word["end_s"]]
        panel.plot(ends, [row + 0.9] * 2, color="0.4", linewidth=1, linestyle=":" if lowers else "-")
        panel.text(ends[0], row + 0.5, word["text"], va="center", clip_on=False, bbox=box(number))
    if not shades:
        for row, line in enumerate(lines):
            panel.text(0, row + 0.5, line, va="center")
        return
    number = 0
    for row, line in enumerate(lines):
        at, right = 0.0, panel.get_xlim()[1]
        for start, end in spans(line):
            at = _width(line[:start]) * right / SPAN
            wide = _width(line[start:end]) * right / SPAN
            panel.text(at, row + 0.45, line[start:end], va="center", bbox=box(number))
            if number in shades:
                line_style = ":" if shades[number] < 0 else "-"
                ends = [at, at + wide]
                panel.plot(ends, [row + 0.95] * 2, color="0.4", linewidth=1, linestyle=line_style)
            number += 1


def _width(text: str) -> float:
    """Inches of a text in the present style."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    dpi = 720
    width = RendererAgg(1, 1, dpi).get_text_width_height_descent(text, FontProperties(), False)[0]
    return float(width) / dpi
