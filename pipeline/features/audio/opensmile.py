"""eGeMAPSv02 low-level descriptors by openSMILE: 25 columns, 100 frames a second.

Loudness, spectral slopes and flux, MFCC 1-4, F0 (semitones from 27.5 Hz, 0 where unvoiced), jitter, shimmer,
HNR, the differences of harmonics, and centre, bandwidth and level of formants 1-3 (Eyben et al., 2016, The
Geneva Minimalistic Acoustic Parameter Set). The sound is given at its 16 kHz, which the set was made for.

openSMILE's wheel (extra `opensmile`) is under the audEERING Research License: research and private use only,
and no use in products without a licence from audEERING. Nothing of it comes with this project.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.features.audio.extras import import_extra
from pipeline.features.audio.sound import clip_sound
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.params.encoders import OpenSmileParams

FRAME_RATE = 100.0  # frames a second
_FORMANTS = [f"F{n}{of}" for n in (1, 2, 3) for of in ("frequency", "bandwidth", "amplitudeLogRelF0")]
_SPECTRAL = ["Loudness", "alphaRatio", "hammarbergIndex", "slope0-500", "slope500-1500", "spectralFlux"]
_SPECTRAL += [f"mfcc{n}" for n in (1, 2, 3, 4)]
_VOICED = ["F0semitoneFrom27.5Hz", "jitterLocal", "shimmerLocaldB", "HNRdBACF", "logRelF0-H1-H2"]
_VOICED += ["logRelF0-H1-A3", *_FORMANTS]
COLUMNS = (*(f"{name}_sma3" for name in _SPECTRAL), *(f"{name}_sma3nz" for name in _VOICED))
SHORTEST = 960  # samples: the longest of its windows, 60 ms


class OpenSmile(Encoder):
    """Voice descriptors of the GeMAPS family."""

    modality = "audio"
    column_names: ClassVar[list[str]] = list(COLUMNS)
    frame_rate = FRAME_RATE
    LIBRARIES = ("av", "numpy", "opensmile", "soxr")
    CPU_ONLY = True

    params: OpenSmileParams
    _smile: Any

    @property
    def provenance(self) -> dict[str, Any]:
        _library()
        return super().provenance

    def load(self) -> None:
        """Read openSMILE's configuration; there are no weights."""
        opensmile = _library()
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )

    def encode(self, clip: Clip) -> Encoded:
        """Descriptors of the clip's sound; a silent clip is a good row with a note.

        Frame k spans 20 ms from k * 10 ms on, as openSMILE itself says, and its time is their middle; pitch
        and what follows from it are measured over 60 ms from the same moment on: no clip may be shorter.
        """
        y, note = clip_sound(clip, self.limits, SAMPLE_RATE)
        if len(y) < SHORTEST:
            raise ClipError(
                f"{len(y)} samples of sound at {SAMPLE_RATE} Hz are less than openSMILE's window ({SHORTEST})"
            )
        table = self._smile.process_signal(y, SAMPLE_RATE)
        if tuple(table.columns) != COLUMNS:
            raise ClipError(f"openSMILE gave other columns than eGeMAPSv02 has: {', '.join(table.columns)}")
        features = table.to_numpy(np.float32)
        times = (np.arange(len(features)) + 1) / FRAME_RATE
        return Encoded(np.ascontiguousarray(features), times.astype(np.float32), note)


def _library() -> Any:
    return import_extra(
        "opensmile",
        "kind opensmile needs openSMILE",
        "pip install 'msa-pipeline[opensmile]' (audEERING Research License: no commercial use)",
    )
