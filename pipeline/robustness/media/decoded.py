"""A clip whose media are decoded once; encoders are given what becomes of them in memory.

    file ─▶ sound, pictures ─▶ changed ─▶ the path of a clip ─▶ decode.waveform, decode.frames ─▶ any encoder

Nothing is encoded again or written: the path is a `SharedPath`, whose track `pipeline.media` takes from
whoever holds it. What is not changed on the way comes out as it would from the file, bit for bit. Two
exceptions: pictures that an encoder wants smaller are scaled after the change, from RGB and not from the
file's YUV; and the sound of a part of a longer file begins on a sample of the file, and is resampled without
what lies around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import AbsentError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.features.encoder import Clip
from pipeline.media.containers import open_track, origin_s
from pipeline.media.decode import Frame, frames, probe, waveform
from pipeline.media.decoding import Health
from pipeline.media.shared import SharedFile
from pipeline.params.params import MediaLimits

KEPT_BYTES = 1 << 30  # of pictures in memory; those of a longer clip are decoded for each corruption

SoundChange = Callable[[np.ndarray, int], np.ndarray]
"""(n_samples,) float32 and its sample rate to the same number of samples"""
PictureChange = Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]
"""the clip's pictures in order, (height, width, 3) uint8, to as many of the same sizes"""


class AlteredTrack(SharedFile):
    """A track of a file of which encoders get other frames, as often as they ask.

    Parameters
    ----------
    items : the frames, as libav would give them
    """

    def __init__(self, path: Path, stream_type: str, limits: MediaLimits, items: Callable[[], Iterator[Any]]):
        super().__init__(path, stream_type, limits, readers=1)
        self.health = Health(reached_s=math.inf)  # damage was told of when the file was read
        self.was_read = False
        self._items = items

    def read(self, stream_index: int, reader: int) -> Iterator[Any]:
        """The frames from the first on."""
        self.was_read = True
        return self._items()


@dataclass(frozen=True)
class AlteredPicture:
    """What `decode.frames` asks of a frame of libav's, upright; its times need not be whole ticks."""

    image: np.ndarray
    pts: float
    time_base: Fraction
    duration: float | None
    side_data: dict[str, Any] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return len(self.image)

    @property
    def width(self) -> int:
        return self.image.shape[1]

    def to_ndarray(self, *, width: int, height: int, **how: Any) -> np.ndarray:
        """RGB, (height, width, 3) uint8, scaled as libav's frames are."""
        from av import VideoFrame

        if (width, height) == (self.width, self.height):
            return self.image
        scaled: np.ndarray = VideoFrame.from_ndarray(self.image, "rgb24").to_ndarray(
            width=width, height=height, **how
        )
        return scaled


class DecodedClip:
    """The sound and the pictures of a clip.

    Errors of decoding are raised where something is asked for: AbsentError, ClipError.
    """

    def __init__(self, clip: Clip, limits: MediaLimits):
        if clip.path is None:
            raise AbsentError(f"{clip.clip_id}: no media file")
        self.clip, self.limits, self.path = clip, limits, clip.path
        self._kept: list[Frame] | None = None
        self._window: dict[str, Any] = {"start_s": clip.start_s, "end_s": clip.end_s}

    @cached_property
    def speech(self) -> np.ndarray:
        """The sound at 16 kHz, (n_samples,) float64 in [-1, 1]: what corruptions are made for."""
        sound = waveform(self.path, self.limits, sample_rate=SAMPLE_RATE, **self._window)
        return sound.astype(np.float64)

    @cached_property
    def times(self) -> list[float]:
        """Seconds from the clip's start at which the pictures are shown."""
        return [frame.time_s for frame in self._frames()]

    def with_sound(self, change: SoundChange) -> Clip:
        """The clip with its sound changed, at the file's own sample rate."""
        samples, rate = self._sound
        found = change(samples, rate).astype(np.float32)

        def block() -> Iterator[Any]:
            from av import AudioFrame

            whole = AudioFrame.from_ndarray(found[None], format="flt", layout="mono")
            whole.sample_rate = rate
            yield whole  # without a timestamp: it begins with the clip

        return self._altered("audio", block)

    def with_pictures(self, change: PictureChange) -> Clip:
        """The clip with its pictures changed."""
        tick, origin = self._clock
        end = None if self.clip.end_s is None else self.clip.end_s - (self.clip.start_s or 0.0)

        def pictures() -> Iterator[AlteredPicture]:
            images = change(frame.image for frame in self._frames())
            for time_s, image in zip(self.times, images, strict=True):
                # tells of the last one alone: until the window ends, else (None) as long as usual
                lasts = None if end is None else (end - time_s) / float(tick)
                yield AlteredPicture(image, (time_s + origin) / float(tick), tick, lasts)

        return self._altered("video", pictures)

    @cached_property
    def _sound(self) -> tuple[np.ndarray, int]:
        """The sound at the file's own sample rate, (n_samples,) float32, and the rate."""
        rate = probe(self.path, self.limits).sample_rate
        if rate is None:
            raise AbsentError(f"{self.path.name}: no audio track")
        return waveform(self.path, self.limits, sample_rate=rate, **self._window), rate

    @cached_property
    def _clock(self) -> tuple[Fraction, float]:
        """A tick of the video track and the file's first timestamp, in seconds."""
        with open_track(self.path, "video", self.limits, 0.0) as (container, stream):
            return stream.time_base, origin_s(container)

    def _frames(self) -> Iterator[Frame]:
        """The pictures, upright and as large as the file has them."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Frame] | None = []
        size = 0
        for frame in frames(self.path, self.limits, **self._window):
            if kept is not None:
                size += frame.image.nbytes
                kept.append(frame)
                if size > KEPT_BYTES:
                    kept = None
            yield frame
        self._kept = kept

    def _altered(self, stream_type: str, items: Callable[[], Iterator[Any]]) -> Clip:
        """The clip whose file holds nothing but itself, one track of which is another."""
        (path,) = AlteredTrack(self.path, stream_type, self.limits, items).handles()
        return replace(self.clip, path=path, start_s=None, end_s=self._length_s)

    @cached_property
    def _length_s(self) -> float | None:
        """How long the clip is, where it is a part of its file."""
        begin, end = self.clip.start_s or 0.0, self.clip.end_s
        if begin == 0:
            return end
        return (probe(self.path, self.limits).duration_s if end is None else end) - begin
