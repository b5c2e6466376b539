"""A corpus as it may come from anywhere: intact, strange, damaged and foreign files, and some made to harm.

`make_hostile_corpus(folder)` writes them all; what each must give stands in tests/project/hostile_corpus.txt.
"""

from __future__ import annotations

import os
import random
import re
import socket
import struct
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from made.media_factory import make_clip, tone

TIMES = [k / 10 for k in range(4)]  # of the frames of a usual clip, seconds
RATE = 16_000  # Hz, of its sound
CUE = "1\n00:00:00,000 --> 00:00:00,300\ncafé was good\n"
Make = Callable[[Path], Any]


def usual(path: Path, **other: Any) -> Path:
    """A clip of 0.4 s with four frames and a tone."""
    lossless = path.suffix.lower() in (".mkv", ".avi")
    given = {
        "times": TIMES,
        "video_codec": "ffv1" if lossless else "mpeg4",
        "audio_codec": "pcm_s16le" if lossless else "aac",
        "sound": tone(220, 0.4, other.get("rate", RATE)),
    }
    return make_clip(path, **(given | other))


# ------------------------------------------------------------------------------------------------- containers
def containers() -> Iterator[tuple[str, Make]]:
    """Intact clips of the usual codecs."""
    pcm = "pcm_s16le"
    kinds = {
        "mp4": ("libx264", "aac"),
        "mov": ("mpeg4", pcm),
        "avi": ("mpeg4", pcm),
        "ts": ("libx264", "aac"),
    }
    for suffix, (video, audio) in kinds.items():
        yield f"{suffix}.{suffix}", partial(usual, video_codec=video, audio_codec=audio)
    yield "m4v.m4v", usual
    yield "3gp.3gp", usual
    webm = partial(usual, video_codec="libvpx-vp9", audio_codec="libopus", rate=48_000)
    yield "webm.webm", webm
    yield "capitals.MKV", partial(usual, video_codec="libx264", audio_codec="flac")
    yield "flv.flv", partial(usual, video_codec="flv", audio_codec="libmp3lame", rate=44_100)
    yield "sound.ogv", partial(webm, times=None)


# ----------------------------------------------------------------------------------------------------- codecs
def codecs() -> Iterator[tuple[str, Make]]:
    """Tracks that no decoder here knows."""
    picture, sound = (b"V_FFV1", b"V_XXXX"), (b"A_PCM/INT/LIT", b"A_XXX/INT/LIT")
    boxed = partial(usual, video_codec="libx264", audio_codec="alac")
    yield "mkv picture.mkv", edited(usual, picture)
    yield "mkv sound.mkv", edited(usual, sound)
    yield "mkv both.mkv", edited(usual, picture, sound)
    yield "mkv picture alone.mkv", edited(partial(usual, sound=None), picture)
    yield "mp4 picture.mp4", edited(boxed, (b"avc1", b"xxx1"))
    yield "mp4 sound.mp4", edited(boxed, (b"alac", b"xlac"))
    yield "mkv subtitle.mkv", edited(partial(joined, text=CUE), (b"S_TEXT", b"S_XXXX"))


def edited(make: Make, *changes: tuple[bytes, bytes]) -> Make:
    """A file in which bytes are replaced everywhere by as many others."""

    def made(path: Path) -> None:
        content = make(path).read_bytes()
        for old, new in changes:
            assert old in content and len(old) == len(new), (path, old)
            content = content.replace(old, new)
        path.write_bytes(content)

    return made


# ----------------------------------------------------------------------------------------------------- tracks
def tracks() -> Iterator[tuple[str, Make]]:
    """Tracks that lack, or of which there are many."""
    yield "no sound.mp4", partial(usual, sound=None)
    yield "no picture.mp4", partial(usual, times=None)
    yield "subtitled.mkv", partial(joined, text=CUE)
    yield "subtitle alone.mkv", partial(joined, videos=0, sounds=0, text=CUE)
    yield "many.mkv", partial(joined, videos=3, sounds=5, text=CUE)
    yield "cover.mp4", partial(usual, times=None, cover=True)
    yield "mp3 with cover.mp4", mp3_with_cover


