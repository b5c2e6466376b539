"""Ids of clips as foreign files write them, turned into `video$_$clip`.

| in the file | becomes | who writes it so |
|---|---|---|
| `video$_$clip` | the same | MMSA, MMSA-FET |
| `video[3]` | `video$_$3` | CMU SDK after `align()`; MAG-BERT, MISA, MIB, MultiBench |
| `video_3` | `video$_$3` | MultiBench (digits after the last `_`) |
| `video, 23.2, 30.3` | `video$_$0`, 1, ... by start | MulT: video, start and end in seconds |
| anything else | `anything$_$0` | one clip a video |

Numbers stay as they are. The SDK's count from 0 in the order of its label file, CMU-MOSI's media files
(`video_1.mp4`) and MMSA's ids from 1: `video[0]` is MMSA's `video$_$1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import SEPARATOR
from pipeline.formats.text import text_of
from pipeline.imports.checks import ONLY_CLIP, clip_of

SEGMENT = re.compile(r"(.+)\[(\d+)\]", re.DOTALL)
NUMBERED = re.compile(r"(.+)_(\d+)", re.DOTALL)
MADE_DIGITS = 6  # of a made id, so that ids sort as the file's rows do


def named_rows(where: str, ids: Sequence[Any], underscore: bool = False) -> list[dict[str, Any]]:
    """`clip_id` and `video_id` of every clip, and `start_s`, `end_s` where the ids hold them.

    Parameters
    ----------
    where : file and split, for messages
    ids : text, bytes, numbers, or arrays of one of them; or of video, start and end
    underscore : whether digits after a last `_` number the clips of a video
    """
    if len(ids) and all(np.size(value) == 3 and not isinstance(value, str | bytes) for value in ids):
        return _rows_of_intervals(where, ids)
    pattern = NUMBERED if underscore else None
    return [_row(where, *parted(text_of(value), pattern)) for value in ids]


def made_rows(name: str, count: int) -> list[dict[str, Any]]:
    """Ids for a file without any: the split and the row; nobody knows the videos, so each clip is one."""
    return [_row(name, f"{name}_{row:0{MADE_DIGITS}d}", ONLY_CLIP) for row in range(count)]


def about_segments(ids: Iterable[Any]) -> list[str]:
    """A note where ids are numbered as the CMU SDK does."""
    if not any(np.size(value) == 1 and SEGMENT.fullmatch(text_of(value)) for value in ids):
        return []
    return ["ids like video[3] keep their number, counted from 0; CMU-MOSI's media and MMSA count from 1"]


def parted(raw: str, pattern: re.Pattern[str] | None) -> tuple[str, str]:
    """Video and clip of an id; `pattern` has a group of each, for ids that are not of the usual forms."""
    if SEPARATOR in raw:
        video, _, clip = raw.partition(SEPARATOR)
        return video, clip
    found = SEGMENT.fullmatch(raw) or (pattern and pattern.fullmatch(raw))
    return (found[1], found[2]) if found else (raw, ONLY_CLIP)


def _row(where: str, video: str, clip: str) -> dict[str, Any]:
    return {"clip_id": clip_of(where, video, clip), "video_id": video}


def _rows_of_intervals(where: str, ids: Sequence[Any]) -> list[dict[str, Any]]:
    found = []
    for value in ids:
        video, *times = (text_of(part) for part in np.asarray(value, object).reshape(-1))
        try:
            start, end = map(float, times)
        except ValueError as error:
            raise FormatError(
                f"{where}: id is {[video, *times]}; expected a video with its start and end in seconds"
            ) from error
        found.append((video, start, end))
    # equal intervals share their number, so that a repeated clip is found to be one
    starts: dict[str, list[tuple[float, float]]] = {}
    for video, start, end in sorted(set(found)):
        starts.setdefault(video, []).append((start, end))
    return [
        _row(where, video, str(starts[video].index((start, end)))) | {"start_s": start, "end_s": end}
        for video, start, end in found
    ]
