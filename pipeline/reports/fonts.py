"""Fonts for what a picture says: what matplotlib's own font lacks is looked for in those of the machine.

A page needs none of this: its letters are the reader's.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry

OWN = "DejaVu Sans"  # comes with matplotlib; Latin, Greek, Cyrillic, Arabic, Hebrew ...
BOXES = "Last Resort"  # a font that has a box for every letter
REGULAR = 400  # weight
ADVICE = "Noto Sans CJK (Debian: fonts-noto-cjk), or another font that has them"


def use_fonts(figure: Figure) -> str:
    """Give every text of a figure fonts that have its letters; the letters that no font here has, or ""."""
    from matplotlib.text import Text

    lacking: dict[str, None] = {}
    for text in figure.findobj(Text):
        names, strange = families(text.get_text())
        lacking |= dict.fromkeys(strange)
        if len(names) > 1:
            text.set_fontfamily(names)
    return "".join(lacking)


def families(text: str) -> tuple[list[str], str]:
    """Fonts that have the letters of a text, matplotlib's own first, and the letters that none here has."""
    from matplotlib.font_manager import findfont

    strange = {letter for letter in text if not letter.isspace()} - _letters(findfont(OWN))
    names, lacking = [OWN], ""
    while strange:
        letter = min(strange)
        found = _font_for(letter)
        if found is None:
            lacking += letter
            strange.remove(letter)
        else:
            names.append(found[0])
            strange -= _letters(found[1])
    return names, lacking


@cache
def _font_for(letter: str) -> tuple[str, str] | None:
    """Family and file of the first font of this machine that has a letter."""
    entries = [(one.weight != REGULAR, one.style, one.name, one.fname) for one in _fonts()]
    found = (entry[2:] for entry in sorted(entries) if letter in _letters(entry[3]))
    return next(found, None)


@cache
def _fonts() -> list[FontEntry]:
    """matplotlib's list, which it keeps from its first start on, and what was installed since."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {Path(one.fname).resolve() for one in fontManager.ttflist}
    for file in sorted(findSystemFonts()):
        if Path(file).resolve() not in known:
            with suppress(OSError, RuntimeError):  # what FreeType cannot read
                fontManager.addfont(file)
    return [one for one in fontManager.ttflist if not one.name.startswith(BOXES)]


@cache
def _letters(file: str) -> frozenset[str]:
    from matplotlib.font_manager import get_font

    return frozenset(map(chr, get_font(file).get_charmap()))
