"""Containers: opening a media file safely, its tracks and its clock, and going to a place in it.

Only regular local files of known containers are opened: no URLs, playlists or pipes, and libav may follow
nothing but files.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.errors import AbsentError, ClipError, MachineTroubleError, UndecodableError
from pipeline.media import libav
from pipeline.media.stated_size import is_cut_off, outer_parts
from pipeline.params.params import MediaLimits

INDEXED = {"mov", "matroska"}  # a seek lands on a key frame at or before the target
SPARE_BYTES = 1 << 28  # where this much can be had, memory does not lack
FILE, FOLDER = "regular file", "folder"
KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


# -------------------------------------------------------------------------------------------------- opening
def kind_of_file(path: Path) -> str | None:
    """What lies there, one of KINDS; None where there is nothing. Opens nothing."""
    return KINDS[stat.S_IFMT(path.stat().st_mode)] if path.exists() else None


def check_regular(path: Path) -> None:
    """ClipError where there is no regular file: whoever opens a pipe may wait for ever."""
    with reading(path):
        kind = kind_of_file(path)
    if kind != FILE:
        raise ClipError(f"{path.name}: " + (f"a {kind}, not a {FILE}" if kind else "no such file"))


@contextmanager
def open_media(path: Path, limits: MediaLimits) -> Iterator[Any]:
    """The container of a regular local file, or a ClipError that says in plain words why not."""
    from av.error import FFmpegError

    check_regular(path)
    if path.stat().st_size == 0:
        raise ClipError(f"{path.name}: the file is empty (0 bytes)")
    try:
        container = libav.open_file(path, limits.max_pixels)
    except (FFmpegError, UnicodeError) as error:
        check_readable(path, error)
        raise ClipError(f"{path.name}: {_unreadable(path, limits)}") from error
    with container:
        yield container


def _unreadable(path: Path, limits: MediaLimits) -> str:
    """What is wrong with a file that libav cannot open."""
    size = path.stat().st_size
    said = libav.log_of(path, limits.max_pixels)
    if any("max_streams" in line for line in said):
        return f"more than {libav.MAX_TRACKS} tracks (max_streams); keep one video and one audio track"
    guessed = any("misdetection" in line for line in said)  # by the suffix: it is not at all of that kind
    cause = f"({said[-1][:100]}; {size} bytes)" if said and not guessed else f"({size} bytes)"
    with path.open("rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    if not is_mp4:
        return f"not a media file that can be read, or damaged at its beginning {cause}"
    if is_cut_off(path):
        return f"cut off before its index (moov), only {size} bytes; copy or download it again"
    there = any(kind == b"moov" for kind, _ in outer_parts(path))
    return f"its index (moov) is {'damaged' if there else 'missing'} {cause}; copy or download it again"


def check_readable(path: Path, error: BaseException) -> None:
    """Tell a disk's or a machine's trouble from a damaged file: only the latter can be read to its end.

    `error` is libav's, which lacks memory also where a damaged file asks for far too much.

    Raises
    ------
    MachineTroubleError : memory has run out, or the bytes cannot be read
    ClipError : they may not be read
    """
    with reading(path):
        if isinstance(error, MemoryError):
            np.empty(SPARE_BYTES, np.uint8)
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of reading the bytes of a file as those of a clip; see `check_readable`."""
    try:
        yield
    except MemoryError as error:
        raise MachineTroubleError(f"{path.name}: out of memory while decoding") from error
    except PermissionError as error:
        raise ClipError(f"{path.name}: cannot be read: permission denied") from error
    except OSError as error:
        raise MachineTroubleError(f"{path.name}: reading failed ({error.strerror})") from error


# --------------------------------------------------------------------------------------------------- tracks
def track_of(container: Any, kind: Literal["video", "audio"], limits: MediaLimits) -> Any:
    """The first video or audio track that can be decoded, None without; cover pictures are none.

    UndecodableError where there are such tracks, but no decoder for their codecs.
    """
    from av.stream import Disposition

    tracks = getattr(container.streams, kind)
    tracks = [track for track in tracks if not track.disposition & Disposition.attached_pic]
    known = next((track for track in tracks if track.codec_context is not None), None)
    if known is None and tracks:
        raise undecodable(container, tracks[0], limits)
    return known


def undecodable(container: Any, track: Any, limits: MediaLimits) -> UndecodableError:
    """The error of a track for whose codec there is no decoder."""
    path = path_of(container)
    codec = libav.codec_of(path, limits.max_pixels, track)
    return UndecodableError(
        f"{path.name}: its {track.type} track has the codec {codec}, which cannot be decoded here "
        "(convert the file to a common one)"
    )


@contextmanager
def open_track(
    path: Path, kind: Literal["video", "audio"], limits: MediaLimits, second: float
) -> Iterator[tuple[Any, Any]]:
    """Container and track (see `track_of`), at a key frame at or before `second` or at the beginning.

    AbsentError where there is no such track.
    """
    for sought in (True, False):
        with open_media(path, limits) as container:
            track = track_of(container, kind, limits)
            if track is None:
                raise AbsentError(f"{path.name}: no {kind} track")
            if sought and not _seek(container, track, second):
                continue  # nobody knows where it is now
            yield container, track
            return


def _seek(container: Any, stream: Any, second: float) -> bool:
    """Go to a key frame at or before `second` (from the file's first timestamp), or stay at the beginning.

    False where the index is damaged.
    """
    from av.error import FFmpegError

    if second <= 0 or not is_one_of(container, INDEXED):
        return True
    beginning = stream.start_time or 0
    try:
        target = int((second + origin_s(container)) / stream.time_base)
        container.seek(target, stream=stream)
        first = next((packet for packet in container.demux(stream) if packet.pts is not None), None)
        exact = first is not None and first.is_keyframe and first.pts <= target
        container.seek(target if exact else beginning, stream=stream)
    except (FFmpegError, OverflowError):
        return False
    return True


def path_of(container: Any) -> Path:
    """The file that was opened."""
    return Path(container.name.removeprefix("file:"))


def is_one_of(container: Any, kinds: set[str]) -> bool:
    """Whether libav's name of the container is one of these."""
    return not kinds.isdisjoint(container.format.name.split(","))


def origin_s(container: Any) -> float:
    """The file's first timestamp in seconds."""
    return container.start_time / 1e6 if container.start_time is not None else 0.0


def duration_s(container: Any) -> float:
    """Declared or estimated length in seconds; 0 where the file does not tell."""
    seconds = max(container.duration or 0, 0) / 1e6
    if is_one_of(container, {"matroska"}) and 0 < origin_s(container) < seconds:
        seconds -= origin_s(container)  # it is counted from 0 there, not from the first timestamp
    return seconds
