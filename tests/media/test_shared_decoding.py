"""Several readers of one decoding pass: each gets everything, in order, and what it would get alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from made import media_factory

from pipeline.core.errors import ClipError
from pipeline.media import decoding, shared
from pipeline.media.decode import frames, waveform
from pipeline.media.shared import AHEAD, SharedFile, Tee
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()


class Source:
    """Counts what is taken of it."""

    def __init__(self, number: int, fails_at: int | None = None):
        self.number, self.fails_at, self.given, self.opened = number, fails_at, 0, 0

    def __call__(self) -> Generator[int, None, None]:
        self.opened += 1
        for i in range(self.number):
            if i == self.fails_at:
                raise ClipError("damaged")
            self.given += 1
            yield i


def test_every_reader_gets_everything_and_the_source_is_read_once() -> None:
    source = Source(500)
    tee: Tee[int] = Tee(source(), 3)

    def slow(reader: int) -> list[int]:
        found = []
        for item in tee.read(reader):
            if item % 100 == reader:
                time.sleep(0.002)
            found.append(item)
        return found

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(slow, range(3))) == [list(range(500))] * 3
    assert (source.opened, source.given) == (1, 500)


def test_the_fastest_waits_for_the_slowest() -> None:
    source = Source(10_000)
    tee: Tee[int] = Tee(source(), 2)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(tee.read(0)), daemon=True)
    thread.start()
    deadline = time.monotonic() + 5
    while source.given < AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert source.given == AHEAD, "reader 1 has not taken anything yet"
    assert list(islice(tee.read(1), 40)) == list(range(40))  # and then leaves
    thread.join(timeout=10)
    assert len(seen) == 10_000


def test_a_reader_that_never_comes_holds_nobody_up() -> None:
    tee: Tee[int] = Tee(Source(100)(), 2)
    tee.leave(1)
    assert list(tee.read(0)) == list(range(100))


def test_a_failure_of_the_source_reaches_every_reader() -> None:
    tee: Tee[int] = Tee(Source(10, fails_at=4)(), 2)

    def read(reader: int) -> tuple[list[int], str]:
        found: list[int] = []
        try:
            for item in tee.read(reader):
                found.append(item)
        except ClipError as error:
            return found, str(error)
        return found, ""

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(read, range(2))) == [([0, 1, 2, 3], "damaged")] * 2


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return media_factory.make_clip(
        tmp_path / "clip.mkv", times=np.arange(50) / 25, sound=media_factory.tone(440, 2.0, 16_000)
    )


def test_pictures_and_sound_are_those_of_each_reader_alone(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readers of pictures at different rates and sizes, two of sound at different sample rates."""
    calls: list[int] = []

    def counted(container: object, stream: object, health: object) -> Iterator[object]:
        calls.append(stream.index)  # type: ignore[attr-defined]
        return decoding.decoded(container, stream, health)  # type: ignore[arg-type]

    works = [
        lambda path: [(f.time_s, f.image.tobytes()) for f in frames(path, LIMITS, fps=5)],
        lambda path: [(f.time_s, f.image.tobytes()) for f in frames(path, LIMITS, max_long_side=64)],
        lambda path: waveform(path, LIMITS, sample_rate=16_000).tobytes(),
        lambda path: waveform(path, LIMITS, sample_rate=22_050).tobytes(),
    ]
    alone = [work(clip) for work in works]
    monkeypatch.setattr(shared, "decoded", counted)
    video, audio = SharedFile(clip, "video", LIMITS, 2), SharedFile(clip, "audio", LIMITS, 2)

    def one(work: object, handle: shared.SharedPath) -> object:
        try:
            return work(handle)  # type: ignore[operator]
        finally:
            handle.shared.leave(handle.reader)

    with ThreadPoolExecutor(len(works)) as threads:
        together = list(threads.map(one, works, [*video.handles(), *audio.handles()]))
    assert together == alone
    assert sorted(calls) == [0, 1], "each track once"


def test_windows_are_decoded_by_each_reader(clip: Path) -> None:
    (handle,) = SharedFile(clip, "audio", LIMITS, 1).handles()
    window = {"sample_rate": 16_000, "start_s": 0.3, "end_s": 0.6}
    np.testing.assert_array_equal(waveform(handle, LIMITS, **window), waveform(clip, LIMITS, **window))
