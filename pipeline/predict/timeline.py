"""The timeline of a predicted clip as a picture: what was seen, said and heard, and what came of it.

From top to bottom, over one time axis in seconds: a strip of frames; the transcript (each word at its time
where the times are known); the waveform; pitch (Hz); the action units that move most, frames without a face
shaded. Below: each run's or method's score on the corpus' scale (or the probability of each class), and what
each modality contributed. Where evidence is given (`Marks`, which `explain` makes), the words are coloured by
it, and bars below frames and waveform show it. Lines, markers, hatches and signs differ as colours do, so
that grey print can be read.

What a clip does not have has no panel. Sizes are inches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.files import atomic_write
from pipeline.predict.clip_curves import MOST_UNITS, UNIT, ClipCurves, Curve, curves_of
from pipeline.predict.marks import LOWERS, RAISES, Marks
from pipeline.predict.prediction import ClipPrediction
from pipeline.predict.report import in_words
from pipeline.predict.words_panel import (
    LEFT,
    LINE,
    RIGHT,
    SPAN,
    draw_words,
    shades_of,
    style,
    word_rows,
    wrapped,
)
from pipeline.reports.figures import COLOURS, LINES, MARKERS, save_png
from pipeline.reports.fonts import ADVICE, families
from pipeline.reports.names import method_name
from pipeline.training.runs import TrainedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = LEFT + SPAN + RIGHT
STRIP, CURVE, RESULT, BARS = 1.15, 1.0, 1.5, 0.6  # heights
GAP = 0.16  # between panels
HATCHES = {"text": "", "audio": "///", "visual": "..."}
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


def draw_timeline(clip: ClipPrediction, runs: Sequence[TrainedRun], path: Path) -> None:
    """Write the picture of a clip that was predicted; the same clip and runs give the same bytes."""
    with style(clip.features.spoken.text or ""):
        figure = timeline(clip, curves_of(clip.features, runs, SPAN / STRIP))
        with atomic_write(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # the picture itself says so
            save_png(figure, temporary)


def timeline(
    clip: ClipPrediction, curves: ClipCurves, marks: Marks | None = None, notes: Sequence[str] = ()
) -> Figure:
    """The figure, with `notes` as lines at its end.

    Its axes are labelled `frames`, `seen`, `words`, `waveform`, `heard`, `pitch`, `units`, `scores`, `parts`.
    """
    from matplotlib.figure import Figure

    words, text = clip.features.spoken.words or [], clip.features.spoken.text or ""
    rows = word_rows(words, curves.duration_s)
    lines = [] if rows else wrapped(text)
    drawn: dict[str, tuple[float, Callable[[Axes], None]]] = {}  # panel -> height, and what draws it
    bars = [*marks.frames, *marks.sound] if marks else []
    largest = max((abs(value) for *_, value in bars), default=0.0) or 1.0  # one scale for both
    if curves.pictures:
        drawn["frames"] = STRIP, partial(_draw_frames, curves=curves)
    if marks and marks.frames:
        drawn["seen"] = BARS, partial(_draw_bars, bars=marks.frames, largest=largest, of="pictures")
    if rows or lines:
        height = LINE * (max(rows, default=-1) + 1 or len(lines)) + 0.1
        shades = shades_of(marks, words, text) if marks else {}
        drawn["words"] = height, partial(draw_words, words=words, rows=rows, lines=lines, shades=shades)
    if curves.waveform:
        drawn["waveform"] = CURVE * 0.8, partial(_draw_waveform, envelope=curves.waveform)
    if marks and marks.sound:
        drawn["heard"] = BARS, partial(_draw_bars, bars=marks.sound, largest=largest, of="sound")
    if curves.pitch:
        drawn["pitch"] = CURVE, partial(_draw_pitch, curve=curves.pitch)
    if curves.units:
        drawn["units"] = CURVE * 1.3, partial(_draw_units, curves=curves)
    below = 0.65 + RESULT + 0.62 + LINE * len(notes)  # label of the time axis, the results, labels, notes
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
    half, bottom = (SPAN - between - after) / 2, 0.62 + LINE * len(notes)
    for name, left in (("scores", LEFT), ("parts", LEFT + half + between)):
        box = (left / WIDTH, bottom / total, half / WIDTH, RESULT / total)
        panels[name] = figure.add_axes(box, label=name)
    _draw_scores(panels["scores"], clip)
    _draw_parts(panels["parts"], clip)
    for number, note in enumerate(notes):
        figure.text(LEFT / WIDTH, (bottom - 0.62 - LINE * (number + 0.5)) / total, note, fontsize=8)
    if missing := families(text)[1]:
        said = f"{len(missing)} characters of the transcript are in no installed font; install {ADVICE}"
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


def _draw_pitch(panel: Axes, curve: Curve) -> None:
    panel.plot(*curve, marker=".", markersize=3, linewidth=1, color=COLOURS[0])
    panel.set_ylabel("pitch (Hz)")
    if not np.isfinite(curve[1]).any():
        panel.set_yticks([])
        panel.text(0.5, 0.5, "no voice found", transform=panel.transAxes, ha="center", va="center")


def _draw_waveform(panel: Axes, envelope: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """The lowest and the highest sample of each stretch; full scale is 1, the axis as large as the sound."""
    times, low, high = envelope
    panel.fill_between(times, low, high, color="0.45", linewidth=0.3)
    largest = max(float(np.abs([low, high]).max()), 1e-3)
    panel.set(ylabel="waveform", ylim=(-1.1 * largest, 1.1 * largest))


def _draw_bars(panel: Axes, bars: Sequence[tuple[float, float, float]], largest: float, of: str) -> None:
    """Evidence of stretches of time, upwards where it raises the prediction."""
    for begin, end, value in bars:
        colour, hatch = (RAISES, "") if value > 0 else (LOWERS, "///")
        panel.bar(begin, value, end - begin, align="edge", color=colour, alpha=0.6, hatch=hatch, linewidth=0)
    panel.axhline(0, color="black", linewidth=0.6)
    panel.set(ylabel=f"evidence\n({of})", ylim=(-1.1 * largest, 1.1 * largest))


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
    panel.set_yticks(
        range(len(rows)), [f"{method_name(name).text} ({count})" for name, (_, _, count) in rows]
    )
    panel.set(xlim=(min(low, panel.get_xlim()[0]), max(high, panel.get_xlim()[1])))
    panel.set(ylim=(len(rows) - 0.5, -0.5), xlabel="score (label units; bar: sd over the runs in brackets)")


def _draw_parts(panel: Axes, clip: ClipPrediction) -> None:
    """What each modality adds to the prediction."""
    changes = clip.contributions
    if not changes:
        panel.text(0.5, 0.5, "no modality is read", transform=panel.transAxes, ha="center", va="center")
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
    start = f"from {clip.baseline:+.2f}, the mean of the training clips"
    panel.set_xlabel(f"contribution to the {unit}\n{start}")
