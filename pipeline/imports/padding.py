"""Where the real steps of a padded sequence are, and numbers that are none.

Files pad with rows of zeros, some behind the sequence and some in front of it, and one file does it on one
side. A clip alone does not tell: its first frames may be zeros because no face was found in them. So the side
is found from all clips of a modality together, by their lengths where the file has some, and on the other
side zeros are frames like any other.

Symbols: T steps of a clip with padding, D columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.imports.contract import Side

FEW = 0.05  # share of the clips


@dataclass(frozen=True)
class Edges:
    """Rows of zeros at the ends of a sequence of `steps` rows; `front` = `back` = `steps` where all are."""

    steps: int
    front: int
    back: int

    @property
    def empty(self) -> bool:
        """No row says anything."""
        return self.front == self.steps


def clean(block: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A sequence as float32 with 0 in place of NaN and infinities.

    Parameters
    ----------
    block : (T, D), any numeric dtype

    Returns
    -------
    values : (T, D) float32
    nan, infinite : how many of each there were; what float32 cannot hold is infinite
    """
    with np.errstate(over="ignore"):
        values = np.array(block, dtype=np.float32)
    nan, infinite = np.isnan(values), np.isinf(values)
    values[nan | infinite] = 0
    return values, int(nan.sum()), int(infinite.sum())


def edges(values: np.ndarray) -> Edges:
    """Rows of zeros in front and behind of a clean (T, D) sequence."""
    filled = np.flatnonzero(values.any(axis=1))
    if not len(filled):
        return Edges(len(values), len(values), len(values))
    return Edges(len(values), int(filled[0]), int(len(values) - 1 - filled[-1]))


def sides_of(found: Sequence[Edges], lengths: Sequence[int | None] = ()) -> dict[Side, int]:
    """How many clips speak for padding on each side; most of them are right.

    A clip speaks for the side on which it has just as many rows of zeros as its length leaves; where lengths
    do not tell, for the side with more rows of zeros.

    Parameters
    ----------
    lengths : real steps of each sequence, where the file says them; empty = of none
    """
    filled = [one for one in found if not one.empty]
    left = [
        (one, one.steps - said)
        for one, said in zip(found, lengths, strict=False)
        if said is not None and said < one.steps and not one.empty
    ]
    front = sum(one.front == rows != one.back for one, rows in left)
    back = sum(one.back == rows != one.front for one, rows in left)
    if not front and not back:
        front, back = sum(one.front > one.back for one in filled), sum(one.back > one.front for one in filled)
    return {"front": front, "back": back}


def side_of(found: Sequence[Edges], lengths: Sequence[int | None] = ()) -> Side | None:
    """The side on which a modality is padded, see `sides_of`; None where no clip has a row of zeros."""
    clips = sides_of(found, lengths)
    if not any(clips.values()) and not any(one.front for one in found if not one.empty):
        return None
    return "front" if clips["front"] > clips["back"] else "back"


def disagree(clips: Mapping[Side, int]) -> bool:
    """Whether too many clips are padded on the other side for zeros there to be frames without a face."""
    return min(clips.values()) > FEW * sum(clips.values())


def believable(lengths: Sequence[int], found: Sequence[Edges]) -> bool:
    """Whether a file's lengths say more than its shape: some write T everywhere, padding or not."""
    padded = sum(one.front + one.back > 0 for one in found if not one.empty)
    whole = all(length == one.steps for length, one in zip(lengths, found, strict=True))
    return not (whole and 2 * padded > len(found))


def real_steps(found: Edges, side: Side | None, said: int | None = None, trusted: bool = False) -> slice:
    """The steps of a sequence that are not padding.

    Parameters
    ----------
    side : where the padding is, None = there is none
    said : length that the file gives, None = none
    trusted : believe it even if rows beyond it are not zeros (a text's pad tokens have states, too)

    Returns
    -------
    a slice of at least one step where the sequence has any; the length that was said counts only if all rows
    beyond it are zeros
    """
    nonzero = found.steps if side is None else found.steps - (found.front if side == "front" else found.back)
    length = nonzero
    if said is not None and (trusted or nonzero <= said):
        length = said
    length = min(max(length, 1), found.steps)
    return slice(found.steps - length, found.steps) if side == "front" else slice(0, length)
