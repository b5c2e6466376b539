"""Checks of what is said in a corpus: texts that lack, are garbled, or are not in their language's script.

They read rows of the clip table: `clip_id`, `text`, `language` (ISO 639-1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.corpora.findings import Finding
from pipeline.transcripts.scripts import in_other_script

SHOWN_LETTERS = 40  # of a text that is named


def texts(rows: Sequence[Mapping[str, Any]], declared: bool) -> list[Finding]:
    """Texts that lack, that were read in a wrong encoding, or are in another script than declared.

    Parameters
    ----------
    declared : the language of the rows was given by somebody, and is not only the default
    """
    said = [(row["clip_id"], row["text"], row["language"]) for row in rows if row["text"]]
    findings = []
    if silent := len(rows) - len(said):
        message = f"{silent} of {len(rows)} clips have no transcript"
        findings.append(Finding("info", "no transcript", message))
    if broken := tuple(f"{clip}: {text[:SHOWN_LETTERS]}" for clip, text, _ in said if _garbled(text)):
        message = f"{len(broken)} text(s) were once read in a wrong encoding; take them from the source again"
        findings.append(Finding("warning", "garbled text", message, broken))
    other: dict[str, list[str]] = defaultdict(list)
    for clip, text, language in said if declared else ():
        if in_other_script(text, language):
            other[language].append(f"{clip}: {text[:SHOWN_LETTERS]}")
    for language, clips in other.items():
        message = f"{len(clips)} text(s) are not in the script of language {language!r}"
        findings.append(Finding("warning", "script", message, tuple(clips)))
    return findings


def _garbled(text: str) -> bool:
    """Whether UTF-8 was read as another encoding: then writing it in that one gives UTF-8 again."""
    if "\ufffd" in text:
        return True
    for encoding in ("cp1252", "latin-1"):
        try:
            if text.encode(encoding).decode("utf-8") != text:
                return True
        except UnicodeError:
            continue
    return False
