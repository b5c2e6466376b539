"""eGeMAPSv02 low-level descriptors by openSMILE: 25 columns, 100 frames a second.

Loudness, spectral slopes and flux, MFCC 1-4, F0 (semitones from 27.5 Hz, 0 where unvoiced), jitter, shimmer,
HNR, the differences of harmonics, and centre, bandwidth and level of formants 1-3 (Eyben et al., 2016, The
Geneva Minimalistic Acoustic Parameter Set). The sound is given at its 16 kHz, which the set was made for.

openSMILE's wheel (extra `opensmile`) is under the audEERING Research License: research and private use only,
and no use in products without a licence from audEERING. Nothing of it comes with this project.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from pipeline.core.errors import ClipError, MissingDependencyError
from pipeline.features.audio.sound import clip_sound
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.params.encoders import OpenSmileParams

SAMPLE_RATE = 16_000  # Hz
FRAME_RATE = 100.0  # frames a second
COLUMNS = (
    "Loudness_sma3",
    "alphaRatio_sma3",
    "hammarbergIndex_sma3",
    "slope0-500_sma3",
    "slope500-1500_sma3",
    "spectralFlux_sma3",
    "mfcc1_sma3",
    "mfcc2_sma3",
    "mfcc3_sma3",
    "mfcc4_sma3",
    "F0semitoneFrom27.5Hz_sma3nz",
    "jitterLocal_sma3nz",
    "shimmerLocaldB_sma3nz",
    "HNRdBACF_sma3nz",
    "logRelF0-H1-H2_sma3nz",
    "logRelF0-H1-A3_sma3nz",
    "F1frequency_sma3nz",
    "F1bandwidth_sma3nz",
    "F1amplitudeLogRelF0_sma3nz",
    "F2frequency_sma3nz",
    "F2bandwidth_sma3nz",
    "F2amplitudeLogRelF0_sma3nz",
    "F3frequency_sma3nz",
    "F3bandwidth_sma3nz",
    "F3amplitudeLogRelF0_sma3nz",
)
SHORTEST = 960  # samples: the longest of its windows, 60 ms


class OpenSmile(Encoder):
    """Voice descriptors of the GeMAPS family."""

    modality = "audio"
    LIBRARIES = ("av", "numpy", "opensmile", "soxr")

    params: OpenSmileParams
    _smile: Any

    @property
    def dim(self) -> int:
        return len(COLUMNS)

    @property
    def column_names(self) -> list[str]:
        return list(COLUMNS)

    @property
    def frame_rate(self) -> float:
        return FRAME_RATE

    @property
    def provenance(self) -> dict[str, Any]:
        _library()
        return super().provenance

    def load(self) -> None:
        """Read openSMILE's configuration; there are no weights.

        Raises
        ------
        MissingDependencyError : the extra is not installed
        """
        opensmile = _library()
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )

    def encode(self, clip: Clip) -> Encoded:
        """Descriptors of the clip's sound; a silent clip is a good row with a note.

        Frame k spans 20 ms from k * 10 ms on, as openSMILE itself says, and its time is their middle; pitch
        and what follows from it are measured over 60 ms from the same moment on.

        Raises
        ------
        AbsentError : no media file, or no audio track in it
        ClipError : cannot be decoded, or shorter than 60 ms
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
    """The openSMILE package."""
    try:
        return importlib.import_module("opensmile")
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependencyError(
            f"kind opensmile needs openSMILE ({error}): pip install 'msa-pipeline[opensmile]' (audEERING "
            "Research License: no commercial use)"
        ) from error
