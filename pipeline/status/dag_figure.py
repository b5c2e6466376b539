"""The picture of the DAG: a layer for each step from the raw data to the report, from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.reports.figures import Drawing
from pipeline.status.dag import Node

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOX, PITCH = (2.25, 0.5), (2.45, 0.86)  # inches: of a box, and from one to the next
MARGIN, STACK = 0.25, 0.05  # of the picture, and of the box behind a stage of several entries
GROUND, FILL, EDGE, INK, FAINT = "#f7f9fb", "#fefefe", "#8aa0b8", "#1f2d3d", "#52627a"
ROUND = "round,pad=0,rounding_size=0.06"
LINE: dict[str, Any] = {"linewidth": 0.9, "clip_on": False}
Places = dict[str, tuple[int, int]]
"""layer and column of each stage"""


def dag_drawing(nodes: Sequence[Node]) -> Drawing:
    """The stages, each below those that it reads from; what follows from other arrows has none."""
    places = _places(nodes)
    width = (max(column for _, column in places.values()) + 1) * PITCH[0] + 2 * MARGIN
    height = max(layer for layer, _ in places.values()) * PITCH[1] + BOX[1] + 2 * MARGIN
    alt = "; ".join(f"{n.name} reads from {', '.join(n.above)}" if n.above else n.name for n in nodes)
    paint = partial(_paint, nodes, places, (width, height))
    return Drawing("dag", "Stages of dvc.yaml", f"Stages of dvc.yaml: {alt}.", paint, width, height)


def direct(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Of each stage those above it that no other way leads to."""
    everything: dict[str, set[str]] = {}
    for node in nodes:
        everything[node.name] = set(node.above).union(*(everything[maker] for maker in node.above))
    return {
        node.name: [
            maker for maker in node.above if not any(maker in everything[other] for other in node.above)
        ]
        for node in nodes
    }


def _places(nodes: Sequence[Node]) -> Places:
    """Where each stage stands; its column stays free below it as far as its arrows lead."""
    makers = direct(nodes)
    layers: dict[str, int] = {}
    for node in nodes:
        layers[node.name] = max((layers[maker] + 1 for maker in makers[node.name]), default=0)
    taken: set[tuple[int, int]] = set()
    places: Places = {}
    for node in nodes:
        last = max(
            (layers[name] - 1 for name in layers if node.name in makers[name]), default=layers[node.name]
        )
        needed = range(layers[node.name], last + 1)
        above = [places[maker][1] for maker in makers[node.name]]
        column = round(sum(above) / len(above)) if above else 0
        while any((layer, column) in taken for layer in needed):
            column += 1
        taken |= {(layer, column) for layer in needed}
        places[node.name] = layers[node.name], column
    return places


def _paint(nodes: Sequence[Node], places: Places, size: tuple[float, float], figure: Figure) -> None:
    from matplotlib.patches import Rectangle

    figure.set_layout_engine("none")  # every place is known
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set_axis_off()
    panel.set(xlim=(0, size[0]), ylim=(size[1], 0))
    panel.add_patch(Rectangle((0, 0), *size, facecolor=GROUND, linewidth=0, clip_on=False))
    for name, makers in direct(nodes).items():
        for maker in makers:
            _arrow(panel, places[maker], places[name])
    for node in nodes:
        _box(panel, node, *_corner(places[node.name]))


def _corner(place: tuple[int, int]) -> tuple[float, float]:
    """Of a box, at the top on the left."""
    layer, column = place
    return MARGIN + column * PITCH[0], MARGIN + layer * PITCH[1]


def _box(panel: Axes, node: Node, left: float, top: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    look: dict[str, Any] = {"facecolor": FILL, "edgecolor": EDGE, **LINE}
    for shift in (STACK, 0.0) if node.many else (0.0,):
        panel.add_patch(FancyBboxPatch((left + shift, top + shift), *BOX, boxstyle=ROUND, **look))
    middle = left + BOX[0] / 2
    panel.text(middle, top + 0.17, node.name, ha="center", va="center", size=9, weight="bold", color=INK)
    panel.text(middle, top + 0.36, node.writes, ha="center", va="center", size=7, color=FAINT)


def _arrow(panel: Axes, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Straight down beside the layers between, then over to the box."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    (left, top), (to_left, to_top) = _corner(start), _corner(end)
    x, to_x = left + BOX[0] / 2, to_left + BOX[0] / 2
    turn, middle = to_top - PITCH[1] + BOX[1], to_top - (PITCH[1] - BOX[1]) / 2
    corners = [(x, top + BOX[1]), (x, turn), (x, middle), (to_x, middle), (to_x, to_top)]
    codes = [Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    line = Path(corners, codes)
    panel.add_patch(FancyArrowPatch(path=line, arrowstyle="-|>", mutation_scale=7, color=FAINT, **LINE))
