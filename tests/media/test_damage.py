"""Damaged files: what can be decoded is given, what is wrong is said, and nothing of it is transient."""

from __future__ import annotations

import errno
import os
import re
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.error import FFmpegError
from av.error import MemoryError as LibavMemoryError
from made.media_factory import make_clip, read_index, tone

from pipeline.core.errors import ClipError, MachineTroubleError
from pipeline.corpora.clips import measure
from pipeline.media import containers
from pipeline.media.containers import check_readable
from pipeline.media.decode import frames, probe, waveform
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()
TIMES = [k / 25 for k in range(20)]


def numbers(path: Path, notes: list[str], **window: float) -> list[int]:
    """The numbers in the pictures; their times grow."""
    given = list(frames(path, LIMITS, notes=notes, **window))
    assert all(a.time_s < b.time_s for a, b in pairwise(given))
    return [read_index(frame.image) for frame in given]


# ------------------------------------------------------------------------------------------------- pictures
def strange_colors(path: Path, first: int) -> Path:
    """An H.264 stream whose frames from `first` on say a color space (YCgCo) that libav cannot convert."""
    pieces = []
    for name, times, options in (
        ("a", TIMES[:first], {}),
        ("b", TIMES[first:], {"x264-params": "colormatrix=YCgCo"}),
    ):
        if times:
            piece = path.with_name(f"{name}.ts")
            make_clip(piece, times=times, video_codec="libx264", options={"bf": "0", **options})
            pieces.append(piece.read_bytes())
    path.write_bytes(b"".join(pieces))
    return path


def test_frames_that_cannot_be_converted_are_left_out_with_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    assert numbers(strange_colors(tmp_path / "c.ts", 12), notes) == list(range(12))
    assert notes == ["8 video frames left out: not made RGB (Operation not supported)"]


def test_a_clip_of_which_no_frame_can_be_converted_fails_for_good(tmp_path: Path) -> None:
    with pytest.raises(
        ClipError, match=r"^c\.ts: no frame of its h264 .*20 .* not made RGB \(Operation"
    ) as caught:
        numbers(strange_colors(tmp_path / "c.ts", 0), [])
    assert not caught.value.transient


# ---------------------------------------------------------------------------------------- disk and memory
@pytest.mark.parametrize(
    "code", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENOSPC, errno.EMFILE, errno.ENOMEM]
)
def test_trouble_of_the_machine_is_told_by_reading_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "c.mp4"
    path.write_bytes(b"damaged")
    check_readable(path, FFmpegError(code, os.strerror(code)))  # whatever libav says: the bytes can be read

    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", fail)
    for said in (FFmpegError(code, ""), FFmpegError(errno.ENOTSUP, ""), FFmpegError(errno.EINVAL, "")):
        with pytest.raises(MachineTroubleError, match=rf"^c\.mp4: reading failed \({os.strerror(code)}\)"):
            check_readable(path, said)


def test_a_disk_that_gives_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineTroubleError, match="reading failed"):
        check_readable(Path("/proc/self/mem"), OSError())  # whose first byte gives an input/output error


def test_no_memory_is_the_machines_only_where_it_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.mp4"
    path.write_bytes(b"damaged")
    check_readable(
        path, LibavMemoryError(errno.ENOMEM, "Cannot allocate memory")
    )  # it asked for far too much
    monkeypatch.setattr(containers, "SPARE_BYTES", 1 << 60)
    with pytest.raises(MachineTroubleError, match=r"^c\.mp4: out of memory"):
        check_readable(path, LibavMemoryError(errno.ENOMEM, "Cannot allocate memory"))


def test_too_many_open_files_are_no_damage(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "c.mkv", times=TIMES)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        while True:
            held.append(open(os.devnull, "rb"))  # noqa: SIM115
    except OSError:
        with pytest.raises(MachineTroubleError, match=r"^c\.mkv: reading failed \(Too many open files\)"):
            next(frames(path, LIMITS))
    finally:
        for file in held:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(numbers(path, [])) == 20


# --------------------------------------------------------------------------------------------- time stamps
def restamped(path: Path, stamps: dict[int, int]) -> Path:
    """A Matroska file with other time stamps in its blocks, milliseconds -> milliseconds."""
    content = path.read_bytes()
    for old, new in stamps.items():
        block = b"\x81%b\x00"  # track 1, time in the cluster, no key frame
        assert content.count(block % struct.pack(">h", old)) == 1
        content = content.replace(block % struct.pack(">h", old), block % struct.pack(">h", new))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("stamps", "left_out"), [
    ({}, []),
    ({120: 80}, [3]),
    ({120: 80, 160: 80}, [3, 4]),
    ({400: 200}, [10]),
    ({400: 200, 440: 239, 480: 40}, [10, 11, 12]),
], ids=["even", "one again", "two again", "one back", "three back"])  # fmt: skip
def test_frames_whose_times_repeat_or_go_back_are_told(
    tmp_path: Path, stamps: dict[int, int], left_out: list[int]
) -> None:
    path = make_clip(tmp_path / "c.mkv", times=TIMES, video_codec="libx264", options={"bf": "0"})
    restamped(path, stamps)
    notes: list[str] = []
    assert numbers(path, notes) == [k for k in range(20) if k not in left_out]
    told = f"{len(left_out)} video frames left out: their times repeat or go back"
    assert notes == ([told] if left_out else [])


