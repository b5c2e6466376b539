"""Containers: opening a media file safely, its tracks, its clock, windows on it, and decoding past damage.

Only regular local files of known containers are opened: no URLs, playlists or pipes, and libav may follow
nothing but files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import ClipError, MachineTroubleError
from pipeline.params.params import MediaLimits

# libav's demuxers of plain media files; hls, concat, sdp and the like would open other files
CONTAINERS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,wav,w64,flac,mp3,aac,aiff,caf,amr,h264,hevc,m4v,ivf"
)
INDEXED = {"mov", "matroska"}  # a seek lands on a key frame at or before the target
DECLARED = {"mov", "matroska", "avi", "flv"}  # the header says how long the file is; others only estimate
END_TOLERANCE_S = 0.25  # a file that ends this much before its declared end is cut off
BAD_PACKETS_MAX = 100  # damaged packets in a row before decoding gives up


def check_regular(path: Path) -> None:
    """ClipError where there is no regular file: whoever opens a pipe may wait for ever."""
    if not path.is_file():
        raise ClipError(f"{path.name}: " + ("not a regular file" if path.exists() else "no such file"))


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """The container of a regular local file, or a ClipError that says in plain words why not."""
    import av

    check_regular(path)
    size = path.stat().st_size
    if size == 0:
        raise ClipError(f"{path.name}: the file is empty (0 bytes)")
    av.logging.set_level(None)  # libav's own lines name no file
    try:
        # `file:` and an absolute path: a name such as `concat:a.mp4` is a name, not a protocol
        container = av.open(
            f"file:{path.resolve()}",
            container_options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS},
            metadata_errors="replace",
        )
    except PermissionError as error:
        raise ClipError(f"{path.name}: cannot be read: permission denied") from error
    except (av.error.FFmpegError, UnicodeError) as error:
        if isinstance(error, OSError | MemoryError):
            check_readable(path, error)
        with open(path, "rb") as file:
            is_mp4 = file.read(8)[4:] == b"ftyp"
        reason = (
            f"cut off before its index (moov), {size} bytes are there; get the file again"
            if is_mp4
            else f"not a media file that can be read, or damaged at its beginning ({size} bytes)"
        )
        raise ClipError(f"{path.name}: {reason}") from error
    with container:
        yield container


def video_track(container: Any) -> Any:
    """The first video track that is not a cover picture, or None."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    return None


def audio_track(container: Any) -> Any:
    """The first audio track, or None."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def _is(container: Any, kinds: set[str]) -> bool:
    return not kinds.isdisjoint(container.format.name.split(","))


def origin_s(container: Any) -> float:
    """The file's first timestamp in seconds."""
    return container.start_time / 1e6 if container.start_time is not None else 0.0


def duration_s(container: Any) -> float:
    """Declared or estimated length in seconds; 0 where the file does not tell."""
    return max(container.duration or 0, 0) / 1e6


def scanned_duration_s(container: Any) -> float:
    """Where the last packet ends, for files that do not tell (recorded live)."""
    health = Health()
    for packet in container.demux():
        health.see(packet)
    return max(health.reached_s - origin_s(container), 0.0)


# --------------------------------------------------------------------------------------------------- windows
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
        raise ClipError(f"{path.name}: the window start_s={start_s}, end_s={end_s} is empty or before 0")
    duration = duration_s(container)
    check_length(min(length, duration - start) if duration else 0.0, limits, path)
    return TimeWindow(origin_s(container), start, length)


def check_length(seconds: float, limits: MediaLimits, path: Path) -> None:
    """ClipError where a clip is longer than the limit, by more than tracks of one file differ in length."""
    if seconds > limits.max_seconds + END_TOLERANCE_S:
        raise ClipError(
            f"{path.name}: longer ({seconds:.2f} s) than media.max_seconds={limits.max_seconds:g}; "
            "give a window (start_s, end_s) or raise the limit"
        )


def check_size(picture: Any, limits: MediaLimits, path: Path) -> None:
    """ClipError where a frame (or the track that announces it) is larger than the limit."""
    pixels = picture.width * picture.height
    if pixels > limits.max_pixels:
        raise ClipError(
            f"{path.name}: frames of {picture.width} x {picture.height} = {pixels} pixels are larger than "
            f"media.max_pixels={limits.max_pixels}; scale the video down or raise the limit"
        )


def seek(container: Any, stream: Any, second: float) -> None:
    """Go to a key frame at or before `second` (from the file's first timestamp), or stay at the beginning."""
    from av.error import FFmpegError

    if second <= 0 or not _is(container, INDEXED):
        return
    target = int((second + origin_s(container)) / stream.time_base)
    try:
        container.seek(target, stream=stream)
        first = next((packet for packet in container.demux(stream) if packet.pts is not None), None)
        exact = first is not None and first.is_keyframe and first.pts <= target
        container.seek(target if exact else stream.start_time or 0, stream=stream)
    except FFmpegError:
        container.seek(stream.start_time or 0, stream=stream)


# -------------------------------------------------------------------------------------------------- decoding
@dataclass
class Health:
    """What decoding met: damaged packets, and the time (seconds, file's clock) that packets reach to."""

    damaged: int = 0
    reached_s: float = -math.inf

    def see(self, packet: Any) -> None:
        """Note how far the file goes; packets of every track count."""
        if packet.pts is not None:
            self.reached_s = max(
                self.reached_s, float((packet.pts + (packet.duration or 0)) * packet.time_base)
            )


def decoded(container: Any, stream: Any, health: Health) -> Iterator[Any]:
    """Frames of one track; see `decoded_packets`."""
    for _, frames in decoded_packets(container, stream, health):
        yield from frames


def decoded_packets(container: Any, stream: Any, health: Health) -> Iterator[tuple[Any, list[Any]]]:
    """Packets of one track and what is in them; damaged ones are counted, and too many in a row end it."""
    from av.error import FFmpegError

    in_a_row = 0
    packets = container.demux()
    while in_a_row < BAD_PACKETS_MAX:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            health.see(packet)
            if packet.stream.index != stream.index:
                continue
            output = packet.decode()
        except FFmpegError as error:
            if isinstance(error, OSError | MemoryError):
                check_readable(Path(container.name.removeprefix("file:")), error)
            health.damaged += 1
            in_a_row += 1
            packets = container.demux()  # an error ends the generator, not the file
        else:
            in_a_row = 0
            yield packet, output


def check_readable(path: Path, error: BaseException) -> None:
    """Tell a disk's or a machine's trouble from a damaged file: only the latter can be read to its end.

    Raises
    ------
    MachineTroubleError : memory has run out, or the bytes cannot be read
    """
    if isinstance(error, MemoryError):
        raise MachineTroubleError(f"{path.name}: out of memory while decoding") from error
    try:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass
    except OSError as trouble:
        raise MachineTroubleError(f"{path.name}: reading fails ({trouble.strerror})") from trouble


def report_damage(
    container: Any, window: TimeWindow, health: Health, what: str, notes: list[str] | None
) -> None:
    """Say in `notes` what of the window is missing."""
    if notes is None:
        return
    reached = health.reached_s - window.origin
    expected = min(duration_s(container), window.start + window.length) if _is(container, DECLARED) else 0.0
    if reached < expected - END_TOLERANCE_S:
        notes.append(f"file is cut off: {what} up to {max(reached, 0.0):.2f} of {expected:.2f} s")
    elif health.damaged:
        notes.append(f"{health.damaged} damaged {what} packets left out")
