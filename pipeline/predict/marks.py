"""Evidence that a picture or a page shows, and its colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reports.figures import COLOURS

RAISES, LOWERS = COLOURS[2], COLOURS[1]  # evidence > 0, < 0
TINT = 0.55  # of the strongest word's colour


@dataclass(frozen=True)
class Marks:
    """Evidence of one run: what raises (> 0) or lowers its prediction, in the unit of `contributions`.

    Attributes
    ----------
    words : first character and one past the last, of the transcript; and the evidence
    frames, sound : begin and end in seconds, and the evidence
    """

    words: Sequence[tuple[int, int, float]] = ()
    frames: Sequence[tuple[float, float, float]] = ()
    sound: Sequence[tuple[float, float, float]] = ()

    @property
    def strongest(self) -> float:
        """The largest evidence of a word, without its sign; 1 where there is none."""
        return max((abs(value) for *_, value in self.words), default=0.0) or 1.0

    def of_word(self, start: int, end: int) -> float | None:
        """Evidence of the word in these characters; None where the run has not read it."""
        return next((value for a, b, value in self.words if a < end and start < b), None)


def tint(value: float, strongest: float) -> tuple[str, float]:
    """Colour of a word with this evidence, and how opaque it is."""
    return (RAISES if value > 0 else LOWERS), TINT * min(abs(value) / strongest, 1.0)
