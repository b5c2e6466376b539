"""An hour of silence, most of it a hole in the file, and how much of a file is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.media import decode, windows

HOUR = 3600  # s
RATE = 8_000  # Hz


def write_hour(path: Path) -> Path:
    """A WAV file of 8 kHz in 16 bits, 57.6 MB long, of which a header is written."""
    size = 2 * HOUR * RATE
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + size,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        RATE,
        2 * RATE,
        2,
        16,
        b"data",
        size,
    )
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of sound that are decoded from now on, block by block."""
    seconds: list[float] = []
    blocks = decode.mono_blocks

    def counted(*given: Any) -> Iterator[Any]:
        for begin, rate, samples in blocks(*given):
            seconds.append(len(samples) / rate)
            yield begin, rate, samples

    monkeypatch.setattr(decode, "mono_blocks", counted)
    return seconds


def state_no_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files do not say how long they are, as streams that were recorded do not."""
    monkeypatch.setattr(windows, "duration_s", lambda container: 0.0)
