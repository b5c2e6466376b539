"""Media files: what is in them, their frames with timestamps, their sound. The only place that decodes.

file ─probe─▶ MediaInfo      file ─frames─▶ Frame, Frame, …      file ─waveform─▶ mono float32

*Time.* Zero is the clip's start: the file's first timestamp (of its earliest stream) plus `start_s`. Frame
times are presentation timestamps, never a count divided by a nominal rate, so variable frame rate and
late-starting tracks come out right. A frame is on display from its timestamp to the next frame's.

*Windows* `[start_s, end_s)` seek where the container's index can promise a key frame before the window
(MP4/MOV, Matroska/WebM), decode from the beginning elsewhere, and then cut exactly.

*Damage.* What can be decoded is given; a file that ends early or has damaged packets says so in `notes`.
Length and frame size are checked against `MediaLimits` before decoding.

Frames have square pixels as stored: the sample aspect ratio of anamorphic video is not applied (as OpenCV and
OpenFace read it). Of several tracks the first is taken; attached pictures (cover art) are not video.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import AbsentError, ClipError
from pipeline.media.containers import (
    Health,
    audio_track,
    check_length,
    check_size,
    decoded,
    duration_s,
    open_media,
    report_damage,
    scanned_duration_s,
    seek,
    video_track,
    window_of,
)
from pipeline.media.shared import opened_track
from pipeline.params.params import MediaLimits

VIDEO_SUFFIXES: frozenset[str] = frozenset(
    f".{name}"
    for name in "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts flv wmv 3gp ogv".split()  # noqa: SIM905
)

AUDIO_PREROLL_S = 2.0  # decoded before a window, so that codecs with memory (AAC, Opus, MP3) have settled
AUDIO_JUMP_S = 0.1  # smaller jumps of audio timestamps are jitter; libswresample has the same threshold
RESAMPLER_CONTEXT_S = 0.1  # sound around a window that the resampling filter sees
SILENCE_DBFS = -60.0  # sound with a lower level is silent


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds; width and height are those on display, after rotation.

    `duration_s` is the file's; `fps` is the average; `rotation` is how far the stored picture is turned
    clockwise to be upright: 0, 90, 180 or 270 degrees.
    """

    duration_s: float
    fps: float | None
    width: int | None
    height: int | None
    has_video: bool
    has_audio: bool
    sample_rate: int | None
    rotation: int


@dataclass(frozen=True)
class Frame:
    """One picture as it is displayed.

    Attributes
    ----------
    image : shape (height, width, 3), uint8 RGB, C-contiguous, upright, maybe scaled down
    time_s : presentation time in seconds from the clip's start, >= 0
    scale : displayed original pixels per image pixel, >= 1
    """

    image: np.ndarray
    time_s: float
    scale: float


def probe(path: Path, limits: MediaLimits) -> MediaInfo:
    """What the file holds; decodes one frame, because only that tells the rotation.

    The frame size is checked here. The length is not: a clip may be a window of a long file, which
    `frames` and `waveform` check.

    Raises
    ------
    ClipError : missing, empty, not a media file, without any track, frame too large
    """
    with open_media(path) as container:
        video, audio = video_track(container), audio_track(container)
        if video is None and audio is None:
            raise ClipError(f"{path.name}: holds neither a video nor an audio track")
        rotation, width, height = 0, None, None
        if video is not None:
            check_size(video.codec_context, limits, path)
            first = next(decoded(container, video, Health()), None)
            stored = video.codec_context if first is None else first
            rotation = 0 if first is None else _orientation(first)[0]
            width, height = stored.width, stored.height
            if rotation % 180:
                width, height = height, width
        return MediaInfo(
            duration_s=duration_s(container) or scanned_duration_s(container),
            fps=float(video.average_rate) if video is not None and video.average_rate else None,
            width=width,
            height=height,
            has_video=video is not None,
            has_audio=audio is not None,
            sample_rate=audio.codec_context.sample_rate if audio is not None else None,
            rotation=rotation,
        )


