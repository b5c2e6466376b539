"""Findings: what surveys of corpora and the checks of `msa-cli validate` have to say, one thing each.

An *error* is where the labels cannot be used (ingest, import or assemble refuse them, exit code 2), a
*warning* where a result might not mean what its reader thinks (a recording in train and test, media that are
missing), and *info* is all else. Warnings leave with 0: a corpus with a few broken clips is an ordinary one.
Findings are collected, so that all that is wrong is said at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")  # worst first
SHOWN_LINES = 100  # numbers of them
SHOWN = 20  # errors of one kind that are spelt out; of the others only where they are


@dataclass(frozen=True)
class Finding:
    """One thing that a survey or a check has to say.

    Attributes
    ----------
    check : short name, e.g. `missing media`
    message : what was found, and the way out where there is one
    rows : all that it concerns: clip ids, files or lines of the label file
    line : of the label file; None where the file has no lines that matter (JSON, pickles), or the whole of
        it is concerned
    """

    level: Level
    check: str
    message: str
    rows: tuple[str, ...] = ()
    line: int | None = None

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


def counted(level: Level, check: str, rows: Iterable[str], what: str, before: str = "") -> list[Finding]:
    """A finding whose message has the number of its rows before `what`; none without rows."""
    found = tuple(rows)
    return [Finding(level, check, f"{before}{len(found)} {what}", found)] if found else []


def shortened(problems: Sequence[Finding]) -> list[str]:
    """All errors as lines, kind by kind; beyond `SHOWN` of one kind only their number and line numbers."""
    lines: list[str] = []
    for check, same in by_check(problems).items():
        lines += map(str, same[:SHOWN])
        more = [one.line for one in same[SHOWN:]]
        if more and set(more) == {None}:
            lines.append(f"{check}: the same {len(more)} more time(s)")
        elif more:
            places = list(dict.fromkeys(map(str, more)))
            listed = ", ".join(places[:SHOWN_LINES]) + (" ..." if len(places) > SHOWN_LINES else "")
            lines.append(f"{check}: the same in {len(places)} more line(s): {listed}")
    return lines


def by_check(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings of each check, in the order in which the checks first spoke."""
    found: dict[str, list[Finding]] = {}
    for one in findings:
        found.setdefault(one.check, []).append(one)
    return found


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, warnings, infos; within a level in the order of the checks."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether something must be corrected before the corpus can be used."""
    return any(finding.level == "error" for finding in findings)


def percent(part: int, whole: int) -> str:
    """A share for people; what is there is never called 0 %, and what lacks something never 100 %."""
    if not whole or not part:
        return "0%"
    share = 100 * part / whole
    if share < 1:
        return "<1%"
    return ">99%" if part < whole and share > 99 else f"{share:.0f}%"
