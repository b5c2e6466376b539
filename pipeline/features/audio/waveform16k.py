"""The sound itself, 16 kHz mono, for methods that fine-tune an encoder of sound: one column, `sample`.

sound ─▶ mean of the channels ─▶ soxr HQ to 16 kHz ─▶ int16

A frame is a sample: sample j is at j / 16,000 s from the clip's start, so no times are stored. The numbers
are rounded to the nearest of 65,536 levels without dither (an error of half a level at most, -96 dBFS) and
never normalised; a recording of 16 bits at 16 kHz stays as it was.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pipeline.core.waveform import FULL_SCALE, SAMPLE_RATE
from pipeline.features.audio.sound import clip_sound
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.params.encoders import Waveform16kParams


class Waveform16k(Encoder):
    """Samples of the clip's sound."""

    modality = "audio"
    column_names: ClassVar[list[str]] = ["sample"]
    dtype = "int16"
    frame_rate = float(SAMPLE_RATE)
    LIBRARIES = ("av", "numpy", "soxr")
    CPU_ONLY = True

    params: Waveform16kParams

    def load(self) -> None:
        """There are no weights."""
        import soxr  # noqa: F401

    def encode(self, clip: Clip) -> Encoded:
        """Samples of the clip, shape (n_samples, 1), int16; a silent clip is a good row with a note."""
        y, note = clip_sound(clip, self.limits, SAMPLE_RATE)
        samples = np.clip(np.rint(y * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        return Encoded(samples[:, None], note=note)
