"""matplotlib's SVG made small and fit to stand inside a page.

What is black follows the page's ink, what is white its ground, so that they are seen on a dark page too.
Coordinates keep a tenth of a point: what nobody sees does not change the bytes. Ids begin with a salt, as
a page has many pictures.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from itertools import groupby

WHY = "why:"  # begins the gid of what is explained on hover: the explanation follows
NUMBER = re.compile(r"-?\d+\.\d+")
REFERENCE = re.compile(r"#([\w-]+)")
LETTER = re.compile(r" ?([MLQCzZ]) ?")
OF_PAGE = {"#000000": "currentColor", "#ffffff": "var(--page,#fff)"}
FONT = "system-ui,'DejaVu Sans',sans-serif"
NUMBERS = ("d", "x", "y", "transform", "points", "width", "height", "cx", "cy", "r")
KEPT = ("href", "clip-path", "id", "patternUnits", "fill")
REFERRING = ("href", "clip-path", "fill")
DROPPED = ("metadata", "style", "title")
USUAL = {  # what SVG takes where nothing is said
    **{"fill-opacity": "1", "stroke-opacity": "1", "stroke-linecap": "butt", "stroke-linejoin": "round"},
    **{"stroke-dashoffset": "0", "stroke-miterlimit": "100000", "text-anchor": "start"},
}


def compact(text: str, alt: str, salt: str) -> str:
    """`<svg>` of a page, from matplotlib's; `salt` is of this picture alone, `alt` says what is seen."""
    root = ET.fromstring(text)
    view = root.attrib["viewBox"]
    _clean(root)
    parts = [_flat(child) for child in root]
    body = ET.Element(
        "svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": _shorter(view), "role": "img"}
    )
    body.attrib |= {"aria-label": alt, "font-family": FONT, "stroke-linejoin": "round"}
    body.extend(inner for part in parts for inner in part)
    _sweep(body)
    _merge(body)
    _rename(body, hashlib.sha256(salt.encode()).hexdigest()[:6])
    written: str = ET.tostring(body, encoding="unicode")
    return written.replace(" />", "/>")


def _clean(root: ET.Element) -> None:
    """Without namespaces, dates and what is nowhere used; numbers and styles shortened, ink is the page's."""
    for parent in list(root.iter()):
        for child in list(parent):
            child.tag = child.tag.rpartition("}")[2]
            child.tail = None
            if child.tag in DROPPED:
                parent.remove(child)
    markers = {part for defined in root.iter("defs") for part in defined.iter()}  # filled where they are used
    for part in root.iter():
        part.tag = part.tag.rpartition("}")[2]
        if part.tag != "text":
            part.text = None
        attributes: dict[str, str] = {}
        for name, value in part.attrib.items():
            plain = name.rpartition("}")[2]
            if plain == "style":
                attributes |= _style(value, part not in markers)
            elif plain == "transform" and value.startswith("rotate(-0 "):
                continue
            elif plain in NUMBERS:
                attributes[plain] = _shorter(value)
            elif plain in KEPT:
                attributes[plain] = OF_PAGE.get(value, value)
        part.attrib.clear()
        part.attrib.update(attributes)


def _style(value: str, drawn: bool) -> dict[str, str]:
    """A style as attributes, without what goes without saying; what is `drawn` in no colour is ink."""
    found = {}
    for entry in value.split(";"):
        name, _, said = (part.strip() for part in entry.partition(":"))
        if name == "font-size":
            found[name] = said.removesuffix("px")
        elif name and name != "font-family" and USUAL.get(name) != said:
            found[name] = said
    for name in ("fill", "stroke"):
        if name in found:
            found[name] = OF_PAGE.get(found[name], found[name])
    if drawn:
        found.setdefault("fill", "currentColor")
    return {name: _shorter(said) if NUMBER.fullmatch(said) else said for name, said in found.items()}


def _shorter(value: str) -> str:
    """Numbers with one decimal, and no more blanks than needed."""

    def tenth(found: re.Match[str]) -> str:
        text = f"{float(found[0]):.1f}".removesuffix(".0")
        return "0" if text == "-0" else text

    return LETTER.sub(r"\1", " ".join(NUMBER.sub(tenth, value).split()))


def _flat(part: ET.Element) -> list[ET.Element]:
    """An element without groups that say nothing; a group's explanation becomes its title."""
    inner = [found for child in part for found in _flat(child)]
    part[:] = inner
    if part.tag != "g":
        return [part]
    name = part.attrib.pop("id", "")
    if name.startswith(WHY):
        title = ET.Element("title")
        title.text = name.removeprefix(WHY)
        part.insert(0, title)
        return [part]
    if not part.attrib:
        return inner
    return [part] if inner else []


def _sweep(parent: ET.Element) -> None:
    """Without what is neither filled nor stroked, and without empty definitions and groups."""
    for child in list(parent):
        _sweep(child)
        unseen = child.tag == "path" and child.get("fill") == "none" and "stroke" not in child.attrib
        if unseen or (child.tag in ("defs", "g") and not len(child)):
            parent.remove(child)


def _merge(parent: ET.Element) -> None:
    """Neighbours that are drawn alike into one group: the markers of a scatter."""
    for child in parent:
        _merge(child)
    joined: list[ET.Element] = []
    for child in parent:
        before = joined[-1] if joined else None
        alike = before is not None and child.tag == "g" == before.tag and child.attrib == before.attrib
        if alike and before is not None and len(child) and child[0].tag != "title":
            before.extend(child)
        else:
            joined.append(child)
    found: list[ET.Element] = []
    for drawn, alike_ones in groupby(joined, _drawn_alike):
        members = list(alike_ones)
        if drawn is None or len(members) == 1:
            found += members
            continue
        group = ET.Element(
            "g", {name: value for name, value in members[0].attrib.items() if name not in "xy"}
        )
        href = group.attrib.pop("href")
        group.extend(
            ET.Element("use", {"href": href, "x": m.get("x", "0"), "y": m.get("y", "0")}) for m in members
        )
        found.append(group)
    parent[:] = found


def _drawn_alike(part: ET.Element) -> tuple[tuple[str, str], ...] | None:
    if part.tag != "use" or "transform" in part.attrib:
        return None
    return tuple(sorted((name, value) for name, value in part.attrib.items() if name not in ("x", "y")))


def _rename(root: ET.Element, salt: str) -> None:
    """Short ids for what is referred to, none for the rest; definitions that are the same are one."""
    used = {
        found for part in root.iter() for value in part.attrib.values() for found in REFERENCE.findall(value)
    }
    names: dict[str, str] = {}
    known: dict[str, str] = {}  # content -> id
    for part in root.iter():
        if (own := part.attrib.pop("id", "")) in used:
            content = part.tag + str(sorted(part.attrib.items())) + "".join(map(_content, part))
            twice = content in known
            names[own] = known.setdefault(content, f"s{salt}{len(known):x}")
            if not twice:
                part.set("id", names[own])
    for part in root.iter():
        for name, value in part.attrib.items():
            if "#" in value and name in REFERRING:
                part.set(name, REFERENCE.sub(lambda found: f"#{names.get(found[1], found[1])}", value))


def _content(part: ET.Element) -> str:
    return part.tag + str(sorted(part.attrib.items()))