def frames(
    path: Path,
    limits: MediaLimits,
    *,
    fps: float | None = None,
    max_long_side: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    notes: list[str] | None = None,
) -> Iterator[Frame]:
    """Frames in the order of display, one in memory at a time.

    Without `fps`: every frame that is on display at some time in the window; the first may have begun
    before it and then has time 0. With `fps`: the frames on display at the instants k / fps from the
    clip's start, i.e. the last with timestamp <= instant; half a tick of the file's clock (at most 0.5 ms)
    is forgiven. An instant before the first frame shows the first. A frame is given once, even where
    several instants show it, so an `fps` above the file's rate gives each frame once.

    Parameters
    ----------
    fps : instants a second, > 0
    max_long_side : pixels; larger frames are scaled down (area average), smaller ones stay
    start_s, end_s : window in seconds from the file's start
    notes : gets a line if the file is cut off or damaged, once the last frame was given

    Raises (at the first frame)
    ------
    AbsentError : no video track
    ClipError : see `probe`; too long, an empty window, or nothing in it can be decoded
    """
    with open_media(path) as container:
        stream = video_track(container)
        if stream is None:
            raise AbsentError(f"{path.name}: no video track")
        check_size(stream.codec_context, limits, path)
        window = window_of(container, path, limits, start_s, end_s)
        seek(container, stream, window.start)
        stream.thread_type = "NONE"  # fastest per core, and workers already share the cores

        pictures, health = opened_track(path, container, stream, whole=window.start == 0)
        tick = float(stream.time_base)
        slack = min(tick / 2, 0.0005)
        usual_s = 1 / float(stream.average_rate) if stream.average_rate else 0.04
        due = 0  # the first of the instants k / fps for which no frame was given

        def shown(until: float) -> bool:
            """Whether an instant falls on the frame that is on display up to `until`; uses those up."""
            nonlocal due
            if fps is None:
                return until > slack
            if due / fps >= until - slack:
                return False
            due = max(due + 1, math.ceil((until - slack) * fps))
            return True

        held: Any = None  # the frame on display; the next one tells how long it is
        held_at = 0.0
        given = 0
        for frame in chain(pictures, [None]):
            if frame is None:
                lasts_s = (
                    float(held.duration * held.time_base) if held is not None and held.duration else usual_s
                )
                at = held_at + lasts_s
            else:
                check_size(frame, limits, path)
                if frame.pts is not None:
                    at = frame.pts * tick - window.origin - window.start
                else:
                    at = 0.0 if held is None else held_at + usual_s
            if held is not None:
                if at <= held_at:
                    continue  # time must not run backwards
                if shown(min(at, window.length)):
                    given += 1
                    yield _frame(held, held_at, max_long_side)
            if frame is None:
                break
            check_length(min(at, window.length), limits, path)
            held, held_at = frame, at
            if at >= window.length - slack:
                break
        if not given:
            raise ClipError(
                f"{path.name}: no frame of its {stream.codec_context.name} video between {window} "
                f"could be decoded (the file is {duration_s(container):.2f} s long)"
            )
        report_damage(container, window, health, "video", notes)


