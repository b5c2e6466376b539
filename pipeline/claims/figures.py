"""Pictures of claims: means over the seeds with their 95 % intervals.

Filled marks are a method, hollow ones the method without what its claim rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.claims.bench import RATES, SIZES, TEST_RHO, Measurements
from pipeline.claims.claims import WORST, student
from pipeline.reports.figures import Drawing, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Found = Mapping[str, Measurements]
PANEL, ROW = 3.6, 0.24  # inches of a panel, and of a row of marks
HELD = {
    "shared/sentiment": "sentiment in shared",
    "shared/private": "private factors in shared",
    "private/sentiment": "sentiment in private",
    "private/private": "private factors in private",
}
ERROR = "mean absolute error (label units)"


def drawings(found: Found, invariant: Sequence[str]) -> list[Drawing]:
    """All pictures that the measurements have something for.

    Parameters
    ----------
    invariant : methods that claim invariance
    """
    made = []
    known = [name for name in invariant if name in found]
    parted = [
        name for name, mine in found.items() if mine.of(f"without/read/linear/{next(iter(HELD))}") is not None
    ]
    if known:
        made.append(
            Drawing(
                "misled",
                "Where the cue misleads",
                "Test error over the correlation of cue and sentiment, of " + ", ".join(known),
                lambda figure: _misled(figure, found, known),
                PANEL * 1.2 * len(known) + 0.4,
                PANEL,
            )
        )
    if parted:
        made.append(
            Drawing(
                "held",
                "What shared and private representations hold",
                "R² of a linear probe, with and without the terms that part them, of " + ", ".join(parted),
                lambda figure: _held(figure, found, parted),
                2.2 * len(parted) + 1.6,
                2.4,
            )
        )
    special = [
        name
        for name, key in (("slad", f"conflict/{RATES[0]:g}"), ("khar", "groups/error"))
        if _has(found, name, key)
    ]
    if special:
        made.append(
            Drawing(
                "special",
                "Conflict (SLaD) and sub-populations (KHaR)",
                "SLaD's error over the conflict rate; KHaR's error and agreement on sub-populations",
                lambda figure: _special(figure, found, special),
                PANEL * 1.2 * len(special),
                PANEL,
            )
        )
    if len(found) > 1:
        made.append(
            Drawing(
                "methods",
                "All methods: few clips, and a cue that misleads",
                "Test errors of all methods by training clips and by the cue's correlation",
                lambda figure: _methods(figure, found),
                PANEL * 2.6,
                ROW * len(found) + 1.2,
            )
        )
    return made


def interval(values: np.ndarray | None) -> tuple[float, float, float]:
    """Mean of (n,) values and the ends of its interval; the mean itself where there is one value."""
    if values is None:  # leaves no mark
        return np.nan, np.nan, np.nan
    return student(values)[:3] if len(values) > 1 else (float(values[0]),) * 3


def _has(found: Found, method: str, key: str) -> bool:
    return method in found and found[method].of(key) is not None


def _line(panel: Axes, places: Sequence[float], values: Sequence[np.ndarray | None], **style: Any) -> None:
    """Means with intervals over places; `values` (n,) each."""
    rows = np.array([interval(one) for one in values])
    reach = np.abs(rows[:, 1:] - rows[:, :1]).T
    panel.errorbar(places, rows[:, 0], reach, capsize=2, linewidth=1.2, markersize=5, **style)


def _misled(figure: Figure, found: Found, known: Sequence[str]) -> None:
    panels = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
    beside = {"text_only": "text only (never sees the cue)", "late_fusion": "late fusion"}
    for panel, name in zip(panels, known, strict=True):
        lines = {
            name: (name, ""),
            "without its invariance term": (name, "without/"),
            "early fusion, as many parameters": (name, "plain/"),
            **{said: (other, "") for other, said in beside.items() if other in found},
        }
        for number, (said, (method, prefix)) in enumerate(lines.items()):
            values = [found[method].of(f"{prefix}shift/{rho:g}") for rho in TEST_RHO]
            if all(one is not None for one in values):
                style = line_style(number) | ({"markerfacecolor": "white"} if prefix else {})
                _line(panel, [rho + 0.012 * number for rho in TEST_RHO], values, label=said, **style)
        panel.set(title=name, xlabel="correlation of cue and sentiment in the test clips", xticks=TEST_RHO)
        panel.invert_xaxis()
    panels[0].set(ylabel=ERROR)
    panels[0].legend(frameon=False, fontsize="x-small", loc="upper left")


def _held(figure: Figure, found: Found, parted: Sequence[str]) -> None:
    panels = figure.subplots(1, len(parted), sharey=True, sharex=True, squeeze=False)[0]
    for panel, name in zip(panels, parted, strict=True):
        for prefix, fill, shift in (("", "black", -0.12), ("without/", "white", 0.12)):
            for row, key in enumerate(HELD):
                values = found[name].of(f"{prefix}read/linear/{key}")
                if values is not None:
                    mean, low, high = interval(values)
                    panel.plot([low, high], [row + shift] * 2, color="black", linewidth=1)
                    panel.plot(mean, row + shift, "o", color="black", markerfacecolor=fill, markersize=6)
        panel.set(title=name, xlim=(-0.03, 1.03), xlabel="R²")
        panel.grid(axis="x", color="0.9")
    panels[0].set_yticks(range(len(HELD)), HELD.values(), fontsize="small")
    panels[0].invert_yaxis()


def _special(figure: Figure, found: Found, special: Sequence[str]) -> None:
    panels = figure.subplots(1, len(special), squeeze=False)[0]
    for panel, name in zip(panels, special, strict=True):
        mine = found[name]
        if name == "slad":
            for number, (said, prefix) in enumerate({"slad": "", "ω = 1": "without/"}.items()):
                values = [mine.of(f"{prefix}conflict/{rate:g}") for rate in RATES]
                style = line_style(number) | ({"markerfacecolor": "white"} if prefix else {})
                _line(panel, [rate + 0.004 * number for rate in RATES], values, label=said, **style)
            panel.set(title=name, xlabel="share of clips whose voice or face contradicts", ylabel=ERROR)
            panel.legend(frameon=False, fontsize="small")
        else:
            keys = {
                "error,\nexperts": "groups/error",
                "error,\none expert": "without/groups/error",
                "agreement of\nexperts and groups": "groups/agreement",
            }
            for row, key in enumerate(keys.values()):
                each = mine.of(key)
                if each is None:
                    continue
                panel.plot(np.full(len(each), row) + 0.15, each, ".", color="0.6")
                _line(
                    panel,
                    [row],
                    [each],
                    marker="o",
                    color="black",
                    markerfacecolor="white" if row == 1 else "black",
                )
            panel.set_xticks(range(len(keys)), keys)
            panel.set(title=name, ylabel="label units; mutual information", ylim=(0, None))


def _methods(figure: Figure, found: Found) -> None:
    pairs = (
        {
            f"{SIZES[0]} clips": (f"error/{SIZES[0]}", "white"),
            f"{SIZES[-1]} clips": (f"error/{SIZES[-1]}", "black"),
        },
        {"cue as in training": (f"shift/{max(TEST_RHO):g}", "black"), "cue turned round": (WORST, "white")},
    )
    order = sorted(found, key=lambda name: interval(found[name].of(f"error/{SIZES[-1]}"))[0])
    panels = figure.subplots(1, 2, sharey=True)
    one = found[order[0]]
    for panel, marks in zip(panels, pairs, strict=True):
        for said, (key, fill) in marks.items():
            for row, name in enumerate(order):
                mean, low, high = interval(found[name].of(key))
                panel.plot([low, high], [row, row], color="black", linewidth=1)
                label = said if row == 0 else None
                panel.plot(mean, row, "o", color="black", markerfacecolor=fill, markersize=5, label=label)
        for said, key, line in (
            ("best possible", "error/best", "--"),
            ("train median", "error/constant", ":"),
        ):
            panel.axvline(interval(one.of(key))[0], color="0.4", linestyle=line, linewidth=1, label=said)
        panel.legend(frameon=False, fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        panel.set(xlabel=ERROR)
        panel.grid(axis="y", color="0.93")
    panels[0].set_yticks(range(len(order)), order, fontsize="small")
    panels[0].invert_yaxis()
