"""States of Whisper's encoder (Radford et al. 2023), which recognises speech: one row a frame, 50 a second.

sound (16 kHz) > windows of 30 s > log-mel > encoder > states of the clip > mean of `layers`, as float16

Whisper hears 30 s at once, whatever a clip's length: what is shorter is filled up with silence, as in its
training, and costs as much. State t stands for the samples around t * 320: n samples have ceil(n / 320), and
states of the filling are cut off. Longer clips are read in windows that share 2 s, as hf_audio reads them;
each has its spectrogram floored 80 dB below its own loudest band, as Whisper has it.

The decoder's weights are read with the rest and dropped. On CPU a window is a forward, on one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from models.core.checkpoints import Part
from models.core.loading import importing_models, load_config, load_weights
from pipeline.core.errors import ParamsError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.execution.gpu import Prepared
from pipeline.features.audio.hf_audio import FrameGrid, SampleWindow
from pipeline.features.audio.sound import clip_sound
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.pretrained import PretrainedStates, stored
from pipeline.params.encoders import Source, WhisperAudio

HOP = 320  # samples between states: 160 between mel frames, and the encoder's second convolution halves them
OVERLAP_S = 2.0  # seconds that neighbouring windows share
GRID = FrameGrid(1, HOP)


@dataclass(frozen=True, eq=False)
class PreparedMel:
    """A clip's sound as Whisper hears it.

    Attributes
    ----------
    mel : shape (n_windows, bands, 3000), float32
    windows : which states of each count
    note : damage, silence
    """

    source: Source
    mel: np.ndarray
    windows: list[SampleWindow]
    note: str


class WhisperStates(PretrainedStates):
    """Frozen states of Whisper's encoder (kind `whisper`)."""

    modality = "audio"
    LIBRARIES = ("av", "numpy", "soxr", "torch", "transformers")
    PARTS: ClassVar[tuple[Part, ...]] = ("config", "weights")
    frame_rate = SAMPLE_RATE / HOP

    params: WhisperAudio

    def read_config(self, source: Source) -> Any:
        config = load_config(*source)
        if config.model_type != "whisper":
            raise ParamsError(
                f"{self.key}.model: {source[0]} is of type {config.model_type!r}, expected a Whisper, e.g. "
                "openai/whisper-base"
            )
        return config

    def read_backbone(self, source: Source) -> Any:
        import torch

        with importing_models():
            from transformers import WhisperModel
        dtype = torch.bfloat16 if self.params.precision == "bf16" else torch.float32
        model: Any = load_weights(WhisperModel, *source, self.configs[source], dtype=dtype)
        if self.device.startswith("cuda"):
            torch.backends.cudnn.allow_tf32 = False  # convolutions would have 10 bits otherwise
        return model.encoder

    def load_preparer(self) -> None:
        """Make ready what draws the spectrograms."""
        with importing_models():
            from transformers import WhisperFeatureExtractor
        self._spectrograms = {
            source: WhisperFeatureExtractor(
                feature_size=config.num_mel_bins, chunk_length=_window(config) // SAMPLE_RATE
            )
            for source, config in self.configs.items()
        }

    def prepare(self, clip: Clip) -> Prepared:
        """The clip's spectrograms; a silent clip is good and gets a note."""
        source = self.source(clip)
        sound, note = clip_sound(clip, self.limits, SAMPLE_RATE)
        length = _window(self.configs[source])
        windows = GRID.windows(len(sound), length / SAMPLE_RATE, OVERLAP_S)
        spectrogram = self._spectrograms[source]
        mel = [
            spectrogram(sound[one.start : one.start + length], sampling_rate=SAMPLE_RATE).input_features[0]
            for one in windows
        ]
        return Prepared(PreparedMel(source, np.stack(mel), windows, note), length, len(windows))

    def states(self, source: Source, contents: list[PreparedMel]) -> list[np.ndarray]:
        """States of sounds; on CPU window by window, else all windows at once."""
        import torch

        mel = np.concatenate([content.mel for content in contents])
        weights = next(self.backbone(source).parameters())
        pieces = (
            torch.from_numpy(mel)
            .to(weights.device, weights.dtype)
            .split(1 if self.device == "cpu" else len(mel))
        )
        given = iter(np.concatenate([self.forward(source, piece) for piece in pieces]))
        return [
            np.concatenate([next(given)[one.skip : one.skip + one.keep] for one in content.windows])
            for content in contents
        ]

    def encoded(self, sound: PreparedMel, states: np.ndarray) -> Encoded:
        return Encoded(stored(states), GRID.times(len(states)), sound.note)


def _window(config: Any) -> int:
    """Samples that a Whisper hears at once."""
    return int(config.max_source_positions) * HOP
