"""Whether predictions are as sure as they say: a table, and a picture for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.vocabulary import TEST
from pipeline.evaluation.calibration import Reliability, reliability
from pipeline.evaluation.clusters import clusters_of
from pipeline.evaluation.saved import Interval, SavedRun, Spread
from pipeline.evaluation.significance import LEVEL, mean_interval
from pipeline.reports.blocks import Block, Heading, Lines, Table
from pipeline.reports.figures import COLOURS, MARKERS, SMALL, Drawing, explain
from pipeline.reports.names import method_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Methods = Mapping[str, Sequence[SavedRun]]
SHOWN = 0.9  # the level whose half width is in the table, and whose coverage has an interval
COLUMNS, PANEL = 4, 1.9  # panels beside each other, inches
STEP = 0.22  # of a method's row: the levels lie below each other
DIGITS = 3
WHY_NOT = (
    "Intervals are prediction ± half width, from the errors of the validation clips (split conformal "
    "prediction). If test and validation clips were exchangeable, coverage would be at least the level, up "
    "to chance. They are so only in part: the epoch was chosen on the validation clips, so runs err less "
    "on them, and clips of one video or speaker are correlated, while the test split has other ones."
)
ECE_SAID = (
    "ECE: mean distance between confidence, the probability of the predicted class, and the share of clips "
    "whose class is right, over 15 bins of confidence, weighted by clips. A mean confidence above the "
    "accuracy is overconfidence."
)


@dataclass(frozen=True)
class Coverage:
    """Share of test labels in the intervals of a level, mean over the runs, and its interval."""

    mean: float
    low: float
    high: float


def calibration_blocks(methods: Methods) -> list[Block]:
    """A row a method; nothing where nothing is known of any."""
    classes = next(iter(methods.values()))[0].result.class_names
    table = _ece_table(methods) if classes else _coverage_table(methods)
    if not table.rows:
        return []
    return [Heading("Calibration", 3), table, Lines([ECE_SAID if classes else WHY_NOT])]


def calibration_drawing(methods: Methods) -> Drawing | None:
    """Reliability of classes, or coverage of intervals of scores; None where neither is known."""
    if next(iter(methods.values()))[0].result.class_names:
        found = {name: bins for name, runs in methods.items() if (bins := _reliability(runs)) is not None}
        return _draw_reliability(found) if found else None
    covered = {name: levels for name, runs in methods.items() if (levels := _coverage(runs))}
    return _draw_coverage(covered) if covered else None


# ---------------------------------------------------------------------------------------------------- classes
def _reliability(runs: Sequence[SavedRun]) -> Reliability | None:
    """Of the test clips of all seeds together; None where a run has no probabilities."""
    found = [run.predictions[TEST] for run in runs if TEST in run.predictions]
    chances = [one.probability for one in found if one.probability is not None]
    if not chances or len(chances) < len(runs):
        return None
    return reliability(np.concatenate(chances), np.concatenate([one.label for one in found]))


def _ece_table(methods: Methods) -> Table:
    rows = []
    for name, runs in methods.items():
        if _reliability(runs) is None:
            continue
        chances = [run.predictions[TEST].probability for run in runs]
        each = [
            reliability(chance, run.predictions[TEST].label).ece
            for run, chance in zip(runs, chances, strict=True)
            if chance is not None
        ]
        sure = [float(chance.max(axis=1).mean()) for chance in chances if chance is not None]
        right = [run.result.test["accuracy"] for run in runs]
        spreads = (Spread.of(values).text(DIGITS) for values in (each, sure, right))
        rows.append([method_name(name).text, *spreads])
    return Table(["method", "ECE ↓", "mean confidence", "accuracy"], rows)


def _draw_reliability(found: Mapping[str, Reliability]) -> Drawing:
    """A panel a method; the area of a marker is that of the bin's clips."""
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for panel, (name, bins) in zip(panels, found.items(), strict=False):
            panel.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=0.8)
            panel.plot(bins.confidence, bins.accuracy, color="black", linewidth=0.8)
            sizes = 3 + 120 * bins.counts / bins.counts.sum()
            panel.scatter(bins.confidence, bins.accuracy, s=sizes, color=COLOURS[1], zorder=2)
            called = method_name(name)
            explain(panel.set_title(f"{called.text}, ECE {bins.ece:.3f}", fontsize=SMALL), called.why)
            panel.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            panel.spines[["top", "right"]].set_visible(False)
        for panel in panels[len(found) :]:
            panel.set_axis_off()
        figure.supxlabel("confidence (dashed: perfect calibration; larger: more clips)", fontsize=SMALL)
        figure.supylabel("share of correct clips", fontsize=SMALL)

    title = "Reliability, test split, all seeds pooled"
    listed = ", ".join(f"{method_name(name).text} {bins.ece:.3f}" for name, bins in found.items())
    size = PANEL * columns + 0.3, PANEL * rows + 0.5
    return Drawing("reliability", title, f"Reliability curves; ECE: {listed}.", paint, *size)


