"""Windows on a file, and the limits of what is decoded of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import ClipError
from pipeline.media import libav
from pipeline.media.containers import duration_s, origin_s
from pipeline.params.params import MediaLimits

TRACKS_DIFFER_S = 0.25  # tracks of one file differ in length by less


@dataclass(frozen=True)
class TimeWindow:
    """Seconds: the file's first timestamp, the window's start after it, its length (inf: to the end)."""

    origin: float
    start: float
    length: float

    def __str__(self) -> str:
        end = "the end" if math.isinf(self.length) else f"{self.start + self.length:.2f} s"
        return f"{self.start:.2f} s and {end}"


def window_of(
    container: Any, path: Path, limits: MediaLimits, start_s: float | None, end_s: float | None
) -> TimeWindow:
    """The asked part of the file, checked: not empty, and not longer than the limit as far as is known."""
    start = start_s or 0.0
    length = (math.inf if end_s is None else end_s) - start
    if start < 0 or not length > 0:
        raise ClipError(
            f"{path.name}: the window start_s={start_s}, end_s={end_s} is empty or begins before 0"
        )
    duration = duration_s(container)
    check_length(min(length, duration - start) if duration else 0.0, limits, path)
    return TimeWindow(origin_s(container), start, length)


def check_length(seconds: float, limits: MediaLimits, path: Path) -> None:
    """ClipError where a clip is longer than the limit, by more than tracks of one file differ in length."""
    if seconds > limits.max_seconds + TRACKS_DIFFER_S:
        raise ClipError(
            f"{path.name}: longer ({seconds:.2f} s) than media.max_seconds={limits.max_seconds:g}; "
            "give a window (start_s, end_s) or raise the limit"
        )


def check_size(picture: Any, limits: MediaLimits, path: Path) -> None:
    """ClipError where a frame (or the track that announces it) is larger than the limit."""
    if picture.width * picture.height > limits.max_pixels:
        raise _too_large(picture.width, picture.height, limits, path)


def check_refused_size(track: Any, limits: MediaLimits, path: Path) -> None:
    """ClipError where libav decodes nothing of a track because its frames are far larger than the limit."""
    refused = libav.refused_size(libav.log_of(path, limits.max_pixels, track.index))
    if refused is not None:
        raise _too_large(*refused, limits, path)


def _too_large(width: int, height: int, limits: MediaLimits, path: Path) -> ClipError:
    return ClipError(
        f"{path.name}: frames of {width} x {height} = {width * height} pixels are larger than "
        f"media.max_pixels={limits.max_pixels}; scale the video down or raise the limit"
    )
