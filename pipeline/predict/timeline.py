"""The timeline of a predicted clip as a picture: what was seen, said and heard, and what came of it.

From top to bottom, over one time axis in seconds: a strip of frames; the transcript (each word at its time
where the times are known); pitch (Hz); energy (dBFS); the action units that move most, frames without a face
shaded. Below: each run's or method's score on the corpus' scale (or the probability of each class), and what
each modality contributed. Lines, markers and hatches differ as colours do, so grey print can be read.

What a clip does not have has no panel. Sizes are inches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.files import atomic_write
from pipeline.predict.clip_curves import MOST_UNITS, QUIETEST, UNIT, ClipCurves, Curve, curves_of
from pipeline.predict.predict import Predictor
from pipeline.predict.prediction import ClipPrediction
from pipeline.predict.report import in_words
from pipeline.reports.figures import COLOURS, LINES, MARKERS, plain_style, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, LEFT, RIGHT = 11.0, 0.95, 0.35  # of the picture and its margins
SPAN = WIDTH - LEFT - RIGHT  # of the time axis
STRIP, CURVE, RESULT = 1.15, 1.0, 1.5  # heights
GAP, LINE = 0.16, 0.2  # between panels; of a line of text
MOST_LINES = 8
CELL = 0.076  # width of a Latin letter; an ideograph has two
HATCHES = {"text": "", "audio": "///", "visual": "..."}
# Han is in none of matplotlib's own fonts: the first of these that is installed stands in
IDEOGRAPHIC = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
)
UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    25: "lips part",
    26: "jaw drop",
    45: "blink",
}
SCALES = {"mesh": "AU (mesh estimate)", "r": "AU (0 to 5)", "pyfeat": "AU (0 to 1)"}


def draw_timeline(clip: ClipPrediction, predictor: Predictor, path: Path) -> None:
    """Write the picture of a clip that was predicted; the same clip and runs give the same bytes."""
    with style(clip.features.spoken.text or ""):
        figure = timeline(clip, curves_of(clip, predictor, SPAN / STRIP))
        with atomic_write(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # the picture itself says so
            save_png(figure, temporary)


@contextmanager
def style(text: str) -> Iterator[None]:
    """matplotlib's own defaults with fonts for the text; nothing in it is read as a formula."""
    from matplotlib.font_manager import fontManager

    changes: dict[str, Any] = {"text__parse_math": False, "axes__unicode_minus": False, "font__size": 9}
    if not text.isascii():
        known = {font.name for font in fontManager.ttflist}
        changes["font__family"] = ["DejaVu Sans", *[name for name in IDEOGRAPHIC if name in known][:1]]
    with plain_style(**changes):
        yield


