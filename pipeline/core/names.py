"""Names and texts from outside: what a table, a message and a folder can hold."""

from __future__ import annotations

import unicodedata

from pipeline.core.vocabulary import SEPARATOR

LONGEST_ID = 255  # bytes, what a file system allows for a name


def escaped(text: str) -> str:
    """Text as one line that can be shown and encoded; the rest as Python writes it (`\\n`, `\\ud800`)."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else ascii(char)[1:-1]
        for char in text
    )


def encodable(text: str) -> str:
    """Text that UTF-8 can write: surrogates become the character of their pair, single ones U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def id_of(name: str) -> str:
    """A file's or folder's name as an id: as it is, or escaped, so that no two names become the same."""
    return name if bad_id(name) is None else escaped(name.replace("\\", "\\\\"))


def bad_id(value: str) -> str | None:
    """Why this cannot be the id of a video or clip, which names files and folders; None if it can."""
    if (size := len(value.encode("utf-8", "surrogatepass"))) > LONGEST_ID:
        return f"an id must not have more than {LONGEST_ID} bytes, and this has {size:,}"
    if not value.strip():
        return "an id must not be empty"
    if value in {".", ".."} or "/" in value or "\\" in value:
        return "an id must not lead to another folder; write the name alone, without / or \\"
    if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in value):
        return "an id must be UTF-8, without control characters and line breaks"
    if SEPARATOR in value:
        return f"{SEPARATOR} separates video_id from clip_id and must not be in one of them"
    return None
