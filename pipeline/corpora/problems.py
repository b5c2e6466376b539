"""What is wrong with the label files of a corpus: collected, so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 20  # problems of one kind that are spelt out; of the others only where they are


@dataclass(frozen=True)
class Problem:
    """Something fatal: which check found it, what to do about it, and where it is.

    Attributes
    ----------
    line : of the label file; None where the file has no lines that matter (JSON, pickles), or the whole of
        it is concerned
    """

    check: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


def shortened(problems: Sequence[Problem]) -> list[str]:
    """All problems as lines, kind by kind; beyond `SHOWN` of one kind only their number and line numbers."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.check, []).append(problem)
    lines = []
    for check, same in kinds.items():
        lines += [str(problem) for problem in same[:SHOWN]]
        more = same[SHOWN:]
        if more and all(problem.line is None for problem in more):
            lines.append(f"{check}: the same {len(more)} more time(s)")
        elif more:
            numbers = ", ".join(str(problem.line) for problem in more)
            lines.append(f"{check}: the same in {len(more)} more line(s): {numbers}")
    return lines
