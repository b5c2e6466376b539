"""Pictures of claims, one panel each: means over the seeds with their 95 % intervals.

Filled marks are a method, hollow ones the method without what its claim rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.claims.bench import RATES, SIZES, TEST_RHO, Measurements
from pipeline.claims.claims import WORST, student
from pipeline.reports.figures import Drawing, line_style
from pipeline.reports.names import method_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Found = Mapping[str, Measurements]
WIDTH, HEIGHT = 4.6, 3.4  # inches
ROW = 0.2  # inches of a row of marks
HELD = {
    "shared/sentiment": "sentiment in shared",
    "shared/private": "private factors in shared",
    "private/sentiment": "sentiment in private",
    "private/private": "private factors in private",
}
ERROR = "mean absolute error (label units)"


def drawings(found: Found, invariant: Sequence[str]) -> dict[str, list[Drawing]]:
    """Topic (`misled`, `held`, `special`, `methods`) -> its pictures, where there is something to draw.

    Parameters
    ----------
    invariant : methods that claim invariance
    """
    made: dict[str, list[Drawing]] = {}

    def add(
        topic: str, name: str, title: str, alt: str, paint: Callable[[Figure], None], height: float = HEIGHT
    ) -> None:
        made.setdefault(topic, []).append(Drawing(name, title, alt, paint, WIDTH, height))

    for name in (one for one in invariant if one in found):
        title = f"{method_name(name).text}, where the cue misleads"
        alt = "Test error over the correlation of cue and sentiment"
        add("misled", f"misled_{name}", title, alt, partial(_misled, found, name))
    for name, mine in found.items():
        if mine.of(f"without/read/linear/{next(iter(HELD))}") is None:
            continue
        title = f"{method_name(name).text}: what is read from its representations"
        alt = "R² of a linear probe, with (filled) and without (hollow) the terms that separate them"
        add("held", f"held_{name}", title, alt, partial(_held, mine), 0.65 * HEIGHT)
    for name, mine in found.items():
        if mine.of(f"conflict/{RATES[0]:g}") is not None:
            title = f"{method_name(name).text}: conflict"
            alt = "Test error over the share of clips that contradict, and with ω = 1"
            add("special", "conflict", title, alt, partial(_conflict, mine))
        if mine.of("groups/error") is not None:
            title = f"{method_name(name).text}: sub-populations"
            alt = "Errors with experts and with one, and their agreement"
            add("special", "experts", title, alt, partial(_experts, mine))
    if len(found) > 1:
        few, many = (f"error/{size}" for size in (SIZES[0], SIZES[-1]))
        clips = {f"{SIZES[0]} clips": (few, "white"), f"{SIZES[-1]} clips": (many, "black")}
        cue = {"cue as in training": (f"shift/{max(TEST_RHO):g}", "black"), "cue turned": (WORST, "white")}
        for key, title, marks in (("clips", "Few clips", clips), ("cue", "A cue that misleads", cue)):
            paint = partial(_methods, found, marks)
            alt = f"Test errors of all methods: {', '.join(marks)}"
            height = ROW * len(found) + 1.2
            add("methods", f"methods_{key}", title, alt, paint, height)
    return made


def interval(values: np.ndarray | None) -> tuple[float, float, float]:
    """Mean of (n,) values and the ends of its interval; the mean itself where there is one value."""
    if values is None:  # leaves no mark
        return np.nan, np.nan, np.nan
    return student(values)[:3] if len(values) > 1 else (float(values[0]),) * 3


def _line(panel: Axes, places: Sequence[float], values: Sequence[np.ndarray | None], **style: Any) -> None:
    """Means with intervals over places; `values` (n,) each."""
    rows = np.array([interval(one) for one in values])
    reach = np.abs(rows[:, 1:] - rows[:, :1]).T
    panel.errorbar(places, rows[:, 0], reach, capsize=2, linewidth=1.2, markersize=5, **style)


def _mark(panel: Axes, row: float, values: np.ndarray | None, fill: str, label: str | None = None) -> None:
    """A mean with its interval, lying."""
    mean, low, high = interval(values)
    panel.plot([low, high], [row, row], color="black", linewidth=1)
    panel.plot(mean, row, "o", color="black", markerfacecolor=fill, markersize=5, label=label)


def _misled(found: Found, name: str, figure: Figure) -> None:
    panel = figure.subplots()
    beside = {"text_only": "text only, which never sees the cue", "late_fusion": "late fusion"}
    lines = {
        method_name(name).text: (name, ""),
        "without its invariance term": (name, "without/"),
        "early fusion of its size": (name, "plain/"),
        **{said: (other, "") for other, said in beside.items() if other in found},
    }
    for number, (said, (method, prefix)) in enumerate(lines.items()):
        values = [found[method].of(f"{prefix}shift/{rho:g}") for rho in TEST_RHO]
        style = line_style(number) | ({"markerfacecolor": "white"} if prefix == "without/" else {})
        _line(panel, [rho + 0.015 * number for rho in TEST_RHO], values, label=said, **style)
    panel.set(xlabel="correlation of cue and sentiment in the test clips", ylabel=ERROR, xticks=TEST_RHO)
    panel.invert_xaxis()
    panel.legend(frameon=False, loc="upper left")


def _held(mine: Measurements, figure: Figure) -> None:
    panel = figure.subplots()
    for prefix, fill, shift in (("", "black", -0.13), ("without/", "white", 0.13)):
        for row, key in enumerate(HELD):
            _mark(panel, row + shift, mine.of(f"{prefix}read/linear/{key}"), fill)
    panel.set(xlim=(-0.03, 1.03), xlabel="R², linear probe")
    panel.grid(axis="x", color="0.9")
    panel.set_yticks(range(len(HELD)), list(HELD.values()))
    panel.invert_yaxis()


def _conflict(mine: Measurements, figure: Figure) -> None:
    panel = figure.subplots()
    for number, (said, prefix) in enumerate({method_name(mine.method).text: "", "ω = 1": "without/"}.items()):
        values = [mine.of(f"{prefix}conflict/{rate:g}") for rate in RATES]
        style = line_style(number) | ({"markerfacecolor": "white"} if prefix else {})
        _line(panel, [rate + 0.004 * number for rate in RATES], values, label=said, **style)
    panel.set(xlabel="share of clips whose voice or face contradicts", ylabel=ERROR)
    panel.legend(frameon=False)


def _experts(mine: Measurements, figure: Figure) -> None:
    panel = figure.subplots()
    keys = {
        "error,\nexperts": "groups/error",
        "error,\none expert": "without/groups/error",
        "agreement of\nexperts and groups": "groups/agreement",
    }
    for row, key in enumerate(keys.values()):
        values = mine.of(key)
        if values is not None:
            panel.plot(np.full(len(values), row + 0.15), values, ".", color="0.6")
            fill = "white" if key.startswith("without/") else "black"
            _line(panel, [row], [values], marker="o", color="black", markerfacecolor=fill)
    panel.set_xticks(range(len(keys)), list(keys))
    panel.set(ylabel="label units; mutual information", ylim=(0, None))


def _methods(found: Found, marks: Mapping[str, tuple[str, str]], figure: Figure) -> None:
    panel = figure.subplots()
    order = sorted(found, key=lambda name: interval(found[name].of(f"error/{SIZES[-1]}"))[0])
    for said, (key, fill) in marks.items():
        for row, name in enumerate(order):
            _mark(panel, row, found[name].of(key), fill, said if row == 0 else None)
    for said, key, line in (
        ("best without the cue", "error/best", "--"),
        ("train median", "error/constant", ":"),
    ):
        panel.axvline(
            interval(found[order[0]].of(key))[0], color="0.4", linestyle=line, linewidth=1, label=said
        )
    panel.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    panel.set(xlabel=ERROR)
    panel.grid(axis="y", color="0.93")
    panel.set_yticks(range(len(order)), [method_name(name).text for name in order])
    panel.invert_yaxis()
