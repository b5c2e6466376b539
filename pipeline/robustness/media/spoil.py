"""One clip under corruptions: what of the sound or the pictures is changed, drawn by clip and seed.

Sound is measured and noise made at 16 kHz, resampled to the file's own rate and added there; an encoder takes
what is beyond full scale as full scale, as it does with any file. All levels of a draw have the same noise,
voices and places. A picture in which the clean clip shows no face stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.features.encoder import Clip
from pipeline.robustness.conditions import CLEAN, Condition
from pipeline.robustness.media.decoded import DecodedClip
from pipeline.robustness.media.kinds import OF_FACES, SOUND
from pipeline.robustness.media.pictures import BANDS, Box, blurred, coarse, covered
from pipeline.robustness.media.sounds import VOICES, at_snr, babble, muted, power, span
from pipeline.robustness.streams import stream

VIDEO = "video"  # stands for the pictures in keys of random numbers
SILENT = "silent: no noise is added"

Voice = TypeVar("Voice")


@dataclass(frozen=True)
class SpoiltClip:
    """What is to be spoilt.

    Attributes
    ----------
    dataset, split : parts of the key of its random numbers, beside the clip's id
    faces : of each picture, None without a face; for kinds in OF_FACES
    voices : for babble, by draw: see `choose_voices`
    """

    clip: Clip
    dataset: str
    split: str
    faces: Sequence[Box | None] = ()
    voices: Mapping[int, Sequence[tuple[Clip, float]]] = field(default_factory=dict)

    def numbers(self, condition: Condition, modality: str) -> np.random.Generator:
        """The stream of its random numbers, the same for all levels."""
        return stream(condition.kind, self.dataset, self.split, self.clip.clip_id, modality, condition.draw)


def spoil(
    spoilt: SpoiltClip, decoded: DecodedClip, condition: Condition, speech_of: Callable[[Clip], np.ndarray]
) -> tuple[Clip, str]:
    """The clip under a condition, and a note; `speech_of` gives a voice at 16 kHz, or a ClipError.

    AbsentError and ClipError: the clip has no such track, or it cannot be decoded.
    """
    if condition.kind == CLEAN:
        return spoilt.clip, ""
    if condition.kind not in SOUND:
        return _with_pictures(spoilt, decoded, condition), ""
    speech = decoded.speech
    if condition.kind == "mute":
        start, stop = span(len(speech), condition.level, spoilt.numbers(condition, "audio").random())
        return decoded.with_sound(partial(_mute, start=start, stop=stop)), ""
    if power(speech) == 0:
        return decoded.with_sound(lambda sound, rate: sound), SILENT
    if condition.kind == "white":
        noise, note = spoilt.numbers(condition, "audio").standard_normal(len(speech)), ""
    else:
        noise, note = _babble(spoilt.voices[condition.draw], len(speech), speech_of)
    return decoded.with_sound(partial(_add, noise=at_snr(noise, speech, condition.level))), note


def choose_voices(
    numbers: np.random.Generator, videos: Sequence[Sequence[Voice]]
) -> tuple[tuple[Voice, float], ...]:
    """Voices for babble, each of another video, and where in each its part begins, in [0, 1).

    They are twice as many as are needed, because some may be silent, or cannot be decoded; the first count.
    """
    order = numbers.permutation(len(videos))[: 2 * VOICES]
    which, places = numbers.random((2, len(order)))
    return tuple(
        (videos[video][int(one * len(videos[video]))], float(place))
        for video, one, place in zip(order.tolist(), which, places, strict=True)
    )


# --------------------------------------------------------------------------------------------------- sound
def _babble(
    candidates: Sequence[tuple[Clip, float]], n_samples: int, speech_of: Callable[[Clip], np.ndarray]
) -> tuple[np.ndarray, str]:
    """(n_samples,) of the first six that can be heard, and whose voices they are."""
    found: list[tuple[str, np.ndarray, float]] = []
    for clip, place in candidates:
        try:
            voice = speech_of(clip)
        except ClipError:
            continue
        if power(voice) > 0:
            found.append((clip.clip_id, voice, place))
        if len(found) == VOICES:
            break
    if not found:
        raise ClipError("no voices for babble: no train clip of another video has sound")
    noise = babble([voice for _, voice, _ in found], [place for *_, place in found], n_samples)
    return noise, f"babble of {', '.join(name for name, *_ in found)}"


def _add(sound: np.ndarray, rate: int, noise: np.ndarray) -> np.ndarray:
    """The sound with noise of 16 kHz."""
    import soxr

    added = noise if rate == SAMPLE_RATE else soxr.resample(noise, SAMPLE_RATE, rate, quality="HQ")
    found = sound.astype(np.float64)
    n = min(len(found), len(added))  # they differ by a sample or two
    found[:n] += added[:n]
    return found


def _mute(sound: np.ndarray, rate: int, start: int, stop: int) -> np.ndarray:
    """The sound without samples start to stop of 16 kHz."""
    return muted(sound, *(round(at * rate / SAMPLE_RATE) for at in (start, stop)))


# ------------------------------------------------------------------------------------------------- pictures
def _with_pictures(spoilt: SpoiltClip, decoded: DecodedClip, condition: Condition) -> Clip:
    kind, level = condition.kind, condition.level
    if kind in OF_FACES:
        return decoded.with_pictures(partial(_cover, boxes=_hidden(spoilt, condition)))
    if kind == "freeze":
        place = spoilt.numbers(condition, VIDEO).random()
        start, stop = span(len(decoded.times), level, place)
        return decoded.with_pictures(partial(_freeze, start=start, stop=stop))
    change = partial(blurred, sigma=level) if kind == "blur" else partial(coarse, factor=level)
    return decoded.with_pictures(lambda images: map(change, images))


def _hidden(spoilt: SpoiltClip, condition: Condition) -> list[Box | None]:
    """What of each picture is black."""
    if condition.kind != "occlude":
        band = BANDS[condition.kind]
        return [None if face is None else face.band(*band) for face in spoilt.faces]
    across, down = spoilt.numbers(condition, VIDEO).random(2).tolist()
    return [None if face is None else face.part(condition.level, across, down) for face in spoilt.faces]


def _cover(images: Iterator[np.ndarray], boxes: Sequence[Box | None]) -> Iterator[np.ndarray]:
    for image, box in zip(images, boxes, strict=True):
        yield image if box is None else covered(image, box)


def _freeze(images: Iterator[np.ndarray], start: int, stop: int) -> Iterator[np.ndarray]:
    """Pictures start to stop are the first of them."""
    for number, image in enumerate(images):
        if number == start:
            first = image
        yield first if start <= number < stop else image
