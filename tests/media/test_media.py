"""Decoding: the truth is what the clips were made of, the list of the real clips, and other files alike."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from made.media_factory import make_clip, picture, read_index, tone

from pipeline.core.errors import AbsentError, ClipError
from pipeline.core.files import file_hash
from pipeline.media.decode import Frame, frames, probe, waveform
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()
EVERY_40_MS = [i / 25 for i in range(50)]  # 2 s
UNEVEN = [0.0, 0.02, 0.1, 0.11, 0.5, 0.9, 0.94, 1.4]


def shown(path: Path, **options: float) -> list[tuple[int, float]]:
    """(number in the picture, time) of each frame."""
    return [(read_index(frame.image), round(frame.time_s, 4)) for frame in frames(path, LIMITS, **options)]


def displayed_at(times: list[float], instant: float) -> int:
    """The frame on display at an instant, by definition: the last that has begun, or the first."""
    return max((i for i, time in enumerate(times) if time <= instant + 1e-6), default=0)


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 frames at 25 fps in MP4 with a key frame every 10 and B frames, and 2 s of AAC."""
    sound = tone(300, 2, 16_000) * np.linspace(0.2, 1, 32_000, dtype=np.float32)
    return make_clip(
        tmp_path_factory.mktemp("even") / "even.mp4",
        times=EVERY_40_MS,
        video_codec="libx264",
        options={"g": "10", "bf": "2"},
        sound=sound,
        audio_codec="aac",
    )


# ---------------------------------------------------------------------------------------------------- frames
def test_every_frame_with_its_time(even: Path) -> None:
    assert shown(even) == [(i, round(i / 25, 4)) for i in range(50)]


@pytest.mark.parametrize("fps", [1, 3, 5, 10, 12.5, 23.976, 25, 50])
@pytest.mark.parametrize("times", [EVERY_40_MS, UNEVEN], ids=["even", "uneven"])
def test_sampling_takes_the_frame_on_display(tmp_path: Path, times: list[float], fps: float) -> None:
    path = make_clip(tmp_path / "clip.mkv", times=times)
    end = times[-1] + 0.04
    wanted = dict.fromkeys(displayed_at(times, k / fps) for k in range(math.ceil(end * fps - 1e-6)))
    assert shown(path, fps=fps) == [(i, times[i]) for i in wanted]


def test_window_is_cut_exactly_after_a_seek(even: Path) -> None:
    whole = list(frames(even, LIMITS))
    for start, end in [(0.4, 1.2), (0.44, 1.0), (1.16, 1.2), (1.92, 9.0)]:
        first, last = round(start * 25), min(round(end * 25), 50)
        window = list(frames(even, LIMITS, start_s=start, end_s=end))
        assert [round(frame.time_s * 25) for frame in window] == list(range(last - first))
        for mine, other in zip(window, whole[first:last], strict=True):
            assert mine.image.tobytes() == other.image.tobytes()


def test_window_inside_a_frame_shows_it_at_time_zero(even: Path) -> None:
    assert shown(even, start_s=1.01, end_s=1.02) == [(25, 0.0)]
    assert shown(even, start_s=1.01, end_s=1.05) == [(25, 0.0), (26, 0.03)]
    assert shown(even, start_s=1.01, end_s=1.99, fps=5) == [
        (25, 0.0),
        *((i, round(i / 25 - 1.01, 4)) for i in (30, 35, 40, 45)),
    ]


def test_time_counts_from_the_files_first_timestamp(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "late.ts", times=EVERY_40_MS[:20], video_codec="libx264")  # begins at 1.4 s
    assert shown(path)[0] == (0, 0.0)
    assert [index for index, _ in shown(path)] == list(range(20))


def test_single_frame(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "one.mp4", times=[0.0], video_codec="libx264")
    assert shown(path) == [(0, 0.0)]
    assert shown(path, fps=5) == [(0, 0.0)]


@pytest.mark.parametrize(("size", "limit", "wanted"), [
    ((64, 48), 32, (24, 32)),
    ((48, 64), 32, (32, 24)),
    ((64, 48), 64, (48, 64)),
    ((64, 48), 640, (48, 64)),
])  # fmt: skip
def test_resize_never_up(tmp_path: Path, size: tuple[int, int], limit: int, wanted: tuple[int, int]) -> None:
    path = make_clip(tmp_path / "clip.mkv", times=[0.0, 0.04], size=size)
    frame = list(frames(path, LIMITS, max_long_side=limit))[1]
    assert frame.image.shape == (*wanted, 3)
    assert frame.scale == size[0] / wanted[1]
    assert read_index(frame.image) == 1
    assert frame.image.flags.c_contiguous
    assert frame.image.dtype == np.uint8