def test_sound_whose_times_go_back_is_told(tmp_path: Path) -> None:
    """Blocks of 64 ms from 0.64 s on are stamped 0.32 s too early: those of 0.32 s come too late."""
    sound = tone(300, 1.024, 16_000)
    path = make_clip(tmp_path / "c.mkv", sound=sound, audio_codec="pcm_s16le")
    content = path.read_bytes()
    for at in range(640, 1024, 64):
        content = content.replace(
            b"\x81%b\x80" % struct.pack(">h", at), b"\x81%b\x80" % struct.pack(">h", at - 320)
        )
    path.write_bytes(content)
    notes: list[str] = []
    heard = waveform(path, LIMITS, sample_rate=16_000, notes=notes)
    np.testing.assert_allclose(heard[:10_000], sound[:10_000], atol=2e-3)
    assert any(note == "0.32 s of sound left out: its times repeat or go back" for note in notes)


# --------------------------------------------------------------------------------------------------- index
@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "c.mp4"
    return make_clip(
        path, times=TIMES, video_codec="libx264", sound=tone(300, 0.8, 16_000), audio_codec="aac"
    )


def cut(content: bytes) -> bytes:
    return content[: content.index(b"moov") - 100]


def another_name(content: bytes) -> bytes:
    return content.replace(b"moov", b"moox")


def too_many_sizes(content: bytes) -> bytes:
    at = content.index(b"stsz") + 12
    return content[:at] + b"\x7f\xff\xff\xff" + content[at + 4 :]


@pytest.mark.parametrize(("damage", "reason"), [
    (cut, "cut off before its index (moov)"),
    (another_name, "its index (moov) is missing (moov atom not found"),
    (too_many_sizes, "its index (moov) is damaged (error reading header"),
])  # fmt: skip
def test_a_damaged_index_is_not_called_cut_off(
    tmp_path: Path, whole: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "d.mp4"
    path.write_bytes(damage(whole.read_bytes()))
    for _ in range(2):  # the same words each time
        with pytest.raises(ClipError) as caught:
            probe(path, LIMITS)
        assert str(caught.value).startswith(f"d.mp4: {reason}")
        assert not caught.value.transient


def test_an_index_that_ends_early_is_not_called_cut_off(tmp_path: Path) -> None:
    """The table of sample sizes tells of 5 frames of 20; the header still says 0.8 s."""
    content = bytearray(make_clip(tmp_path / "c.mp4", times=TIMES, video_codec="libx264").read_bytes())
    place = content.index(b"stsz") + 12
    content[place : place + 4] = struct.pack(">I", 5)
    path = tmp_path / "d.mp4"
    path.write_bytes(content)
    notes: list[str] = []
    numbers(path, notes)
    assert len(notes) == 1
    assert re.fullmatch(r"file ends early or its index is damaged: video up to 0\.\d\d of 0\.80 s", notes[0])


@pytest.mark.parametrize("name", ["c.mp4", "c.mov", "c.mkv", "c.webm", "c.avi", "c.flv"])
def test_a_window_of_a_file_with_a_damaged_index(tmp_path: Path, name: str) -> None:
    """A seek that fails is no error: what is decoded from the beginning is the window all the same."""
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(name[2:], "libx264")
    content = make_clip(tmp_path / name, times=TIMES, video_codec=codec, options={"g": "5"}).read_bytes()
    found = 0
    for place in damaged_places(content):
        path = tmp_path / f"d{name[1:]}"
        path.write_bytes(content[:place] + bytes(4) + content[place + 4 :])
        notes: list[str] = []
        with suppress(ClipError):
            found += bool(numbers(path, notes, start_s=0.4, end_s=0.8))
    assert found


def damaged_places(content: bytes) -> Iterator[int]:
    """Where indexes lie: Cues, idx1, stss, stco, stsc; else all over the file."""
    for name in (b"\x1c\x53\xbb\x6b", b"\xbb\x8b", b"\xbb\x8c", b"idx1", b"stss", b"stco", b"stsc"):
        at = content.find(name)
        if at >= 0:
            yield from range(at, at + 24, 4)
    yield from range(100, len(content), len(content) // 10)


def test_pictures_that_are_all_zeros_are_told_by_ingest(whole: Path, tmp_path: Path) -> None:
    """The index is intact, and so is the sound."""
    content = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path = tmp_path / "z.mp4"
    path.write_bytes(content)
    facts, problem = measure(path, LIMITS)
    assert problem == "unreadable media: z.mp4: no frame of its h264 video could be decoded"
    assert (facts["has_audio"], facts["sample_rate"]) == (True, 16_000)
    with pytest.raises(ClipError, match="no frame of its h264 video"):
        numbers(path, [])
    assert len(waveform(path, LIMITS, sample_rate=16_000))


@pytest.mark.parametrize("name", ["c.mkv", "c.mp4", "c.avi"])
def test_a_clip_whose_first_stamp_is_late_is_not_cut_off(tmp_path: Path, name: str) -> None:
    times = [5 + k / 25 for k in range(20)]
    path = make_clip(
        tmp_path / name,
        times=times,
        video_codec="mpeg4",
        sound=tone(300, 0.8, 16_000),
        sound_from_s=5.0,
        audio_codec="libmp3lame",
    )
    notes: list[str] = []
    numbers(path, notes)
    waveform(path, LIMITS, sample_rate=16_000, notes=notes)
    assert notes == []
    if name == "c.mkv":
        assert probe(path, LIMITS).duration_s == pytest.approx(0.8, abs=0.1)
