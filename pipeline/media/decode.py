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

from pipeline.core.errors import ClipError, UndecodableError
from pipeline.media.blocks import mono_blocks
from pipeline.media.containers import duration_s, open_media, open_track, track_of
from pipeline.media.decoding import Health, decoded, report_damage, scanned_duration_s
from pipeline.media.shared import opened_track
from pipeline.media.windows import check_length, check_refused_size, check_size, window_of
from pipeline.params.params import MediaLimits

VIDEO_SUFFIXES: frozenset[str] = frozenset(
    f".{name}"
    for name in "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts flv wmv 3gp ogv".split()  # noqa: SIM905
)

AUDIO_PREROLL_S = 2.0  # decoded before a window, so that codecs with memory (AAC, Opus, MP3) have settled
SAMPLE_RATE_MAX = 768_000  # Hz; a file that claims a higher one is damaged
RESAMPLER_CONTEXT_S = 0.1  # sound around a window that the resampling filter sees
SILENCE_DBFS = -60.0  # sound with a lower level is silent


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds; width and height are those on display, after rotation.

    `duration_s` is the file's; `fps` is the average; `rotation` is how far the stored picture is turned
    clockwise to be upright: 0, 90, 180 or 270 degrees. `problems`: why a track cannot be decoded.
    """

    duration_s: float
    fps: float | None
    width: int | None
    height: int | None
    has_video: bool
    has_audio: bool
    sample_rate: int | None
    rotation: int
    problems: tuple[str, ...] = ()


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
    ClipError : missing, empty, not a media file, no track that can be decoded, frame too large
    """
    with open_media(path, limits) as container:
        tracks: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for kind in ("video", "audio"):
            try:
                tracks[kind] = track_of(container, kind, limits)
            except UndecodableError as error:
                problems[kind] = str(error)
        video, audio = tracks.get("video"), tracks.get("audio")
        if video is None and audio is None:
            raise ClipError(
                "; ".join(problems.values()) or f"{path.name}: neither a video nor an audio track"
            )
        rotation, width, height = 0, None, None
        if video is not None:
            check_size(video.codec_context, limits, path)
            first = next(decoded(container, video, Health()), None)
            if first is None:
                check_refused_size(video, limits, path)
                codec = video.codec_context.name
                problems["video"] = f"{path.name}: no frame of its {codec} video could be decoded"
            stored = first or video.codec_context
            check_size(stored, limits, path)
            rotation = 0 if first is None else _orientation(first)[0]
            width, height = stored.width or None, stored.height or None  # 0: not known
            if rotation % 180:
                width, height = height, width
        return MediaInfo(
            duration_s=duration_s(container) or scanned_duration_s(container),
            fps=float(video.average_rate) if video is not None and video.average_rate else None,
            width=width,
            height=height,
            has_video=video is not None or "video" in problems,
            has_audio=audio is not None or "audio" in problems,
            sample_rate=audio.codec_context.sample_rate if audio is not None else None,
            rotation=rotation,
            problems=tuple(problems.values()),
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
    notes : gets a line for whatever is missing or damaged, once the last frame was given

    Raises (at the first frame)
    ------
    AbsentError : no video track
    ClipError : see `probe`; too long, an empty window, or nothing in it can be decoded
    """
    from av.error import FFmpegError

    with open_track(path, "video", limits, start_s or 0.0) as (container, stream):
        check_size(stream.codec_context, limits, path)
        window = window_of(container, path, limits, start_s, end_s)
        stream.thread_type = "NONE"  # fastest per core, and workers already share the cores

        pictures, health = opened_track(path, container, stream, whole=window.start == 0)
        tick = float(stream.time_base)
        slack = min(tick / 2, 0.0005)
        usual_s = 1 / float(stream.average_rate) if stream.average_rate else 0.04
        due = 0  # the first of the instants k / fps for which no frame was given
        backwards = 0  # frames that are left out because their time is not after the frame's before
        unlike: list[FFmpegError] = []  # why frames could not be made RGB

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
                    backwards += held_at >= 0
                    continue
                if shown(min(at, window.length)):
                    try:
                        picture = _frame(held, held_at, max_long_side)
                    except FFmpegError as error:  # of a color space that there is not
                        unlike.append(error)
                    else:
                        given += 1
                        yield picture
            if frame is None:
                break
            check_length(min(at, window.length), limits, path)
            held, held_at = frame, at
            if at >= window.length - slack:
                break
        lost = [f"{backwards} video frames left out: their times repeat or go back"] if backwards else []
        if unlike:
            lost.append(f"{len(unlike)} video frames left out: not made RGB ({unlike[0].strerror})")
        if not given:
            check_refused_size(stream, limits, path)
            raise ClipError(
                f"{path.name}: no frame of its {stream.codec_context.name} video between {window} could be "
                + "; ".join([f"decoded (the file is {duration_s(container):.2f} s long)", *lost])
            )
        report_damage(container, window, health, "video", lost, notes)


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

    with open_track(path, "audio", limits, (start_s or 0.0) - AUDIO_PREROLL_S) as (container, stream):
        window = window_of(container, path, limits, start_s, end_s)
        blocks, health = opened_track(path, container, stream, whole=window.start == 0)
        pieces: list[np.ndarray] = []
        resampler: Any = None
        rate = first = fed = 0  # Hz; source samples from the file's start: the resampler's first, its next
        stop = math.inf  # source sample from which on nothing is needed
        repeated = 0  # source samples that are left out because there is sound at their time already
        for begin, block_rate, samples in mono_blocks(blocks, window.origin):
            if resampler is None:
                if block_rate > SAMPLE_RATE_MAX:
                    raise ClipError(
                        f"{path.name}: its sample rate is {block_rate} Hz, over {SAMPLE_RATE_MAX}"
                    )
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
            repeated += max(0, min(begin + len(samples), fed) - max(begin, first))
            if begin + len(samples) > fed:
                pieces.append(resampler.resample_chunk(samples[fed - begin :]))
                fed = begin + len(samples)
        if resampler is None:
            raise ClipError(f"{path.name}: none of its {stream.codec_context.name} sound could be decoded")
        pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))

        offset = first * sample_rate // rate
        end_at = min(window.start + window.length, fed / rate)
        wanted = slice(round(window.start * sample_rate) - offset, round(end_at * sample_rate) - offset)
        samples = np.concatenate(pieces)[max(wanted.start, 0) : max(wanted.stop, 0)]
        if not len(samples):
            raise ClipError(f"{path.name}: no sound between {window}; its track ends at {fed / rate:.2f} s")
        lost = [f"{repeated / rate:.2f} s of sound left out: its times repeat or go back"] if repeated else []
        report_damage(container, window, health, "audio", lost, notes)
        return np.clip(np.nan_to_num(samples), -1.0, 1.0)


def level_dbfs(sound: np.ndarray) -> float:
    """Root mean square of sound in [-1, 1], in dB below full scale; at least -200."""
    return 20 * np.log10(max(float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))), 1e-10))


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
