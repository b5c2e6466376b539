"""SVG of a page: the same picture in fewer bytes, in the page's ink, with ids of its own."""

from __future__ import annotations

import re

from matplotlib.figure import Figure

from pipeline.reports.figures import explain, new_figure, svg_picture


def drawn(name: str = "one", shift: float = 0.0) -> str:
    with new_figure(3, 2) as figure:
        panel = figure.subplots()
        panel.plot([0, 1 + shift], [0, 1], color="black", label="<a & b>")
        panel.plot([0.2, 0.4, 0.6], [0.5] * 3, "o", color="#D55E00", label="full")
        panel.plot([0.3], [0.7], "s", color="#0072B2", markerfacecolor="none")
        panel.plot([0.9], [0.7], "o", color="black")
        panel.barh([0.1], [0.5], 0.05, color="#E69F00", edgecolor="black", hatch="///")
        panel.legend()
        explain(panel.set_title("ω"), 'what it "is"')
        return svg_picture(figure, "title", "words", name).svg


def uses(svg: str, colour: str) -> int:
    """Markers of a fill."""
    groups = re.findall(rf'<g [^>]*fill="{colour}"[^>]*>((?:<use [^>]*/>)+)</g>', svg)
    return sum(group.count("<use") for group in groups) + len(re.findall(rf'<use [^>]*fill="{colour}"', svg))


def test_fills_and_inks_are_those_that_were_drawn() -> None:
    svg = drawn()
    assert uses(svg, "#d55e00") == 3 + 1  # and one in the legend
    assert svg.count('fill-opacity="0"') == 1 and "#000000" not in svg and "currentColor" in svg
    assert not re.search(r"<path [^>]*fill=[^>]* id=", svg)  # a marker takes the fill of its use
    hatch = re.search(r'fill="url\(#(\w+)\)"', svg)
    assert (
        hatch is not None and f'<pattern id="{hatch[1]}"' in svg.replace("  ", " ")
    ) or f'id="{hatch[1]}"' in svg
    assert "&lt;a &amp; b&gt;" in svg and '<title>what it "is"</title>' in svg


def test_it_is_smaller_and_each_id_is_its_own() -> None:
    one, other = drawn("one"), drawn("other")
    for svg in (one, other):
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert ids and len(ids) == len(set(ids))
        assert set(re.findall(r"#(s\w+)", svg)) == set(ids)
    assert not set(re.findall(r'\bid="([^"]+)"', one)) & set(re.findall(r'\bid="([^"]+)"', other))
    with new_figure(3, 2) as figure:
        assert isinstance(figure, Figure)
    assert "DejaVu Sans', 'Bitstream" not in one and "metadata" not in one and len(one) < 9000


def test_what_nobody_sees_changes_nothing() -> None:
    assert drawn() == drawn(shift=1e-7)
    assert drawn() != drawn(shift=0.3)
