"""libav: how a file is opened, and what libav's log says of it, which its errors leave out."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

# libav's demuxers of plain media files; hls, concat, sdp and the like would open other files
CONTAINERS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,wav,w64,flac,mp3,aac,aiff,caf,amr,h264,hevc,m4v,ivf"
)
MAX_TRACKS = 100  # libav keeps about a megabyte for each
CODED_SIZE = 2  # coded pictures are padded: this often max_pixels is the size that libav itself refuses

_LOG = threading.Lock()
_TRACK = re.compile(r"^ *Stream #0:(\d+).*?: \w+: (?P<codec>\w+)(?: \((?P<tag>.{4,16}) / 0x\w+\))?")
_MATROSKA_CODEC = re.compile(r"Unknown/unsupported AVCodecID (.+)\.$")
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) (?:is invalid|exceeds)")


def open_file(path: Path, max_pixels: int) -> Any:
    """The container of a local file; libav follows nothing but files, and makes no larger pictures."""
    import av

    options = {"max_pixels": str(CODED_SIZE * max_pixels)}
    # `file:` and an absolute path: a name such as `concat:a.mp4` is a name, not a protocol
    container = av.open(
        f"file:{path.resolve()}",
        options=options,
        container_options={
            "protocol_whitelist": "file",
            "format_whitelist": CONTAINERS,
            "max_streams": str(MAX_TRACKS),
        },
        metadata_errors="replace",
    )
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = options
    return container


def log_of(path: Path, max_pixels: int, track: int | None = None) -> list[str]:
    """What libav's log says while it opens a file, describes it, and decodes the first frame of a track."""
    import av

    with _LOG:  # the level is that of the whole process
        logging.getLogger("libav").setLevel(logging.CRITICAL + 1)  # other threads' lines
        av.logging.set_skip_repeated(False)  # repeated since any file, that is
        av.logging.set_level(av.logging.INFO)
        try:
            with av.logging.Capture() as lines, suppress(Exception), open_file(path, max_pixels) as container:
                lines.append((av.logging.INFO, "", container.dumps_format()))
                if track is not None:
                    next(container.decode(container.streams[track]), None)
        finally:
            av.logging.set_level(None)
    return [line for _, _, text in lines for line in text.splitlines() if line.strip()]


def codec_of(path: Path, max_pixels: int, track: Any) -> str:
    """The name or the tag of a track's codec, as the file has it."""
    lines = log_of(path, max_pixels)
    found = next(
        (match for match in map(_TRACK.match, lines) if match and int(match[1]) == track.index), None
    )
    if found is not None and (found["tag"] or found["codec"] != "none"):
        return " ".join(filter(None, (found["codec"].replace("none", ""), found["tag"])))
    named = [match[1] for match in map(_MATROSKA_CODEC.search, lines) if match]
    named = [name for name in named if name.startswith(f"{track.type[0].upper()}_")] or named
    return " or ".join(dict.fromkeys(named)) or "no name"


def refused_size(lines: list[str]) -> tuple[int, int] | None:
    """Width and height of a picture that is too large for libav."""
    sizes = [match for match in map(_TOO_LARGE.search, lines) if match and match[1] != "0"]
    return (int(sizes[0][1]), int(sizes[0][2])) if sizes else None
