"""Scripts of texts: their letters, and whether they are those of a language."""

from __future__ import annotations

import unicodedata

LEAST_SHARE = 0.2  # of a text's letters that must be in the script of its language

# what the Unicode names of a language's letters begin with
SCRIPTS = {
    **dict.fromkeys(("de", "en", "es", "fr", "id", "it", "nl", "pl", "pt", "tr", "vi"), ("LATIN",)),
    **dict.fromkeys(("ru", "uk"), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa"), ("ARABIC",)),
    "zh": ("CJK",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "ko": ("HANGUL",),
    "hi": ("DEVANAGARI",),
    "el": ("GREEK",),
}


def letters(text: str) -> list[str]:
    """The letters of a text, without case, marks of writing and forms of width."""
    return [char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalpha()]


def in_other_script(text: str, language: str) -> bool:
    """Whether few of a text's letters are those of its language; never of a language that SCRIPTS lacks."""
    found, scripts = letters(text), SCRIPTS.get(language)
    own = sum(unicodedata.name(letter, "").split(" ")[0] in (scripts or ()) for letter in found)
    return scripts is not None and bool(found) and own / len(found) < LEAST_SHARE