# ----------------------------------------------------------------------------------------------------- scores
def _intervals(run: SavedRun) -> dict[float, Interval]:
    """Those of the run that are finite."""
    known = run.result.calibration.intervals
    return {level: one for level, one in known.items() if one.half_width is not None}


def _coverage(runs: Sequence[SavedRun]) -> dict[float, Coverage]:
    """Level -> coverage of the test clips; levels that all runs have."""
    found = {}
    for level in sorted(set.intersection(*(set(_intervals(run)) for run in runs))):
        tested = [run.predictions[TEST] for run in runs if TEST in run.predictions]
        widths = [_intervals(run)[level].half_width for run in runs]
        held = np.mean(
            [
                np.abs(one.prediction - one.label) <= width
                for one, width in zip(tested, widths, strict=True)
                if width is not None
            ],
            axis=0,
        )
        clusters = clusters_of(tested[0].speakers, tested[0].videos)
        ends = mean_interval(held, clusters) if clusters.counted.count > 1 else (0.0, 1.0)
        found[level] = Coverage(float(held.mean()), max(ends[0], 0.0), min(ends[1], 1.0))
    return found


def _coverage_table(methods: Methods) -> Table:
    covered = {name: found for name, runs in methods.items() if (found := _coverage(runs))}
    levels = sorted({level for found in covered.values() for level in found})
    rows = []
    for name, found in covered.items():
        cells = [f"{found[level].mean:.{DIGITS}f}" if level in found else "–" for level in levels]
        if SHOWN in levels:
            cells += _shown(methods[name], found.get(SHOWN))
        rows.append([method_name(name).text, *cells])
    head = ["method", *(f"coverage at {level:.0%}" for level in levels)]
    head += [f"its {LEVEL:.0%} interval at {SHOWN:.0%}", f"half width at {SHOWN:.0%}"] * (SHOWN in levels)
    return Table(head, rows)


def _shown(runs: Sequence[SavedRun], found: Coverage | None) -> list[str]:
    """The interval of the coverage, and the half width over the runs."""
    if found is None:
        return ["–", "–"]
    widths = [width for run in runs if (width := _intervals(run)[SHOWN].half_width) is not None]
    return [f"{found.low:.{DIGITS}f} to {found.high:.{DIGITS}f}", Spread.of(widths).text(DIGITS)]


def _draw_coverage(covered: Mapping[str, Mapping[float, Coverage]]) -> Drawing:
    """A line a method: the coverage of each level, dotted lines at the levels themselves."""
    levels = sorted({level for found in covered.values() for level in found})
    names = [method_name(name).text for name in covered]

    def paint(figure: Figure) -> None:
        panel = figure.subplots()
        for number, level in enumerate(levels):
            colour, known = COLOURS[number % len(COLOURS)], [n for n, f in covered.items() if level in f]
            aside = STEP * (number - (len(levels) - 1) / 2)
            places = [[*covered].index(name) + aside for name in known]
            shown = [covered[name][level] for name in known]
            means = np.array([one.mean for one in shown])
            ends = np.array([[one.low for one in shown], [one.high for one in shown]])
            panel.axvline(level, color=colour, linestyle=":", linewidth=1)
            panel.errorbar(
                means, places, xerr=np.abs(ends - means), fmt=MARKERS[number % len(MARKERS)], color=colour,
                markersize=4, linewidth=0.8, label=f"{level:.0%}",
            )  # fmt: skip
        panel.set_yticks(range(len(covered)), names)
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlabel(f"test labels inside the interval (dotted: its level; bars: {LEVEL:.0%}, clusters)")
        figure.legend(loc="outside upper left", ncols=len(levels), frameon=False)

    listed = "; ".join(
        f"{name} {', '.join(f'{level:.0%}: {one.mean:.3f}' for level, one in found.items())}"
        for name, found in zip(names, covered.values(), strict=True)
    )
    alt, height = f"Coverage by level of {listed}.", 1.0 + 0.3 * len(covered)
    return Drawing("coverage", "Coverage of intervals, test split", alt, paint, 5.2, height)
