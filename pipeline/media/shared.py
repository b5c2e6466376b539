"""One decoding pass for several encoders of a clip, which read at the same time, each in a thread of its own.

    decoder ─▶ at most AHEAD frames ─┬─▶ reader 1
                                     └─▶ reader 2, 3 ...

A track is decoded by whichever reader is in front; the others find the frames waiting, and that one waits for
the slowest, so that memory stays bounded. A frame is the decoder's own object, which nobody changes: every
reader scales and converts for itself, and sees what it would see alone.

`SharedFile.handles()` gives each of n encoders a path of its own; `pipeline.media.decode` recognises it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.media.containers import open_media
from pipeline.media.decoding import Health, decoded
from pipeline.params.params import MediaLimits

T = TypeVar("T")

AHEAD = 16  # frames (or blocks of sound) between the fastest reader and the slowest


@dataclass(frozen=True)
class _EndOfFrames:
    """What every reader gets after the last item."""

    error: Exception | None


class Tee(Generic[T]):
    """The items of one source for several readers.

    Parameters
    ----------
    source : a generator; it begins when the first reader asks
    readers : how many there are; each has a number from 0
    """

    def __init__(self, source: Generator[T, None, None], readers: int):
        self._source = source
        self._items: deque[T | _EndOfFrames] = deque()
        self._first = 0  # number of the oldest item that is kept
        self._next = dict.fromkeys(range(readers), 0)  # reader -> number of the item that it wants next
        self._changed = threading.Condition()

    def read(self, reader: int) -> Iterator[T]:
        """The items from the first on, for one reader."""
        try:
            while not isinstance(item := self._take(reader), _EndOfFrames):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            self.leave(reader)

    def leave(self, reader: int) -> None:
        """A reader wants no more; the others need not wait for it."""
        with self._changed:
            self._next.pop(reader, None)
            self._forget()
            if not self._next:
                self._source.close()

    def _take(self, reader: int) -> T | _EndOfFrames:
        with self._changed:
            wanted = self._next[reader]
            self._changed.wait_for(
                lambda: wanted < self._first + len(self._items) or len(self._items) < AHEAD
            )
            if wanted == self._first + len(self._items):
                try:
                    self._items.append(next(self._source, _EndOfFrames(None)))
                except Exception as error:
                    self._items.append(_EndOfFrames(error))
            item = self._items[wanted - self._first]
            self._next[reader] = wanted + 1
            self._forget()
            return item

    def _forget(self) -> None:
        """Drop what every reader has had."""
        oldest = min(self._next.values(), default=self._first + len(self._items))
        while self._first < oldest:
            self._items.popleft()
            self._first += 1
        self._changed.notify_all()


class SharedPath(type(Path())):  # type: ignore[misc]
    """The path of a media file that several encoders read at the same time."""

    shared: SharedFile
    reader: int


class SharedFile:
    """A media file one of whose tracks is decoded once for several encoders of one modality.

    Parameters
    ----------
    path : the file
    stream_type : `video` or `audio`, the track that all of them read
    limits : the encoders'
    readers : how many encoders there are
    """

    def __init__(self, path: Path, stream_type: str, limits: MediaLimits, readers: int):
        self.path, self.limits = path, limits
        self.stream_type = stream_type
        self.health = Health()
        self._index = 0  # of the stream, known when the first reader has found it
        self._readers = readers
        self._tee = Tee(self._decode(), readers)

    def handles(self) -> list[SharedPath]:
        """A path for each encoder."""
        paths = [SharedPath(self.path) for _ in range(self._readers)]
        for reader, path in enumerate(paths):
            path.shared, path.reader = self, reader
        return paths

    def read(self, stream_index: int, reader: int) -> Iterator[Any]:
        """Decoded frames of the track from its beginning."""
        self._index = stream_index  # every reader finds the same one
        return self._tee.read(reader)

    def leave(self, reader: int) -> None:
        """An encoder is done with the file, whether it has read it or not."""
        self._tee.leave(reader)

    def _decode(self) -> Generator[Any, None, None]:
        with open_media(self.path, self.limits) as container:
            stream = container.streams[self._index]
            stream.thread_type = "NONE"
            yield from decoded(container, stream, self.health)


def opened_track(path: Path, container: Any, stream: Any, *, whole: bool) -> tuple[Iterator[Any], Health]:
    """Decoded frames of a track, and what decoding meets: from the shared pass where there is one.

    Parameters
    ----------
    whole : from the beginning of the file; windows of it are decoded by each reader itself
    """
    if isinstance(path, SharedPath) and whole and stream.type == path.shared.stream_type:
        return path.shared.read(stream.index, path.reader), path.shared.health
    health = Health()
    return decoded(container, stream, health), health