def joined(path: Path, videos: int = 1, sounds: int = 1, text: str = "") -> Path:
    """A file with so many tracks, made of files beside it that go again."""
    parts = [usual(path.with_name(f".v{k}.mkv"), sound=None) for k in range(videos)]
    parts += [usual(path.with_name(f".s{k}.mkv"), times=None) for k in range(sounds)]
    if text:
        parts.append(path.with_name(".t.srt"))
        parts[-1].write_text(text, encoding="utf-8")
    with av.open(str(path), "w") as container:
        sources = [av.open(str(part)) for part in parts]
        copies = [container.add_stream_from_template(source.streams[0]) for source in sources]
        for source, copy in zip(sources, copies, strict=True):
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
            source.close()
    for part in parts:
        part.unlink()
    return path


def mp3_with_cover(path: Path) -> None:
    made = usual(path.with_suffix(".mp3"), times=None, audio_codec="libmp3lame", rate=44_100, cover=True)
    made.rename(path)


# --------------------------------------------------------------------------------------------------- no media
def no_media() -> Iterator[tuple[str, Make]]:
    """Files of other kinds under the name of a video."""
    contents = {
        "empty.mp4": b"",
        "one byte.mp4": b"\0",
        "text.mp4": b"This is no video.\n" * 9,
        "page.mp4": b"<!DOCTYPE html><title>404</title>" * 9,
        "archive.mkv": b"PK\3\4" + bytes(999),
        "program.avi": b"\x7fELF\2\1\1" + bytes(999),
        "zeros.mov": bytes(9999),
        "noise.mp4": random.Random(0).randbytes(9999),
        "playlist.mp4": b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "script.mkv": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    }
    for name, content in contents.items():
        yield name, lambda path, content=content: path.write_bytes(content)


# -------------------------------------------------------------------------------------------- cut and damaged
def cut() -> Iterator[tuple[str, Make]]:
    """Cut off after so many percent; an MP4 has its index at the end."""
    for share in (1, 5, 20, 50, 75, 90, 99):
        yield f"mkv after {share:02}.mkv", partial(kept, last=share / 100)
    for share in (1, 50, 99):
        yield f"mp4 after {share:02}.mp4", partial(kept, last=share / 100)


def kept(path: Path, last: float) -> None:
    content = a_second(path).read_bytes()
    path.write_bytes(content[: round(last * len(content))])


def a_second(path: Path) -> Path:
    return usual(path, times=[k / 10 for k in range(10)], sound=tone(220, 1.0, RATE))


def damaged() -> Iterator[tuple[str, Make]]:
    """Zeros where something was."""
    yield "mkv head.mkv", partial(zeroed, first=0.0, last=0.02)
    yield "mkv middle.mkv", partial(zeroed, first=0.45, last=0.55)
    yield "mp4 middle.mp4", partial(zeroed, first=0.3, last=0.5)
    yield "avi middle.avi", partial(zeroed, first=0.4, last=0.6)
    yield "mp4 all pictures.mp4", partial(zeroed, first=0.02, last=0.6)
    yield "mp4 sample sizes.mp4", edited(usual, (b"stsz", b"xtsz"))
    yield "mp4 sample places.mp4", edited(usual, (b"stco", b"xtco"))
    yield "mp4 sample times.mp4", edited(usual, (b"stts", b"xtts"))


def zeroed(path: Path, first: float, last: float) -> None:
    content = bytearray(a_second(path).read_bytes())
    begin, end = round(first * len(content)), round(last * len(content))
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)


# ----------------------------------------------------------------------------------------------------- stamps
def stamps() -> Iterator[tuple[str, Make]]:
    """Times that no camera would write."""
    yield "repeated.mkv", partial(usual, times=[0.0, 0.1, 0.1, 0.1, 0.2])
    yield "all equal.mkv", partial(usual, times=[0.0] * 4)
    yield "decreasing.mkv", partial(restamped, times=[300, 200, 100, 0])
    yield "back and on.mkv", partial(restamped, times=[0, 100, 50, 200])
    yield "late.mkv", partial(usual, times=[5.0, 5.1, 5.2], sound_from_s=5.0)
    yield "sound late.mkv", partial(usual, sound_from_s=0.3)
    yield "gap.mkv", partial(usual, times=[0.0, 0.1, 3.0], sound_gap=(0.2, 2.0))
    yield "variable.mkv", partial(usual, times=[0.0, 0.01, 0.2, 0.21, 0.5])