def waveform(
    path: Path,
    limits: MediaLimits,
    *,
    sample_rate: int,
    start_s: float | None = None,
    end_s: float | None = None,
    notes: list[str] | None = None,
) -> np.ndarray:
    """The sound as mono samples; sample j is at j / sample_rate seconds from the clip's start.

    Channels are averaged, then resampled (soxr, HQ, as librosa does). Sound that begins after the clip's
    start is preceded by zeros, gaps of more than 0.1 s are filled with zeros, and what lies before the
    start is cut. The end is where the audio track ends, or `end_s`; nothing is appended.

    Returns
    -------
    shape (n_samples,), float32 in [-1, 1], n_samples >= 1; errors as `frames` has them
    """
    import soxr

    with open_media(path) as container:
        stream = audio_track(container)
        if stream is None:
            raise AbsentError(f"{path.name}: no audio track")
        window = window_of(container, path, limits, start_s, end_s)
        seek(container, stream, window.start - AUDIO_PREROLL_S)

        blocks, health = opened_track(path, container, stream, whole=window.start == 0)
        pieces: list[np.ndarray] = []
        resampler: Any = None
        rate = first = fed = 0  # Hz; source samples from the file's start: the resampler's first, its next
        stop = math.inf  # source sample from which on nothing is needed
        for begin, block_rate, samples in _sound(blocks, window.origin):
            if resampler is None:
                rate = block_rate
                resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
                # Every `period` source samples both grids meet; beginning there gives a window the very
                # samples that the whole file has.
                period = rate // math.gcd(rate, sample_rate)
                first = fed = max(0, int((window.start - RESAMPLER_CONTEXT_S) * rate) // period * period)
                stop = (window.start + window.length + RESAMPLER_CONTEXT_S) * rate
            elif block_rate != rate:
                raise ClipError(f"{path.name}: its sample rate changes from {rate} to {block_rate} Hz")
            check_length(min(begin / rate - window.start, window.length), limits, path)
            while fed < min(begin, stop):  # silence, a second at a time
                silence = np.zeros(min(begin - fed, rate), np.float32)
                pieces.append(resampler.resample_chunk(silence))
                fed += len(silence)
            if fed >= stop:
                break
            if begin + len(samples) > fed:
                pieces.append(resampler.resample_chunk(samples[fed - begin :]))
                fed = begin + len(samples)
        if resampler is None:
            raise ClipError(f"{path.name}: nothing of its {stream.codec_context.name} sound could be decoded")
        pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))

        offset = first * sample_rate // rate
        end_at = min(window.start + window.length, fed / rate)
        wanted = slice(round(window.start * sample_rate) - offset, round(end_at * sample_rate) - offset)
        samples = np.concatenate(pieces)[max(wanted.start, 0) : max(wanted.stop, 0)]
        if not len(samples):
            raise ClipError(f"{path.name}: no sound between {window}, its track ends at {fed / rate:.2f} s")
        report_damage(container, window, health, "audio", notes)
        return np.clip(np.nan_to_num(samples), -1.0, 1.0)


def level_dbfs(sound: np.ndarray) -> float:
    """Root mean square of sound in [-1, 1], in dB below full scale; at least -200."""
    return 20 * np.log10(max(float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))), 1e-10))


def _sound(blocks: Iterator[Any], origin: float) -> Iterator[tuple[int, int, np.ndarray]]:
    """Blocks of sound: source sample (from the file's start) where it begins, Hz, mono float32 samples."""
    after: int | None = None  # where the next block begins if nothing is missing
    for block in blocks:
        rate = block.sample_rate
        begin = after or 0
        if block.pts is not None:
            stamped = round((float(block.pts * block.time_base) - origin) * rate)
            if after is None or abs(stamped - after) >= AUDIO_JUMP_S * rate:
                begin = stamped
        samples = _mono(block)
        after = begin + len(samples)
        yield begin, rate, samples


def _mono(block: Any) -> np.ndarray:
    """Mean of the channels, shape (n_samples,), float32; full scale is 1."""
    samples = block.to_ndarray()  # (channels, n) if planar, else (1, n * channels)
    if not block.format.is_planar:
        samples = samples.reshape(-1, block.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    return samples.mean(axis=0, dtype=np.float32)


def _orientation(frame: Any) -> tuple[int, bool]:
    """(degrees clockwise, mirrored first) that the display matrix asks for, to the nearest quarter turn.

    The matrix (9 int32, row-major) maps the stored point (x, y), y down, to (a x + c y, b x + d y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), np.int32)[:5])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(math.degrees(math.atan2(b, a)) / 90) % 4 * 90, mirrored


def _frame(frame: Any, at: float, max_long_side: int | None) -> Frame:
    """The decoded frame as RGB, scaled down and upright."""
    scale = max(1.0, max(frame.width, frame.height) / (max_long_side or math.inf))
    width, height = max(1, round(frame.width / scale)), max(1, round(frame.height / scale))
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA", threads=1)
    degrees, mirrored = _orientation(frame)
    if mirrored:
        image = image[:, ::-1]
    return Frame(np.ascontiguousarray(np.rot90(image, -degrees // 90)), max(at, 0.0), scale)
