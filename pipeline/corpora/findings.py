"""Findings: what the checks of `msa-cli validate` have to say, one thing each.

An *error* is where the labels cannot be used (ingest, import or assemble would refuse them, exit code 2), a
*warning* where a result might not mean what its reader thinks (a recording in train and test, media that are
missing), and *info* is all else. Warnings leave with 0: a corpus with a few broken clips is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")  # worst first


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    Attributes
    ----------
    check : short name, e.g. `missing media`
    message : what was found, and the way out where there is one
    rows : all that it concerns: clip ids, files or lines of the label file
    """

    level: Level
    check: str
    message: str
    rows: tuple[str, ...] = ()


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, warnings, infos; within a level in the order of the checks."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether something must be mended before the corpus can be used."""
    return any(finding.level == "error" for finding in findings)


def percent(part: int, whole: int) -> str:
    """A share for people; what is there is never called 0 %, and what lacks something never 100 %."""
    if not whole or not part:
        return "0%"
    share = 100 * part / whole
    if share < 1:
        return "<1%"
    return ">99%" if part < whole and share > 99 else f"{share:.0f}%"
