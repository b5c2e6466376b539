"""Decoding past damage: what can be decoded of a track, and notes on what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.media.containers import check_readable, duration_s, is_one_of, origin_s, path_of
from pipeline.media.stated_size import is_cut_off
from pipeline.media.windows import TimeWindow

DECLARED = {"mov", "matroska", "avi", "flv"}  # the header says how long the file is; others only estimate
END_TOLERANCE_S = 0.25  # a file that ends this much before its declared end lacks something
BAD_PACKETS_MAX = 100  # damaged packets in a row before decoding gives up


@dataclass
class Health:
    """What decoding met.

    Attributes
    ----------
    damaged, in_a_row : damaged packets, in all and since the last one that was decoded
    reached_s : the time (seconds, file's clock) that packets reach to
    kinds : of errors that were met; the first of each is looked into
    """

    damaged: int = 0
    in_a_row: int = 0
    reached_s: float = -math.inf
    kinds: set[type] = field(default_factory=set)

    @property
    def hopeless(self) -> bool:
        """Whether decoding gives up."""
        return self.in_a_row >= BAD_PACKETS_MAX

    def see(self, packet: Any) -> None:
        """Note how far the file goes; packets of every track count."""
        if packet.pts is not None:
            self.reached_s = max(
                self.reached_s, float((packet.pts + (packet.duration or 0)) * packet.time_base)
            )

    def meet(self, error: Exception, container: Any) -> None:
        """Count a damaged packet; MachineTroubleError where it is not the file that is damaged."""
        if type(error) not in self.kinds:
            check_readable(path_of(container), error)
        self.kinds.add(type(error))
        self.damaged += 1
        self.in_a_row += 1


def packets(container: Any, health: Health) -> Iterator[Any]:
    """Packets of every track; damaged ones are counted, and too many in a row end it."""
    from av.error import FFmpegError

    source = container.demux()
    while not health.hopeless:
        try:
            packet = next(source, None)
        except FFmpegError as error:
            health.meet(error, container)
            source = container.demux()  # an error ends the generator, not the file
            continue
        except IndexError:  # PyAV flushes a track that it did not know of when the file was opened
            return
        if packet is None:
            return
        health.see(packet)
        yield packet


def decoded_packets(container: Any, stream: Any, health: Health) -> Iterator[tuple[Any, list[Any]]]:
    """Packets of one track and what is in them."""
    from av.error import FFmpegError

    for packet in packets(container, health):
        if packet.stream.index != stream.index:
            continue
        try:
            output = packet.decode()
        except FFmpegError as error:
            health.meet(error, container)
        else:
            health.in_a_row = 0
            yield packet, output


def decoded(container: Any, stream: Any, health: Health) -> Iterator[Any]:
    """Frames of one track."""
    for _, frames in decoded_packets(container, stream, health):
        yield from frames


def scanned_duration_s(container: Any) -> float:
    """Where the last packet ends, for files that do not tell (recorded live)."""
    health = Health()
    for _ in packets(container, health):
        pass
    return max(health.reached_s - origin_s(container), 0.0)


def report_damage(
    container: Any, window: TimeWindow, health: Health, what: str, lost: list[str], notes: list[str] | None
) -> None:
    """Say in `notes` what of the window is missing; `lost` says what was decoded and left out."""
    if notes is None:
        return
    reached = max(health.reached_s - window.origin, 0.0)
    end = window.start + window.length
    expected = min(duration_s(container), end) if is_one_of(container, DECLARED) else 0.0
    if health.hopeless:
        notes.append(
            f"{what} only up to {reached:.2f} s: {health.in_a_row} damaged packets follow one another"
        )
    elif reached < expected - END_TOLERANCE_S:
        wrong = "is cut off" if is_cut_off(path_of(container)) else "ends early or its index is damaged"
        notes.append(f"file {wrong}: {what} up to {reached:.2f} of {expected:.2f} s")
    elif health.damaged:
        notes.append(f"{health.damaged} damaged {what} packets left out")
    notes += lost
