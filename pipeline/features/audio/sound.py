"""The sound of a clip as encoders want it: decoded, with what a reader should know of it."""

from __future__ import annotations

import numpy as np

from pipeline.core.errors import AbsentError
from pipeline.features.encoder import Clip
from pipeline.media.decode import SILENCE_DBFS, level_dbfs, waveform
from pipeline.params.params import MediaLimits


def clip_sound(clip: Clip, limits: MediaLimits, sample_rate: int) -> tuple[np.ndarray, str]:
    """The clip's waveform, shape (n_samples,), float32 in [-1, 1], and a note on damage and silence.

    Raises
    ------
    AbsentError : no media file, or no audio track in it
    ClipError : cannot be decoded
    """
    if clip.path is None:
        raise AbsentError(f"{clip.clip_id}: no media file")
    notes: list[str] = []
    samples = waveform(
        clip.path, limits, sample_rate=sample_rate, start_s=clip.start_s, end_s=clip.end_s, notes=notes
    )
    level = level_dbfs(samples)
    if level < SILENCE_DBFS:
        notes.append(f"silent (RMS {level:.0f} dBFS, below {SILENCE_DBFS:.0f})")
    return samples, "; ".join(notes)