def test_lossless_colours(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", times=[0.0, 0.04, 0.08])
    for index, frame in enumerate(frames(path, LIMITS)):
        np.testing.assert_array_equal(frame.image, picture(index))


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_rotation(tmp_path: Path, clockwise: int) -> None:
    path = make_clip(
        tmp_path / "clip.mp4", times=[0.0], video_codec="libx264", options={"qp": "0"}, rotation=-clockwise
    )
    info = probe(path, LIMITS)
    assert info.rotation == clockwise
    upright = np.rot90(picture(0), -clockwise // 90)
    assert (info.height, info.width) == upright.shape[:2]
    (frame,) = frames(path, LIMITS, max_long_side=64)
    assert np.abs(frame.image.astype(int) - upright).max() < 12  # chroma subsampling


def test_cover_art_is_not_video(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "song.mp3", sound=tone(440, 0.5, 16_000), audio_codec="libmp3lame", cover=True
    )
    info = probe(path, LIMITS)
    assert (info.has_video, info.width, info.has_audio) == (False, None, True)
    with pytest.raises(AbsentError, match="no video track"):
        next(frames(path, LIMITS))
    assert len(waveform(path, LIMITS, sample_rate=16_000)) == 8000


# --------------------------------------------------------------------------------- limits, damage, trust
def test_limits_name_value_and_key(even: Path) -> None:
    short = MediaLimits(max_seconds=1)
    for read in (lambda **w: next(frames(even, short, **w)), lambda **w: waveform(even, short, sample_rate=16_000, **w)):  # fmt: skip # noqa: E501
        with pytest.raises(ClipError, match=r"even\.mp4: longer \(2\.0\d? s\) than media\.max_seconds=1"):
            read()
        read(start_s=0.5, end_s=1.5)  # the window counts, not the file
    with pytest.raises(ClipError, match=r"64 x 48 = 3072 pixels .* media\.max_pixels=3071"):
        probe(even, MediaLimits(max_pixels=3071))
    with pytest.raises(ClipError, match=r"media\.max_pixels"):
        next(frames(even, MediaLimits(max_pixels=3071)))


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (1.5, 1.0), (-1.0, 1.0), (50.0, 60.0)])
def test_windows_that_hold_nothing(even: Path, start: float, end: float) -> None:
    with pytest.raises(ClipError, match=r"even\.mp4: .*(window start_s|between 50\.00 s and 60\.00 s)"):
        next(frames(even, LIMITS, start_s=start, end_s=end))
    with pytest.raises(ClipError, match=r"even\.mp4: "):
        waveform(even, LIMITS, sample_rate=16_000, start_s=start, end_s=end)


def _broken(folder: Path, kind: str, even: Path) -> Path:
    path = folder / f"{kind}.mp4"
    content = {
        "empty": b"",
        "text": b"this is not a video\n" * 50,
        "no_index": even.read_bytes()[:3000],  # the index (moov) is at the end
        "noise": np.random.default_rng(0).bytes(5000),
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\n{even}\n#EXT-X-ENDLIST\n".encode(),
        "concat": f"ffconcat version 1.0\nfile '{even}'\n".encode(),
    }
    path.write_bytes(content[kind])
    return path


