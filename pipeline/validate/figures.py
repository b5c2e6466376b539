"""The plots of a validation's page: each as SVG with words for who cannot see it.

Drawn narrow, with large letters, so that they can be read on a telephone; what colours tell apart, lightness
and hatching tell too.
Letters stay letters (no outlines), so that the reader's fonts show names of classes in any script.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.params.params import CorpusParams
from pipeline.reports.blocks import Picture
from pipeline.reports.figures import DARKEST, INK, PAPER, new_figure, svg_picture
from pipeline.validate.corpus import SHORTEST_S
from pipeline.validate.labels import BINS, JOINT, POLARITIES, Conflicts, SplitSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.validate.features import StoreSummary

WIDTH = 5.2  # inches
PANEL, BAR, AXIS = 1.15, 0.42, 0.9  # inches: a histogram, a bar, an axis with its name and a legend
DURATION_BINS = 30
# of stacked bars, from dark to light; the hatches differ too
FILLS = ("#0072B2", "#FFFFFF", "#E69F00", "#999999", "#56B4E9", "#F0E442", "#CC79A7", "#009E73")
HATCHES = ("", "", "///", "...", "\\\\\\", "xx", "--", "++")
DARK = ("#0072B2",)  # fills on which letters are white


def label_picture(summaries: Sequence[SplitSummary], corpus: CorpusParams) -> Picture:
    """Share of each split's clips by label: bins of a regression, classes of a classification."""
    shown = [summary for summary in summaries if sum(summary.histogram)]
    low, high = (-0.5, len(corpus.classes) - 0.5) if corpus.classes else corpus.label_range
    edges = np.linspace(low, high, len(shown[0].histogram) + 1)
    with _figure(AXIS + PANEL * len(shown)) as figure:
        panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for panel, summary in zip(panels, shown, strict=True):
            shares = 100 * np.array(summary.histogram) / sum(summary.histogram)
            panel.bar(edges[:-1], shares, np.diff(edges), align="edge", color="#BBBBBB", edgecolor="black")
            panel.set_ylabel(f"{summary.split}\n(% of clips)")
        if corpus.classes:
            panels[-1].set_xticks(range(len(corpus.classes)), corpus.classes, rotation=30, ha="right")
        else:
            panels[-1].set_xticks(edges, [f"{edge:.2g}" for edge in edges])
            panels[-1].set_xlabel("label")
        what = "class" if corpus.classes else f"{BINS} equal bins of the label range"
        numbers = "; ".join(f"{summary.split} {' '.join(map(str, summary.histogram))}" for summary in shown)
        said = f"Histograms, one a split, of the clips by {what}. Clips: {numbers}."
        return svg_picture(figure, "Labels", said)


def polarity_picture(summaries: Sequence[SplitSummary]) -> Picture:
    """Share of negative, neutral and positive clips in each split."""
    counts = {summary.split: summary.polarity for summary in summaries if summary.polarity is not None}
    return _stacked("Polarity", "one a split", counts, POLARITIES, "% of the clips with a label")


def modality_picture(conflicts: Conflicts, sides: Sequence[str]) -> Picture:
    """Share of each polarity (class) by modality, as MISR's figure 1 (b) counts it."""
    axis = "% of the clips that have all of these labels"
    return _stacked("Labels of single modalities", "one a modality", conflicts.polarity, sides, axis)


def conflict_picture(conflicts: Conflicts) -> Picture:
    """Share of clips in which two labels disagree, as a matrix."""
    names = [*conflicts.modalities, JOINT]
    shares = np.full((len(names), len(names)), np.nan)
    for (one, other), (both, apart) in conflicts.pairs.items():
        place = names.index(one), names.index(other)
        shares[place] = shares[place[::-1]] = 100 * apart / both if both else np.nan
    with _figure(WIDTH * 0.85) as figure:
        panel = figure.subplots()
        edges = np.arange(len(names) + 1) - 0.5
        panel.pcolormesh(
            edges, edges, shares, cmap="Greys", vmin=0, vmax=100 * DARKEST, edgecolors=INK, linewidth=0.3
        )
        panel.invert_yaxis()
        for row, column in np.argwhere(np.isfinite(shares)):
            share = shares[row, column]
            colour = PAPER if share > 50 else INK
            panel.text(column, row, f"{share:.0f}%", ha="center", va="center", color=colour)
        panel.set_xticks(range(len(names)), names)
        panel.set_yticks(range(len(names)), names)
        panel.tick_params(length=0)
        words = "; ".join(
            f"{one} and {other} {apart} of {both}" for (one, other), (both, apart) in conflicts.pairs.items()
        )
        said = f"A matrix. Clips that disagree: {words}."
        return svg_picture(figure, "Clips whose labels disagree, by pair", said)


