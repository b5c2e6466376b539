"""What is never opened, and claims of a file that are refused by the limit's name before memory is spent."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made.media_factory import make_clip, tone

from pipeline.core.errors import ClipError, MsaError
from pipeline.corpora.clips import measure
from pipeline.corpora.tables.media_files import find_media
from pipeline.features.clip import plan
from pipeline.media.decode import frames, probe, waveform
from pipeline.media.subtitles import embedded_cues
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()
TIMES = [k / 25 for k in range(10)]
SPECIAL = ["named pipe", "socket", "device", "folder"]


# ------------------------------------------------------------------------------------------ not regular files
@pytest.fixture(params=SPECIAL)
def special(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    path, kind = tmp_path / "x.mp4", request.param
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.close()
    return path, kind


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_never_opened(special: tuple[Path, str]) -> None:
    path, kind = special
    reads = [
        lambda: probe(path, LIMITS),
        lambda: next(frames(path, LIMITS)),
        lambda: waveform(path, LIMITS, sample_rate=16_000),
        lambda: embedded_cues(path, "en"),
    ]
    for read in reads:
        with pytest.raises(ClipError) as caught:
            read()
        assert str(caught.value) == f"x.mp4: a {kind}, not a regular file"
        assert not caught.value.transient
    assert measure(path, LIMITS) == ({}, f"unreadable media: x.mp4: a {kind}, not a regular file")
    assert find_media(path.parent) == ([] if kind == "folder" else ["x.mp4"])


@pytest.mark.timeout(20)
def test_extract_says_what_it_was_given(special: tuple[Path, str]) -> None:
    path, kind = special
    if kind == "folder":
        with pytest.raises(MsaError, match="no video in this folder"):
            plan([path], None)
        return
    with pytest.raises(MsaError, match=f"x.mp4: a {kind}; give a file or a folder"):
        plan([path], None)
    assert [request.video for request in plan([path.parent], None)] == [path]  # and becomes a failed row


# ---------------------------------------------------------------------------------------------------- claims
def pixels_of(kind: str, width: int, height: int) -> bytes:
    """How a key frame of VP8 and the header of Matroska say it."""
    if kind == "webm":
        return b"\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"\xb0\x82%b\xba\x82%b" % (struct.pack(">H", width), struct.pack(">H", height))


def claim_pixels(tmp_path: Path, container: str) -> Path:
    """A file of 320 x 272 whose header or first picture claims far more."""
    kind, _, size = container.partition(" ")
    claimed = int(size)
    codec = {"webm": "libvpx", "mkv": "ffv1"}[kind]
    path = make_clip(tmp_path / f"x.{kind}", times=TIMES, video_codec=codec, size=(320, 272))
    content = path.read_bytes()
    known, claim = (pixels_of(kind, *pair) for pair in ((320, 272), (claimed, claimed)))
    assert known in content
    path.write_bytes(content.replace(known, claim))
    return path


PROGRAM = """
import resource, sys
from pathlib import Path
from pipeline.core.errors import ClipError
from pipeline.media.decode import frames, probe, waveform
from pipeline.params.params import MediaLimits
path, limits = Path(sys.argv[1]), MediaLimits()
import av, numpy, soxr
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for read in (lambda: probe(path, limits), lambda: next(frames(path, limits)),
             lambda: waveform(path, limits, sample_rate=16000)):
    try:
        read()
        print("read")
    except ClipError as error:
        print(error)
print(peak() - before)
"""


def read_apart(path: Path) -> tuple[list[str], int]:
    """What probe, frames and waveform say in a process of their own, and the megabytes that they took."""
    project = Path(__file__).parents[2]
    *said, grown = subprocess.check_output(
        [sys.executable, "-c", PROGRAM, path], text=True, cwd=project
    ).splitlines()
    return said, int(grown)


@pytest.mark.parametrize("claim", ["webm 16000", "webm 6000", "mkv 16000", "mkv 65535"])
def test_a_claim_of_too_many_pixels(tmp_path: Path, claim: str) -> None:
    said, grown = read_apart(claim_pixels(tmp_path, claim))
    size = claim.split()[1]
    for line in said[:2]:
        assert (
            f"frames of {size} x {size} = {int(size) ** 2} pixels are larger than media.max_pixels=8294400"
            in line
        )
    assert grown < 150


def test_a_claim_of_too_many_tracks(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "x.mp4", times=TIMES, video_codec="libx264")
    content = path.read_bytes()
    moov = content.index(b"moov") - 4
    trak = content.index(b"trak") - 4
    length = int.from_bytes(content[trak : trak + 4], "big")
    inside = content[moov + 8 :] + content[trak : trak + length] * 500
    path.write_bytes(content[:moov] + struct.pack(">I4s", len(inside) + 8, b"moov") + inside)
    said, grown = read_apart(path)
    assert said == ["x.mp4: more than 100 tracks (max_streams); keep one video and one audio track"] * 3
    assert grown < 150


@pytest.mark.parametrize("rate", [1, 2])
def test_a_claim_of_too_many_seconds(tmp_path: Path, rate: int) -> None:
    path = make_clip(tmp_path / "x.wav", sound=tone(300, 1.0, 16_000), audio_codec="pcm_s16le")
    content = bytearray(path.read_bytes())
    place = content.index(b"fmt ") + 12
    content[place : place + 4] = struct.pack("<I", rate)
    path.write_bytes(content)
    with pytest.raises(ClipError, match=rf"longer \({16_000 / rate:.2f} s\) than media\.max_seconds=600"):
        waveform(path, LIMITS, sample_rate=16_000)


@pytest.mark.parametrize("rate", [768_001, 2**31 - 1])
def test_a_claim_of_too_high_a_sample_rate(tmp_path: Path, rate: int) -> None:
    """A gap would be filled with that many zeros a second."""
    path = make_clip(
        tmp_path / "x.mkv", sound=tone(300, 0.5, 16_000), audio_codec="pcm_s16le", sound_gap=(0.2, 1.0)
    )
    content = path.read_bytes()
    known = b"\xb5\x88" + struct.pack(">d", 16_000.0)
    assert known in content
    path.write_bytes(content.replace(known, b"\xb5\x88" + struct.pack(">d", float(rate))))
    with pytest.raises(ClipError, match=rf"x\.mkv: its sample rate is {rate} Hz, over 768000"):
        waveform(path, LIMITS, sample_rate=16_000)


def test_samples_of_64_bits_are_read(tmp_path: Path) -> None:
    sound = tone(300, 0.5, 16_000)
    path = make_clip(tmp_path / "x.wav", sound=sound, audio_codec="pcm_s16le")
    content = bytearray(path.read_bytes())
    data = content.index(b"data") + 8
    samples = np.frombuffer(bytes(content[data:]), "<i2").astype("<i8") << 48
    form = content.index(b"fmt ") + 8
    content[form + 8 : form + 16] = struct.pack("<IHH", 128_000, 8, 64)
    content[data - 4 : data] = struct.pack("<I", 8 * len(samples))
    path.write_bytes(bytes(content[:data]) + samples.tobytes())
    np.testing.assert_allclose(waveform(path, LIMITS, sample_rate=16_000), sound, atol=1e-4)
