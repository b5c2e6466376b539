"""Pictures of runs under corruptions: a metric over the level, and heat maps of cases.

Up to LEGEND methods share a panel; of more each has a panel of its own, in which the others are grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluation.robust_results import ALL, KINDS, RECORDINGS, SUBSETS
from pipeline.evaluation.significance import lower_is_better
from pipeline.reports.figures import COLOURS, INK, PAPER, Drawing, explain, line_style
from pipeline.reports.names import method_name, metric_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND = 8  # methods that one panel has room for
COLUMNS = 6  # of panels of a method each
PANEL = (3.6, 2.9)  # inches
SMALL = (1.75, 1.5)
CELL = (0.62, 0.27)
CURVED = ("gaussian", "laplace", "erase", "frames", "shared")  # kinds that are curves over the level
RECORDED = tuple(kind for kind in RECORDINGS if kind not in ("eyes", "mouth"))  # which have one level
MAPPED = ("subsets", "blocks", "imbalanced")  # kinds that are columns of a heat map
SEEN = "frames with\na face, or a pitch"
SHARES = {"face": (SEEN, "--"), "voiced": (SEEN, "--"), "wer": ("word error rate", "-.")}  # see sweep.py
UNITS = {"mae": "MAE (label units)"}

Methods = Mapping[str, Mapping[str, Any]]  # method -> its summary


def drawings(methods: Methods, metric: str) -> Iterator[Drawing]:
    """All pictures of one set and regime."""
    for kind in (*KINDS, *RECORDED):
        mine = {name: one for name, one in methods.items() if kind in one["kinds"]}
        if not mine:
            continue
        if kind in MAPPED:
            yield _heat_map(kind, mine, metric)
        elif len(mine) > LEGEND:
            yield _panel_each(kind, mine, metric)
    for name, kinds in (("curves", CURVED), ("recordings", RECORDED)):
        there = [kind for kind in kinds if any(kind in one["kinds"] for one in methods.values())]
        if there and len(methods) <= LEGEND:
            yield _shared_panels(name, there, methods, metric)


# --------------------------------------------------------------------------------------------------- curves
def _shared_panels(called: str, kinds: Sequence[str], methods: Methods, metric: str) -> Drawing:
    """A panel a kind, a line a method."""
    columns = min(3, len(kinds))
    rows = -(-len(kinds) // columns)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        handles: dict[str, Any] = {}
        for panel, kind in zip(panels, kinds, strict=False):
            for number, (name, one) in enumerate(methods.items()):
                case = _first_case(one, kind)
                if case is not None:
                    style = line_style(number) | {"linewidth": 1.4, "markersize": 4}
                    handles.setdefault(
                        method_name(name).text, _line(panel, one, case, metric, band=0.15, **style)
                    )
            handles["best constant"] = _floor(panel, methods, metric)
            panel.set(title=kind, xlabel="level r")
            if kind in RECORDED:
                handles |= _recording_axes(panel, kind, methods)
        for panel in figure.axes[: rows * columns : columns]:
            panel.set_ylabel(_unit(metric))
        for panel in figure.axes[len(kinds) : rows * columns]:
            panel.set_axis_off()
        figure.legend(handles.values(), handles, loc="outside right upper", frameon=False, fontsize="small")

    said = f"{_unit(metric)} over the level, one line per method; band: ± 1 sd over runs and draws"
    alt = f"{said}: {', '.join(kinds)}."
    width, height = columns * PANEL[0] + 1.3, rows * PANEL[1] + 0.4
    return Drawing(f"{called}-{metric}", said, alt, paint, width, height)


def _recording_axes(panel: Axes, kind: str, methods: Methods) -> dict[str, Any]:
    """Levels one behind the other; on the right shares of frames with a face or a pitch, of wrong words."""
    case = next(case for one in methods.values() if (case := _first_case(one, kind)) is not None)
    levels = [f"{level:g}" for level in case["levels"]]
    panel.set_xticks(range(len(levels) + 1), ["clean", *levels], fontsize=8)
    panel.set_xlabel("SNR (dB)" if kind in ("white", "babble") else "level")
    told = [found["media"] for one in methods.values() if "media" in (found := one["kinds"].get(kind, {}))]
    lines: dict[str, Any] = {}
    right = None
    for key, (name, style) in SHARES.items():
        shares = np.array(told[0].get(key, [None]) if told else [None], dtype=float)
        if np.isnan(shares[0]):  # nothing of the kind is looked for
            continue
        right = right or panel.twinx()
        (lines[f"right: {name}"],) = right.plot(shares, color="0.55", linestyle=style, linewidth=1)
        right.set_ylim(0, max(1.05, right.get_ylim()[1]))
        right.tick_params(labelsize=7, labelcolor="0.45")
    return lines


def _panel_each(kind: str, methods: Methods, metric: str) -> Drawing:
    """A panel a method, the others grey behind it."""
    cases = {name: case for name, one in methods.items() if (case := _first_case(one, kind)) is not None}
    from matplotlib.collections import LineCollection

    columns = min(COLUMNS, len(cases))
    rows = -(-len(cases) // columns)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for number, (panel, name) in enumerate(zip(panels.flat, cases, strict=False)):
            others = [_points(methods[other], case, metric) for other, case in cases.items() if other != name]
            panel.add_collection(LineCollection(others, colors="0.82", linewidths=0.7, zorder=1))
            _floor(panel, methods, metric)
            _line(panel, methods[name], cases[name], metric, band=0.25, color=COLOURS[2], linewidth=1.8)
            flat = " =" if cases[name]["flat"] else ""
            called = method_name(name)
            explain(panel.set_title(f"{called.text}{flat}", fontsize=9), called.why)
            panel.tick_params(labelsize=7)
            if number >= len(cases) - columns:
                panel.tick_params(labelbottom=True)
        for panel in panels.flat[len(cases) :]:
            panel.set_axis_off()
        figure.supxlabel("level r", fontsize=9)
        figure.supylabel(_unit(metric), fontsize=9)

    said = f"{kind}: {_unit(metric)} over the level"
    return Drawing(
        f"{kind}-{metric}",
        f"{said}; grey: the other methods, dotted: the best constant, band: ± 1 sd over runs and draws",
        f"{said}, one panel per method.",
        paint,
        columns * SMALL[0] + 0.5,
        rows * SMALL[1] + 0.7,
    )


def _line(
    panel: Axes, one: Mapping[str, Any], case: Mapping[str, Any], metric: str, band: float = 0.0, **style: Any
) -> Any:
    points = _points(one, case, metric)
    (line,) = panel.plot(*points.T, **style)
    if band:
        pairs = [one["clean"][metric], *case["scores"][metric]]
        half = np.array([sd for _, sd in pairs], dtype=float)  # NaN of one run
        low, high = points[:, 1] - half, points[:, 1] + half
        panel.fill_between(points[:, 0], low, high, color=line.get_color(), alpha=band, linewidth=0)
    return line


def _points(one: Mapping[str, Any], case: Mapping[str, Any], metric: str) -> np.ndarray:
    """(levels, 2): place of the level and mean, from the clean one on."""
    means = [mean for mean, _ in (one["clean"][metric], *case["scores"][metric])]
    return np.column_stack([case["places"], means])


def _floor(panel: Axes, methods: Methods, metric: str) -> Any:
    floor = next(iter(methods.values()))["floors"].get(metric, np.nan)
    return panel.axhline(floor, color="0.4", linestyle=(0, (1, 2)), linewidth=1)


def _first_case(one: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Of all modalities where they were hit together, else the first."""
    cases = one["kinds"].get(kind, {}).get("cases", {})
    found: Mapping[str, Any] | None = cases.get(ALL) or next(iter(cases.values()), None)
    return found


