"""Tiny clips whose every frame tells its own number, so that a test knows which frames it was given.

Frame i shows i in binary: eight vertical bars, white for 1, the lowest bit on the left; the lower half of
the picture is mid grey, so that up and down differ as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 8
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}


def picture(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Shape (height, width, 3), uint8: `index` (0..255) in bars."""
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(BITS):
        level = 235 if index >> bit & 1 else 20
        image[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = level
    return image


def read_index(image: np.ndarray) -> int:
    """The number that a picture shows, at any scale."""
    height, width = image.shape[:2]
    middles = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(int(image[height // 4, x].mean() > 128) << bit for bit, x in enumerate(middles))


def tone(hertz: float, seconds: float, rate: int, level: float = 0.5) -> np.ndarray:
    """A sine, shape (n,), float32."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def make_clip(
    path: Path,
    *,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (64, 48),
    video_codec: str = "ffv1",
    options: dict[str, str] | None = None,
    rotation: int | None = None,
    sound: np.ndarray | None = None,
    rate: int = 16_000,
    audio_codec: str = "flac",
    sound_from_s: float = 0.0,
    sound_gap: tuple[float, float] = (0.0, 0.0),
    cover: bool = False,
) -> Path:
    """Write a clip.

    Parameters
    ----------
    times : when each frame is shown, seconds; None = no video track
    size : (width, height) as stored
    options : of the video encoder
    rotation : degrees counter-clockwise for the display matrix
    sound : shape (n,) or (channels, n), in [-1, 1]; None = no audio track
    sound_from_s : timestamp of the first sample
    sound_gap : (begin, length) in seconds: blocks of 1,024 samples from `begin` on are that much later
    cover : add a picture as cover art
    """
    with av.open(str(path), "w") as container:
        video = audio = art = None
        if times is not None:
            video = container.add_stream(video_codec, rate=25, options=options or {})
            video.width, video.height = size
            video.pix_fmt = "bgr0" if video_codec == "ffv1" else "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
            if rotation is not None:
                video.set_display_rotation(rotation)
        if sound is not None:
            channels = np.atleast_2d(sound)
            layout = LAYOUTS[len(channels)]
            audio = container.add_stream(audio_codec, rate=rate, layout=layout)
        if cover:
            art = container.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = 64, 48, "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
        packets: list[Any] = []
        if video is not None and times is not None:
            for index, second in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
                frame.pts, frame.time_base = round(second * 1000), Fraction(1, 1000)
                packets += video.encode(frame)
            packets += video.encode(None)
        if audio is not None:
            for at in range(0, channels.shape[1], 1024):
                block = np.ascontiguousarray(channels[:, at : at + 1024] * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(block.T.reshape(1, -1), format="s16", layout=layout)
                frame.sample_rate = rate
                late_s = sound_from_s + (sound_gap[1] if at >= sound_gap[0] * rate else 0)
                frame.pts, frame.time_base = at + round(late_s * rate), Fraction(1, rate)
                packets += audio.encode(frame)
            packets += audio.encode(None)
        if art is not None:
            frame = av.VideoFrame.from_ndarray(picture(1), format="rgb24")
            frame.pts = 0
            packets += art.encode(frame) + art.encode(None)
        for packet in packets:
            container.mux(packet)
    return path


def muted(source: Path, target: Path) -> Path:
    """The same pictures without the sound, packet by packet."""
    with av.open(str(source)) as given, av.open(str(target), "w") as taken:
        stream = taken.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                taken.mux(packet)
    return target
