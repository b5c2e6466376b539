"""The report's pictures. Methods and seeds differ in line and marker too, so that grey print can be read.

The same numbers give the same bytes: no dates, no versions, matplotlib's own defaults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pipeline.reports.report import Scored

# one a method: colours of Okabe and Ito, which differ in lightness too
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)))
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
PANEL = 3.6  # inches


def draw_learning_curves(scored: list[Scored], folder: Path) -> None:
    """learning_curves.png: validation loss above, training loss below, one column a dataset."""
    datasets, methods = _names(scored)
    with _figure(len(datasets) * PANEL * 1.4, 2 * PANEL) as figure:
        panels = figure.subplots(2, len(datasets), squeeze=False, sharex="col")
        for column, dataset in enumerate(datasets):
            upper, lower = panels[:, column]
            runs = [run for run in scored if run.dataset == dataset]
            labels = {method: method for method in methods}
            for run in runs:
                style = {
                    **_style(methods.index(run.method)),
                    "markersize": 7,
                    "markevery": [run.result["epoch"] - 1],
                }
                style["label"] = labels.pop(run.method, None)  # once a method
                epochs = [row["epoch"] for row in run.curves]
                upper.plot(epochs, [row["valid_loss"] for row in run.curves], **style)
                lower.plot(epochs, [row["total"] for row in run.curves], **style)
            if not runs[0].class_names:
                height = runs[0].result["floor"]["valid_mae"]
                upper.axhline(height, color="0.5", linestyle=(0, (1, 3)), label="train median")
            upper.set_title(f"{dataset}: validation")
            upper.set_ylabel("cross-entropy (nats)" if runs[0].class_names else "MAE (label units)")
            upper.set_ylim(bottom=0)
            lower.set_title(f"{dataset}: training")
            lower.set_ylabel("weighted sum of the loss terms")
            lower.set_xlabel("epoch")
            _legend(upper)
        figure.suptitle("Learning curves, one line a seed\n(marker: the epoch that was chosen)")
        _save(figure, folder / "learning_curves.png")


def draw_predictions(
    scored: list[Scored], label_ranges: dict[str, tuple[float, float]], folder: Path
) -> None:
    """predicted_vs_true.png: a row a dataset, a column a method, the test clips of all seeds.

    Predictions over labels; of a classification the confusion matrix.
    """
    datasets, methods = _names(scored)
    with _figure(len(methods) * PANEL, len(datasets) * (PANEL + 0.3) + 0.6) as figure:
        panels = figure.subplots(len(datasets), len(methods), squeeze=False)
        for dataset, row in zip(datasets, panels, strict=True):
            for method, panel in zip(methods, row, strict=True):
                runs = [run for run in scored if (run.dataset, run.method) == (dataset, method)]
                panel.set_title(f"{method} on {dataset}")
                if runs[0].class_names:
                    _draw_confusion(panel, runs)
                else:
                    _draw_scatter(panel, runs, *label_ranges[dataset])
        lines = ["Test clips"]
        if any(not run.class_names for run in scored):
            lines.append("(dashed: prediction = label)")
        if any(run.class_names for run in scored):
            lines.append("(matrix: clips of all seeds,\ndarker: a larger share of the row)")
        figure.suptitle("\n".join(lines))
        _save(figure, folder / "predicted_vs_true.png")


def _draw_scatter(panel: Axes, runs: list[Scored], low: float, high: float) -> None:
    ends = [low, high, *(p for run in runs for p in run.predictions)]
    margin = 0.05 * (max(ends) - min(ends))
    limits = (min(ends) - margin, max(ends) + margin)
    panel.plot(limits, limits, color="0.5", linestyle="--", linewidth=1)
    for number, run in enumerate(runs):
        style: dict[str, Any] = {
            "s": 18,
            "marker": MARKERS[number % len(MARKERS)],
            "edgecolors": COLOURS[number % len(COLOURS)],
            "facecolors": "none",
            "linewidths": 0.8,
        }
        panel.scatter(run.labels, run.predictions, label=f"seed {run.seed}", **style)
    panel.set(xlim=limits, ylim=limits, aspect="equal")
    panel.set_xlabel(f"label ({low:g} to {high:g})")
    panel.set_ylabel("prediction (label units)")
    _legend(panel)


def _draw_confusion(panel: Axes, runs: list[Scored]) -> None:
    """Rows: labels, columns: predictions; the number of clips, shaded by its share of the row."""
    names = runs[0].class_names
    pairs = Counter(pair for run in runs for pair in zip(run.labels, run.predictions, strict=True))
    counts = np.array([[pairs[label, found] for found in range(len(names))] for label in range(len(names))])
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    panel.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for label, found in np.ndindex(*counts.shape):
        colour = "white" if shares[label, found] > 0.5 else "black"
        panel.text(
            found, label, f"{counts[label, found]}", ha="center", va="center", color=colour, fontsize="small"
        )
    panel.set_xticks(
        range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize="small"
    )
    panel.set_yticks(range(len(names)), names, fontsize="small")
    panel.set_xlabel("prediction")
    panel.set_ylabel("label")


def _names(scored: list[Scored]) -> tuple[list[str], list[str]]:
    """Datasets and methods in the order of params.yaml."""
    return list(dict.fromkeys(r.dataset for r in scored)), list(dict.fromkeys(r.method for r in scored))


def _style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 1.2,
    }


def _legend(panel: Axes) -> None:
    panel.legend(frameon=False, fontsize="small")


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    import matplotlib
    from matplotlib.figure import Figure  # without pyplot: no window system is looked for

    fixed: dict[Any, Any] = {**matplotlib.rcParamsDefault}
    fixed.pop("backend", None)
    with matplotlib.rc_context(fixed):
        yield Figure(figsize=(width, height), dpi=120, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})  # matplotlib's version would be in it