# ------------------------------------------------------------------------------------------------ heat maps
def _heat_map(kind: str, methods: Methods, metric: str) -> Drawing:
    """A row a method, a column a case: the score, coloured by how far it is from the method's clean one."""
    first = next(iter(methods.values()))["kinds"][kind]["cases"]
    cases = [case for case in first if case != SUBSETS[-1]]
    scores = np.full((len(methods), len(cases) + 1), np.nan)
    flat = np.zeros(scores.shape, bool)
    for row, one in enumerate(methods.values()):
        scores[row, 0] = one["clean"][metric][0]
        for column, case in enumerate(cases, 1):
            if found := one["kinds"][kind]["cases"].get(case):
                scores[row, column] = found["numbers"][metric]["mean"]
                flat[row, column] = found["flat"]
    worse = (scores - scores[:, :1]) * (1 if lower_is_better(metric) else -1)
    limit = max(float(np.nanmax(np.abs(worse), initial=0.0)), 1e-6)
    width = len(cases) + 1

    def paint(figure: Figure) -> None:
        panel = figure.subplots()
        picture = panel.imshow(worse, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
        for row, column in np.ndindex(*scores.shape):
            if np.isfinite(scores[row, column]):
                text = "=" if flat[row, column] else f"{scores[row, column]:.2f}"
                ink = PAPER if abs(worse[row, column]) > 0.75 * limit else INK
                panel.text(column, row, text, ha="center", va="center", color=ink, fontsize=7.5)
        turned: dict[str, Any] = (
            {"rotation": 40, "ha": "left", "rotation_mode": "anchor"} if kind == "blocks" else {}
        )
        panel.set_xticks(range(width), ["clean", *cases], fontsize=8, **(turned if kind == "blocks" else {}))
        panel.set_yticks(range(len(methods)), [method_name(name).text for name in methods], fontsize=8)
        panel.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
        panel.axvline(0.5, color="black", linewidth=1)
        bar = figure.colorbar(picture, ax=panel, shrink=min(1.0, 8 / len(methods)), aspect=12)
        bar.set_label("worse than clean", fontsize=8)
        bar.ax.tick_params(labelsize=7)

    said = f"{kind}: {_unit(metric)} (number), how much worse than clean (colour), = as clean, not read"
    alt = f"{said}: one row per method, one column per case."
    return Drawing(f"{kind}-{metric}", said, alt, paint, width * CELL[0] + 2.2, len(methods) * CELL[1] + 1.5)


def _unit(metric: str) -> str:
    return UNITS.get(metric) or metric_name(metric).text