def restamped(path: Path, times: list[int]) -> None:
    """Frames with these times, milliseconds, in the file's order, which no muxer would write."""
    content, left = usual(path, sound=None).read_bytes(), iter(times)
    block = re.compile(rb"(\xa3\x40.\x81)..", re.DOTALL)  # id, two bytes of size, track 1, time
    path.write_bytes(block.sub(lambda found: found[1] + struct.pack(">h", next(left)), content))
    assert next(left, None) is None


# ------------------------------------------------------------------------------------------------------ nodes
def nodes() -> Iterator[tuple[str, Make]]:
    """What is no regular file, or leads elsewhere; closed to root is nothing."""
    yield "fifo.mp4", os.mkfifo
    yield "socket.mp4", listening
    yield "folder.mp4", Path.mkdir
    yield "dangling.mp4", lambda path: path.symlink_to("nowhere.mp4")
    yield "gone", lambda path: path.symlink_to("/mnt/nowhere", target_is_directory=True)
    yield "itself.mp4", lambda path: path.symlink_to(path.name)
    yield "loop", lambda path: path.symlink_to("..", target_is_directory=True)
    yield "device.mp4", lambda path: path.symlink_to("/dev/zero")
    yield "link.mp4", lambda path: path.symlink_to(usual(outside(path) / "there.mp4").resolve())


def outside(path: Path) -> Path:
    """A folder beside the corpus."""
    folder = path.parent.parent.with_name("outside")
    folder.mkdir(exist_ok=True)
    return folder


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # an address has 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


# ------------------------------------------------------------------------------------------------------ names
NAMES = (
    *("plain", "two words", "-rf", "--out", "~", "$HOME", "%2e%2e", "C:", "a:b", "semi; colon", "'quoted'"),
    *('"', "*", "?", "#1", "=HYPERLINK(1)", "@SUM(A1)", "+1", "[bold red]rich", "<b>html", "twin", "TWIN"),
    *("Ünï", "中文", "🎬", "\u202eright to left", "zero\u200bwidth", "concat:x", "file:x", "http:x", "..two"),
    *(unicodedata.normalize(form, "café") for form in ("NFC", "NFD")),
    # these cannot be ids
    *("new\nline", "\x1b[31mred", "tab\t", "bell\x07", "back\\slash", "a$_$b", " ", "\x7f"),
    *(os.fsdecode(raw) for raw in (b"\xff", b"caf\xe9", "中".encode("gb18030"), b"\xed\xa0\x80")),
    # the longest name, and some longer than names made of it may be
    *("x" * 240, "y" * 251),
)


def names() -> Iterator[tuple[str, Make]]:
    for name in NAMES:
        yield f"{name}.mp4", usual
    yield ".hidden.mp4", usual
    yield "two kinds.mp4", usual
    yield "two kinds.mkv", usual


# ------------------------------------------------------------------------------------------------------- huge
def huge() -> Iterator[tuple[str, Make]]:
    """Sizes that are declared, and that nothing here may believe."""
    large = b"\xb0\x82\2\0\xba\x82\2\0"  # width and height of a Matroska track
    yield "frame.mkv", edited(partial(usual, size=(512, 512)), (large, large.replace(b"\2\0", b"\xff\xff")))
    for name, seconds in (("length", 1e15), ("endless", np.inf), ("negative", -1e6)):
        yield f"{name}.mkv", partial(declared, key=b"\x44\x89\x88", value=seconds * 1000)
    for name, rate in (("rate", 2e9), ("no rate", 0.0), ("not a rate", np.nan)):
        yield f"{name}.mkv", partial(declared, key=b"\xb5\x88", value=rate)
    yield "channels.mkv", edited(usual, (b"\x9f\x81\1", b"\x9f\x81\xff"))
    yield "box.mp4", edited(usual, (b"moov", b"mdat"))


