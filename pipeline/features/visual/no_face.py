"""The rule for frames and clips without a face, of all encoders of faces.

A frame without a face is zero in every column, `success` included. A clip without any face is an `ok` row all
the same, with a note: it was examined, and that is what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence


def notes_on(counts: Sequence[int]) -> list[str]:
    """What a reader should know, from the number of faces in each frame."""
    without, several = sum(count == 0 for count in counts), sum(count > 1 for count in counts)
    notes = []
    if without == len(counts):
        notes.append(f"no face in any of {len(counts)} frames")
    elif without:
        notes.append(f"no face in {without} of {len(counts)} frames")
    if several:
        most = f"up to {max(counts)}" if max(counts) > 2 else "2"
        notes.append(f"{most} faces in {several} of {len(counts)} frames")
    return notes