@pytest.mark.parametrize(("kind", "reason"), [
    ("empty", "empty (0 bytes)"),
    ("text", "not a media file"),
    ("no_index", "cut off before its index (moov)"),
    ("noise", "not a media file"),
    ("playlist", "not a media file"),
    ("concat", "not a media file"),
])  # fmt: skip
def test_broken_files_say_why_in_one_line(tmp_path: Path, even: Path, kind: str, reason: str) -> None:
    path = _broken(tmp_path, kind, even)
    for read in (probe, lambda *a: next(frames(*a)), lambda *a: waveform(*a, sample_rate=16_000)):
        with pytest.raises(ClipError) as caught:
            read(path, LIMITS)
        assert str(caught.value).startswith(f"{kind}.mp4: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, reason in [("pipe.mp4", "regular file"), ("none.mp4", "no such file"), ("", "regular file")]:
        with pytest.raises(ClipError, match=reason):
            probe(tmp_path / name, LIMITS)
    for url in ("http://localhost/a.mp4", "concat:a.mp4|b.mp4", "pipe:0"):
        with pytest.raises(ClipError, match="no such file"):
            probe(Path(url), LIMITS)


@pytest.mark.parametrize("name", ["a b'\"$(touch x);%03d.mp4", "视频.mp4", "concat:a.mp4", "-i.mp4"])
def test_odd_names_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, even: Path, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(even.read_bytes())
    assert probe(Path(name), LIMITS) == probe(even, LIMITS)
    assert len(shown(Path(name))) == 50
    assert os.listdir(tmp_path) == [name]


def test_cut_off_in_the_middle(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", times=EVERY_40_MS, sound=tone(300, 2, 16_000))
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    notes: list[str] = []
    numbers = [read_index(frame.image) for frame in frames(path, LIMITS, notes=notes)]
    assert numbers == list(range(len(numbers)))
    assert 10 < len(numbers) < 40
    assert len(notes) == 1
    assert notes[0].startswith("file is cut off: video up to ")
    for read in (frames(whole, LIMITS, notes=(quiet := [])), frames(path, LIMITS, end_s=0.2, notes=quiet)):
        assert list(read)
    assert quiet == []


def test_damaged_in_the_middle_ends_and_says_so(tmp_path: Path, even: Path) -> None:
    content = bytearray(even.read_bytes())
    begin = content.index(b"mdat") + 600
    noise = np.random.default_rng(0).bytes(len(content) // 4)
    content[begin : begin + len(noise)] = noise
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    notes: list[str] = []
    given = list(frames(path, LIMITS, notes=notes))
    assert 1 <= len(given) <= 50
    assert notes
    assert all(a.time_s < b.time_s for a, b in pairwise(given))


def test_same_input_same_bytes(even: Path) -> None:
    def pixels(items: list[Frame]) -> bytes:
        return b"".join(item.image.tobytes() for item in items)

    once, twice = (list(frames(even, LIMITS, fps=10, max_long_side=40)) for _ in range(2))
    assert pixels(once) == pixels(twice)
    one, two = (waveform(even, LIMITS, sample_rate=22_050).tobytes() for _ in range(2))
    assert one == two
    assert file_hash(even) == subprocess.check_output(["sha256sum", even], text=True).split()[0]


@pytest.mark.slow
def test_memory_stays_at_one_frame(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "big.mp4",
        times=[i / 25 for i in range(200)],
        size=(1280, 720),
        video_codec="libx264",
        options={"preset": "ultrafast"},
    )
    program = (
        "import resource, sys; from pathlib import Path; from pipeline.media.decode import frames;"
        "from pipeline.params.params import MediaLimits;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024;"
        "items = frames(Path(sys.argv[1]), MediaLimits()); [next(items) for _ in range(20)]; before = peak();"
        "print(sum(1 for _ in items), peak() - before)"
    )
    count, grown = subprocess.check_output(
        [sys.executable, "-c", program, path], text=True, cwd=Path(__file__).parents[2]
    ).split()
    assert int(count) == 180  # 500 MB of pixels
    assert int(grown) < 50, f"grew by {grown} MB"


# ------------------------------------------------------------------------------------------- real files
CUT_OFF = {"truncated_faststart.mp4": 40}  # as `ffprobe -count_frames`; the list has 38, up to the gap
BROKEN = ("empty.mp4", "not_a_video.mp4", "truncated_no_moov.mp4")
TURNED = ("rotation_flag_90.mp4", "nasa_13013_rotated.mp4")  # the list has them as stored


@pytest.mark.shared
def test_the_real_clips_are_as_listed(shared: Path) -> None:
    with open(shared / "clips/clips.csv", newline="", encoding="utf-8") as file:
        listed = [row for row in csv.DictReader(file) if row["file"].startswith("awkward/")]
    assert len(listed) > 20
    for row in listed:
        path = shared / "clips" / row["file"]
        if path.name in BROKEN:
            with pytest.raises(ClipError):
                probe(path, LIMITS)
            continue
        info = probe(path, LIMITS)
        assert info.duration_s == pytest.approx(float(row["duration"]), abs=0.05), path.name
        assert info.has_audio == (row["has_audio"] == "1"), path.name
        assert info.sample_rate == (int(row["sr"]) if row["sr"] else None), path.name
        if not info.has_video:
            continue
        assert info.fps == pytest.approx(float(row["fps"]), rel=1e-3), path.name
        stored = (int(row["w"]), int(row["h"]))
        assert (info.width, info.height) == (stored[::-1] if path.name in TURNED else stored), path.name
        notes: list[str] = []
        times = [frame.time_s for frame in frames(path, LIMITS, max_long_side=90, notes=notes)]
        assert len(times) == CUT_OFF.get(path.name, int(row["frames"])), path.name
        assert times == sorted(set(times)), path.name
        assert bool(notes) == (path.name in CUT_OFF), (path.name, notes)


@pytest.mark.shared
def test_flagged_and_turned_pixels_are_the_same_picture(shared: Path) -> None:
    upright = list(frames(shared / "clips/grid/lrwp9a.mpg", LIMITS))  # what both were made from
    flagged = list(frames(shared / "clips/awkward/rotation_flag_90.mp4", LIMITS))
    turned = list(frames(shared / "clips/awkward/pixels_rotated_90.mp4", LIMITS))
    assert len(upright) == len(flagged) == len(turned) == 75
    for k in (0, 40, 74):
        original = upright[k].image.astype(int)
        assert np.abs(flagged[k].image - original).mean() < 3
        assert np.abs(np.rot90(turned[k].image, 1) - original).mean() < 3 or (
            np.abs(np.rot90(turned[k].image, -1) - original).mean() < 3
        )


@pytest.mark.shared
def test_variable_rate_follows_the_clock(shared: Path) -> None:
    """vfr.mp4 is the 25 fps clip with frames left out: at 5 fps both show the same moments."""
    full = list(frames(shared / "clips/grid/lrwp9a.mpg", LIMITS))
    for frame in frames(shared / "clips/awkward/vfr.mp4", LIMITS, fps=5):
        original = full[round(frame.time_s * 25)].image.astype(int)
        assert np.abs(frame.image - original).mean() < 4