def declared(path: Path, key: bytes, value: float) -> None:
    """A Matroska file in which a number of the header is another."""
    content = usual(path).read_bytes()
    at = content.index(key) + len(key)
    path.write_bytes(content[:at] + struct.pack(">d", value) + content[at + 8 :])


# ------------------------------------------------------------------------------------------------------ short
def short() -> Iterator[tuple[str, Make]]:
    yield "one frame.mp4", partial(usual, times=[0.0], sound=None)
    yield "one frame and sound.mp4", partial(usual, times=[0.0])
    yield "one sample.mkv", partial(usual, sound=np.array([0.5], np.float32))
    yield "no sample.mkv", partial(usual, sound=np.zeros(0, np.float32))
    yield "ten samples.mkv", partial(usual, times=None, sound=tone(220, 10 / RATE, RATE))
    yield "no frame.mkv", partial(usual, times=[])


# ---------------------------------------------------------------------------------------------------- content
def content() -> Iterator[tuple[str, Make]]:
    noise = np.random.default_rng(0).uniform(-1, 1, 6400).astype(np.float32)
    yield "silent.mkv", partial(usual, sound=np.zeros(6400, np.float32))
    yield "noise.mkv", partial(usual, sound=noise)
    yield "stereo that cancels out.mkv", partial(usual, sound=np.stack([noise, -noise]))
    for rate in (4_000, 11_025, 44_100, 192_000):
        yield f"{rate} Hz.mkv", partial(usual, rate=rate)
    for degrees in (90, 180, 270):
        yield f"rotated {degrees}.mp4", partial(usual, rotation=degrees)
    yield "odd size.mkv", partial(usual, size=(65, 49))
    yield "one pixel.mkv", partial(usual, size=(1, 1))
    yield "wide.mkv", partial(usual, size=(1000, 2))


# --------------------------------------------------------------------------------------------------- sidecars
def sidecars() -> Iterator[tuple[str, Make]]:
    """A clip, and what is said in it in a file of that suffix beside it."""
    texts: dict[str, bytes] = {
        "plain.txt": b"caf\xc3\xa9 was good",
        "bom.txt": "\ufeffcafé was good".encode(),
        "utf-16.txt": "café was good".encode("utf-16"),
        "latin-1.txt": "café was good".encode("latin-1"),
        "windows.vtt": b"WEBVTT\r\n\r\n00:00.000 --> 00:00.300\r\nit\x92s good\r\n",
        "crlf.srt": CUE.replace("\n", "\r\n").encode(),
        "empty.srt": b"",
        "no cue.srt": b"only text",
        "nul.txt": b"good\0bad",
        "escapes.txt": b"\x1b[31mred\x1b[0m",
        "late.srt": CUE.replace("00:00:00", "99:99:99").encode(),
    }
    for name, said in texts.items():
        stem, suffix = os.path.splitext(name)
        yield (
            f"{stem}.mkv",
            partial(accompanied, suffix=suffix, make=lambda path, said=said: path.write_bytes(said)),
        )
    yield "fifo.mkv", partial(accompanied, suffix=".srt", make=os.mkfifo)
    yield "folder.mkv", partial(accompanied, suffix=".srt", make=Path.mkdir)
    yield "dangling.mkv", partial(accompanied, suffix=".srt", make=lambda path: path.symlink_to("nowhere"))


def accompanied(path: Path, suffix: str, make: Make) -> None:
    make(usual(path).with_suffix(suffix))


GROUPS = (
    *(containers, content, short, tracks, names, nodes, sidecars),
    *(codecs, cut, damaged, huge, no_media, stamps),
)


def make_hostile_corpus(folder: Path) -> None:
    """Write all files, each group into a folder of its name; `outside` lies beside the corpus."""
    for group in GROUPS:
        for name, make in group():
            path = folder / group.__name__ / name
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
