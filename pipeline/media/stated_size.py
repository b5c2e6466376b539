"""The size that a media file states: a file that is shorter was cut off, one that is not was damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
UNSTATED = (0, 0xFFFFFFFF)  # sizes of RIFF that was recorded live


def is_cut_off(path: Path) -> bool:
    """Whether one of the file's outermost parts should reach beyond the file's end."""
    size = path.stat().st_size
    return any(end > size for _, end in outer_parts(path))


def outer_parts(path: Path) -> Iterator[tuple[bytes, int]]:
    """Kind of each outermost part of an MP4, AVI, WAV or Matroska file and the byte behind it.

    It ends before a part that does not state its size, and has nothing of other files.
    """
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(16)
            if head.startswith((EBML, SEGMENT)):
                width = 9 - head[4].bit_length()  # the first byte's leading zeros tell how long the number is
                stated = int.from_bytes(head[4 : 4 + width], "big") - (1 << 7 * width)
                length = 4 + width + stated if stated < (1 << 7 * width) - 1 else 0  # all ones: not stated
                kind = head[:4]
            elif head.startswith(b"RIFF"):
                kind, stated = head[:4], int.from_bytes(head[4:8], "little")
                length = 0 if stated in UNSTATED else 8 + stated + stated % 2
            else:
                kind, length = head[4:8], int.from_bytes(head[:4], "big")
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                if not kind.strip().isalnum() or length < 8:
                    return
            if not length:
                return
            at += length
            yield kind, at
