"""Hidden states of a transformer of sound: HuBERT, data2vec-audio, wav2vec 2.0 or WavLM; one row a frame.

waveform (16 kHz mono) > zero mean, unit variance > windows > encoder > mean of `layers`, stored as float16

Frame t covers the `reach` samples from t * hop on, which follow from the kernels and strides of the encoder's
convolutions: 400 and 320 in all released ones, so 25 ms each and 50 frames a second. n samples give
(n - reach) // hop + 1 frames; a frame's time is the middle of its samples.

The clip is normalised as a whole, if the checkpoint's preprocessor_config.json says so (`do_normalize`; some
WavLM say no). Without that file it is, the default of transformers' Wav2Vec2FeatureExtractor.

Clips longer than `window_s` are read in windows of equal length on the clip's own grid of frames; the last
one ends with the clip. A frame comes from the window whose middle is nearer (the earlier of two as near).

The model is frozen: no dropout, no SpecAugment. On CPU it sees one window a forward, without padding, on one
thread, so that a row's bytes depend on its clip alone. Batches are padded so that no frame sees the padding
(padded.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from models.core.backbones import AUDIO_TYPES, load_audio_backbone
from models.core.checkpoints import Part
from models.core.loading import load_config
from pipeline.core.console import say
from pipeline.core.errors import ClipError, ParamsError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.execution.gpu import Prepared
from pipeline.features.audio.padded import PaddedBackbone
from pipeline.features.audio.sound import clip_sound
from pipeline.features.checkpoint import PREPROCESSOR, preprocessor
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.pretrained import PretrainedStates, stored
from pipeline.params.encoders import Source, TransformerAudio

FORWARD_SAMPLES = 240 * SAMPLE_RATE  # of a batch, padding included: its largest activation has 1.6 GB
FEATURES = "feature_extractor"  # in processor_config.json


# ----------------------------------------------------------------------------------------------------- frames
@dataclass(frozen=True)
class SampleWindow:
    """Samples `start` to `stop` of a clip; of their frames `keep` count, after the first `skip`."""

    start: int
    stop: int
    skip: int
    keep: int


@dataclass(frozen=True)
class FrameGrid:
    """Which samples a frame sees: frame t those from t * hop to t * hop + reach - 1."""

    reach: int
    hop: int

    @classmethod
    def of(cls, kernels: list[int], strides: list[int]) -> FrameGrid:
        """The grid of a stack of convolutions without padding."""
        reach, hop = 1, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            reach += (kernel - 1) * hop
            hop *= stride
        return cls(reach, hop)

    def frames(self, samples: int) -> int:
        """Number of frames of so many samples."""
        return max((samples - self.reach) // self.hop + 1, 0)

    def samples(self, frames: int) -> int:
        """Number of samples that so many frames see."""
        return (frames - 1) * self.hop + self.reach

    def times(self, frames: int) -> np.ndarray:
        """Centres of the frames in seconds, float32."""
        centres = np.arange(frames) * self.hop + (self.reach - 1) / 2
        return (centres / SAMPLE_RATE).astype(np.float32)

    def windows(self, samples: int, window_s: float, overlap_s: float) -> list[SampleWindow]:
        """Windows whose own frames, one after the other, are the frames of the clip."""
        total, width = self.frames(samples), max(self.frames(round(window_s * SAMPLE_RATE)), 1)
        if total <= width:
            return [SampleWindow(0, samples, 0, total)]
        step = max(width - round(overlap_s * SAMPLE_RATE / self.hop), 1)
        starts = [*range(0, total - width, step), total - width]
        turns = [(a + b + width - 1) // 2 + 1 for a, b in pairwise(starts)]  # first frame nearer to the next
        bounds = pairwise([0, *turns, total])
        return [
            SampleWindow(at * self.hop, at * self.hop + self.samples(width), first - at, end - first)
            for at, (first, end) in zip(starts, bounds, strict=True)
        ]


# ---------------------------------------------------------------------------------------------------- encoder
@dataclass(frozen=True, eq=False)
class PreparedSound:
    """A clip's sound made ready for its checkpoint.

    Attributes
    ----------
    samples : shape (n_samples,), float32, 16 kHz, normalised as the checkpoint asks
    note : damage, silence
    """

    source: Source
    samples: np.ndarray
    note: str


class AudioStates(PretrainedStates):
    """Frozen features of encoders of sound (kind `hf_audio`)."""

    modality = "audio"
    LIBRARIES = ("av", "numpy", "soxr", "torch", "transformers")
    PARTS: ClassVar[tuple[Part, ...]] = ("config", "weights")

    params: TransformerAudio

    @cached_property
    def grid(self) -> FrameGrid:
        """The grid of frames, one for all checkpoints."""
        found = {
            source[0]: FrameGrid.of(config.conv_kernel, config.conv_stride)
            for source, config in self.configs.items()
        }
        (first, grid), *others = found.items()
        for model, other in others:
            if other != grid:
                raise ParamsError(
                    f"{self.key}.model: a frame of {first} sees {grid.reach} samples, {grid.hop} apart, of "
                    f"{model} {other.reach}, {other.hop} apart; use checkpoints of one frame rate"
                )
        return grid

    @property
    def frame_rate(self) -> float:
        return SAMPLE_RATE / self.grid.hop

    @property
    def provenance(self) -> dict[str, Any]:
        known = super().provenance  # whose `model` does not tell whether a hub's preprocessor file is here
        normalised = {
            str(language or "all"): self.normalises(source)
            for language, source in self.params.checkpoints().items()
            if source in self.configs
        }
        return {**known, "do_normalize": normalised}

    def read_config(self, source: Source) -> Any:
        model, config = source[0], load_config(*source)
        if config.model_type not in AUDIO_TYPES:
            raise ParamsError(
                f"{self.key}.model: {model} is of type {config.model_type!r}, expected an encoder of sound "
                f"({', '.join(AUDIO_TYPES)}), e.g. facebook/hubert-base-ls960"
            )
        if getattr(config, "add_adapter", False):
            raise ParamsError(
                f"{self.key}.model: {model} ends in an adapter that merges frames; use the checkpoint "
                "that it was made from"
            )
        rate = preprocessor(source, FEATURES).get("sampling_rate", SAMPLE_RATE)
        if rate != SAMPLE_RATE:
            raise ParamsError(f"{self.key}.model: {model} needs {rate} Hz, expected {SAMPLE_RATE}")
        return config

    def read_backbone(self, source: Source) -> Any:
        import torch

        backbone = load_audio_backbone(*source)
        if self.params.precision == "bf16":
            backbone = backbone.to(torch.bfloat16)
        elif self.device.startswith("cuda"):
            torch.backends.cudnn.allow_tf32 = False  # convolutions would have 10 bits otherwise
        return PaddedBackbone(backbone)

    def load_preparer(self) -> None:
        """Check the settings; there is nothing to keep."""
        _ = self.grid
        for (model, _), found in self._preprocessors.items():
            if not found:
                say(f"{self.key}: {model} has no {PREPROCESSOR} here; sound is normalised", error=True)

    @cached_property
    def _preprocessors(self) -> dict[Source, dict[str, Any]]:
        return {source: preprocessor(source, FEATURES) for source in self.configs}

    def normalises(self, source: Source) -> bool:
        """Whether a checkpoint wants zero mean and unit variance."""
        return bool(self._preprocessors[source].get("do_normalize", True))

    def prepare(self, clip: Clip) -> Prepared:
        """The clip's sound as the checkpoint wants it; a silent clip is good and gets a note."""
        source = self.source(clip)
        sound, note = clip_sound(clip, self.limits, SAMPLE_RATE)
        return self.prepare_sound(sound, source, note)

    def prepare_sound(self, sound: np.ndarray, source: Source, note: str = "") -> Prepared:
        """A waveform, shape (n_samples,), float32 in [-1, 1], 16 kHz, as the checkpoint wants it.

        ClipError where it is shorter than one frame.
        """
        if len(sound) < self.grid.reach:
            raise ClipError(
                f"{len(sound)} samples of sound at {SAMPLE_RATE} Hz are less than one frame "
                f"({self.grid.reach} samples)"
            )
        if self.normalises(source):
            sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)  # as Wav2Vec2FeatureExtractor does
        windows = self._windows(len(sound))
        content = PreparedSound(source, sound, note)
        return Prepared(content, max(one.stop - one.start for one in windows), len(windows))

    def states(self, source: Source, contents: list[PreparedSound]) -> list[np.ndarray]:
        """States of sounds; on CPU one alone goes window by window, else batches are padded."""
        windows = [self._windows(len(sound.samples)) for sound in contents]
        pieces = [
            sound.samples[window.start : window.stop]
            for sound, some in zip(contents, windows, strict=True)
            for window in some
        ]
        order = sorted(range(len(pieces)), key=lambda piece: len(pieces[piece]))
        limit = FORWARD_SAMPLES if len(contents) > 1 or self.device != "cpu" else 0
        found: dict[int, np.ndarray] = {}
        for batch in _batches(order, [len(pieces[piece]) for piece in order], limit):
            states = self.forward(source, [pieces[piece] for piece in batch])
            for piece, values in zip(batch, states, strict=True):
                found[piece] = values[: self.grid.frames(len(pieces[piece]))]
        given = (found[piece] for piece in range(len(pieces)))
        return [np.concatenate([next(given)[w.skip : w.skip + w.keep] for w in some]) for some in windows]

    def _windows(self, samples: int) -> list[SampleWindow]:
        return self.grid.windows(samples, self.params.window_s, self.params.overlap_s)

    def encoded(self, sound: PreparedSound, states: np.ndarray) -> Encoded:
        return Encoded(stored(states), self.grid.times(len(states)), sound.note)


def _batches(items: list[int], lengths: list[int], limit: int) -> Iterator[list[int]]:
    """Items of rising lengths in groups that, padded, have at most `limit` samples; at least one each."""
    begin = 0
    for end in range(1, len(items) + 1):
        if end == len(items) or (end + 1 - begin) * lengths[end] > limit:
            yield items[begin:end]
            begin = end