def undrawn(text: str) -> int:
    """Characters of the text that no font of the present style has."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known: set[int] = set()
    for family in rcParams["font.family"]:
        known |= set(get_font(findfont(FontProperties(family=[family]))).get_charmap())
    return len({character for character in text if not character.isspace() and ord(character) not in known})


def timeline(clip: ClipPrediction, curves: ClipCurves) -> Figure:
    """The figure; its axes are labelled `frames`, `words`, `pitch`, `energy`, `units`, `scores`, `parts`."""
    from matplotlib.figure import Figure

    words = clip.features.spoken.words or []
    rows = _word_rows(words, curves.duration_s)
    lines = [] if rows else _wrapped(clip.features.spoken.text or "")
    drawn: dict[str, tuple[float, Callable[[Axes], None]]] = {}  # panel -> height, and what draws it
    if curves.pictures:
        drawn["frames"] = STRIP, partial(_draw_frames, curves=curves)
    if rows or lines:
        height = LINE * (max(rows, default=-1) + 1 or len(lines)) + 0.1
        drawn["words"] = height, partial(_draw_words, words=words, rows=rows, lines=lines)
    if curves.pitch:
        drawn["pitch"] = CURVE, partial(_draw_pitch, curve=curves.pitch)
    if curves.energy:
        drawn["energy"] = CURVE * 0.8, partial(_draw_energy, curve=curves.energy)
    if curves.units:
        drawn["units"] = CURVE * 1.3, partial(_draw_units, curves=curves)
    below = 0.65 + RESULT + 0.62  # label of the time axis, the results, their labels
    total = 0.55 + sum(height + GAP for height, _ in drawn.values()) + below
    figure = Figure(figsize=(WIDTH, total), dpi=120)
    sd = "" if clip.sd is None else f" ± {clip.sd:.2f}"
    low, high = clip.facts.label_range
    score = f"{clip.value:+.2f}{sd} on {low:g} to {high:g}"
    value = f"probability {clip.value:.2f}{sd}" if clip.facts.class_names else score
    title = f"{clip.features.clip_id}: {in_words(clip)}, {value}"
    figure.suptitle(title, fontsize=11, x=LEFT / WIDTH, ha="left", y=1 - 0.18 / total)
    panels: dict[str, Axes] = {}
    top = total - 0.5
    for name, (height, draw) in drawn.items():
        box = (LEFT / WIDTH, (top - height) / total, SPAN / WIDTH, height / total)
        panels[name] = panel = figure.add_axes(box, label=name)
        panel.set_xlim(0, curves.duration_s)
        panel.tick_params(labelbottom=name == list(drawn)[-1])
        draw(panel)
        top -= height + GAP
    if panels:
        last = list(panels.values())[-1]
        last.set_xlabel("time (seconds)")
        if last.get_label() in ("frames", "words"):
            last.tick_params(bottom=True, labelbottom=True)
    between, after = 1.5, 0.4  # inches: names of the modalities; their values
    half = (SPAN - between - after) / 2
    for name, left in (("scores", LEFT), ("parts", LEFT + half + between)):
        panels[name] = figure.add_axes((left / WIDTH, 0.62 / total, half / WIDTH, RESULT / total), label=name)
    _draw_scores(panels["scores"], clip)
    _draw_parts(panels["parts"], clip)
    if missing := undrawn(clip.features.spoken.text or ""):
        said = (
            f"{missing} characters of the transcript are in no font here; install Noto Sans CJK to see them"
        )
        figure.text(LEFT / WIDTH, 0.06 / total, said, fontsize=8, color="0.3")
    return figure


def _draw_frames(panel: Axes, curves: ClipCurves) -> None:
    """Each picture begins at the time that it shows, in its own proportions."""
    slot = curves.duration_s / len(curves.pictures)
    for number, image in enumerate(curves.pictures):
        height, width = image.shape[:2]
        wide = min(STRIP * width / height, SPAN / len(curves.pictures)) * curves.duration_s / SPAN
        tall = wide * SPAN / curves.duration_s * height / width / STRIP  # share of the panel's height
        begin = number * slot
        panel.imshow(image, extent=(begin, begin + wide, 1 - tall, 1), aspect="auto")
    panel.set(xlim=(0, curves.duration_s), ylim=(0, 1), yticks=[])
    panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    panel.tick_params(bottom=False)


def _word_rows(words: list[dict[str, Any]], duration_s: float) -> list[int]:
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


def _wrapped(text: str) -> list[str]:
    """The text in lines as wide as the panel, at most MOST_LINES of them."""
    from rich.console import Console
    from rich.text import Text

    width = int(SPAN / CELL)
    lines = [line.plain for line in Text(" ".join(text.split())).wrap(Console(width=width), width)]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][: width - 2]} …"]
    return [line for line in lines if line]


def _draw_words(panel: Axes, words: list[dict[str, Any]], rows: list[int], lines: list[str]) -> None:
    panel.set(ylim=(max(rows, default=len(lines) - 1) + 1, 0), yticks=[])
    panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    panel.tick_params(bottom=False)
    for word, row in zip(words, rows, strict=False):
        panel.plot([word["start_s"], word["end_s"]], [row + 0.9] * 2, color="0.4", linewidth=1)
        panel.text(word["start_s"], row + 0.5, word["text"], va="center", clip_on=False)
    for row, line in enumerate(lines):
        panel.text(0, row + 0.5, line, va="center")


def _draw_pitch(panel: Axes, curve: Curve) -> None:
    panel.plot(*curve, marker=".", markersize=3, linewidth=1, color=COLOURS[0])
    panel.set_ylabel("pitch (Hz)")
    if not np.isfinite(curve[1]).any():
        panel.set_yticks([])
        panel.text(0.5, 0.5, "no voice found", transform=panel.transAxes, ha="center", va="center")


def _draw_energy(panel: Axes, curve: Curve) -> None:
    times, level = curve
    panel.fill_between(times, QUIETEST, level, color="0.75", linewidth=0)
    panel.plot(times, level, color=COLOURS[0], linewidth=0.8)
    panel.set(ylabel="energy\n(dBFS)", ylim=(QUIETEST, 0))


def _draw_units(panel: Axes, curves: ClipCurves) -> None:
    for number, (name, (times, line)) in enumerate(curves.units.items()):
        found = UNIT.fullmatch(name)
        assert found is not None
        said = UNITS.get(int(found[1]), "")
        panel.plot(
            times,
            line,
            label=f"{name} {said}".strip(),
            color=COLOURS[number],
            linestyle=LINES[number],
            linewidth=1.4,
        )
        panel.set_ylabel(SCALES[found[2]])
    times, line = next(iter(curves.units.values()))
    unseen = np.isnan(line)
    low, high = panel.get_ylim()
    panel.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    if unseen.any():
        panel.fill_between(
            times,
            *panel.get_ylim(),
            where=unseen,
            facecolor="0.9",
            edgecolor="0.6",
            hatch="xx",
            linewidth=0,
            label="no face",
            step="mid",
        )
    panel.legend(loc="upper right", ncols=MOST_UNITS + 1, fontsize=7, frameon=False)


def _draw_scores(panel: Axes, clip: ClipPrediction) -> None:
    """The scores of the methods on the label range, or the mean probability of each class."""
    names = list(clip.facts.class_names)
    if names:
        panel.barh(names, clip.scores, color="0.7", edgecolor="black", linewidth=0.8)
        panel.set(xlabel="probability (mean of the runs)", xlim=(0, 1))
        panel.invert_yaxis()
        return
    low, high = clip.facts.label_range
    rows = clip.means
    for number, (_, (mean, sd, _)) in enumerate(rows):
        marker, color = MARKERS[number % len(MARKERS)], COLOURS[number % len(COLOURS)]
        panel.errorbar(mean, number, xerr=sd, marker=marker, color=color, capsize=3, markersize=7)
    panel.axvline((low + high) / 2, color="0.6", linewidth=0.8, linestyle=":")
    panel.set_yticks(range(len(rows)), [f"{name} ({count})" for name, (_, _, count) in rows])
    panel.set(xlim=(min(low, panel.get_xlim()[0]), max(high, panel.get_xlim()[1])))
    panel.set(ylim=(len(rows) - 0.5, -0.5), xlabel="score (label units; bar: sd over the runs in brackets)")


def _draw_parts(panel: Axes, clip: ClipPrediction) -> None:
    """What each modality changes the prediction by."""
    changes = clip.contributions
    if not changes:
        panel.text(0.5, 0.5, "one modality alone", transform=panel.transAxes, ha="center", va="center")
        panel.set(xticks=[], yticks=[])
        return
    for number, (modality, (mean, sd)) in enumerate(changes.items()):
        panel.barh(
            number,
            mean,
            xerr=sd,
            capsize=3,
            height=0.6,
            color="0.85",
            edgecolor="black",
            linewidth=0.8,
            hatch=HATCHES[modality],
        )
        panel.annotate(
            f"{mean:+.2f}",
            (0, number),
            xytext=(1.01, number),
            textcoords=("axes fraction", "data"),
            va="center",
        )
    panel.axvline(0, color="black", linewidth=0.8)
    panel.margins(x=0.1)
    panel.set_yticks(range(len(changes)), list(changes))
    panel.invert_yaxis()
    unit = f"probability of {in_words(clip)}" if clip.facts.class_names else "score (label units)"
    panel.set_xlabel(f"change of the {unit}\nthrough the modality")