def duration_picture(seconds: Mapping[str, Sequence[float]], longest: float) -> Picture:
    """How long the clips of each split are, on a logarithmic axis, with the limits that are warned of."""
    from matplotlib.ticker import LogLocator, NullLocator

    known = [max(value, 0.01) for values in seconds.values() for value in values]
    bins = np.geomspace(min(*known, SHORTEST_S), max(*known, SHORTEST_S * 2), DURATION_BINS + 1)
    with _figure(AXIS + PANEL * len(seconds)) as figure:
        panels = figure.subplots(len(seconds), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (split, values) in zip(panels, seconds.items(), strict=True):
            panel.hist(np.clip(values, bins[0], bins[-1]), bins, color="#BBBBBB", edgecolor="black")
            for limit in (SHORTEST_S, longest):
                if bins[0] <= limit <= bins[-1]:
                    panel.axvline(limit, color="black", linestyle=":", linewidth=1.5)
            panel.set_ylabel(f"{split}\n(clips)")
        panels[-1].set_xscale("log")
        panels[-1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[-1].xaxis.set_major_formatter("{x:g}")
        panels[-1].xaxis.set_minor_locator(NullLocator())
        panels[-1].set_xlabel("length of a clip (seconds; dotted: shortest and longest)")
        words = "; ".join(
            f"{split} {min(values):.1f} to {max(values):.1f} s, median {np.median(values):.1f} s"
            for split, values in seconds.items()
        )
        return svg_picture(figure, "Lengths", f"Histograms, one a split. {words}.")


def feature_picture(stores: Sequence[StoreSummary]) -> Picture:
    """What became of the corpus' clips in each feature store."""
    sides = ("ok", "absent", "failed", "no row")
    counts = {store.folder: (store.ok, store.absent, store.failed, store.lacking) for store in stores}
    return _stacked("Clips in feature stores", "one a store", counts, sides, "% of the clips")


# -------------------------------------------------------------------------------------------------- drawing
def _stacked(
    title: str, said: str, counts: Mapping[str, Sequence[int]], sides: Sequence[str], axis: str
) -> Picture:
    """Bars of 100 %, each with its own name above it: names may be long, and telephones are narrow."""
    with _figure(AXIS + 0.4 + 2 * BAR * len(counts) + 0.22 * (len(sides) // 4)) as figure:
        panel = figure.subplots()
        for row, (name, values) in enumerate(counts.items()):
            left, whole = 0.0, max(sum(values), 1)
            panel.text(0, row - 0.3, name, va="bottom", ha="left")
            for place, count in enumerate(values):
                fill, share = FILLS[place % len(FILLS)], 100 * count / whole
                bar: dict[str, Any] = {"color": fill, "hatch": HATCHES[place % len(HATCHES)]}
                bar |= {"edgecolor": "black", "label": sides[place] if row == 0 else None}
                panel.barh(row, share, BAR * 1.3, left, **bar)
                if share >= 9:
                    middle: dict[str, Any] = {"ha": "center", "va": "center"}
                    middle["bbox"] = {"facecolor": fill, "edgecolor": "none", "pad": 1.5}
                    middle["color"] = PAPER if fill in DARK else INK
                    panel.text(left + share / 2, row, f"{share:.0f}", **middle)
                left += share
        panel.set(xlim=(0, 100), ylim=(len(counts) - 0.5, -0.75), yticks=[])
        panel.set_xlabel(axis)
        panel.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=4, frameon=False, handlelength=1.2, columnspacing=1.0)
        told = [
            f"{name}: {', '.join(f'{count} {side}' for side, count in zip(sides, values, strict=True))}."
            for name, values in counts.items()
        ]
        return svg_picture(figure, title, f"Bars, {said}. {' '.join(told)}")


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    changes: dict[str, Any] = {"svg__fonttype": "none", "svg__hashsalt": "msa", "hatch__linewidth": 0.6}
    changes |= {"font__size": 11, "font__sans-serif": ["DejaVu Sans", "Arial", "sans-serif"]}
    changes["text__parse_math"] = False
    with new_figure(WIDTH, height, 100, **changes) as figure, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's fonts draw it
        yield figure
