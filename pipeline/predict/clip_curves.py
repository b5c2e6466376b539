"""What is measured along a clip for the eye: pictures, pitch, energy, action units; timeline.py draws it.

Features that the runs' encoders made are used again; pitch and energy are computed here where they did not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.vocabulary import OK
from pipeline.datasets.assembly.sequences import SUCCESS, real_frames
from pipeline.features.encoder import Clip, Encoder
from pipeline.features.registry import build_encoder
from pipeline.media.decode import frames, probe, waveform
from pipeline.params.encoders import NO_POOL, Librosa33Params
from pipeline.params.params import MediaLimits
from pipeline.predict.predict import Predictor
from pipeline.predict.prediction import ClipPrediction
from pipeline.store.shard import FeatureRow

FEWEST_PICTURES, MOST_PICTURES = 3, 16
PICTURE_SIDE = 240  # pixels, the longer side of a picture of the strip
MOST_UNITS = 4
RATE, WINDOW, HOP = 16_000, 400, 160  # Hz, samples: energy of 25 ms every 10 ms
QUIETEST = -80.0  # dBFS, what silence is shown as
SHORTEST = 1e-3  # seconds; a still picture has no length
UNIT = re.compile(r"AU(\d+)_(mesh|r|pyfeat)")  # number and scale; `_c` is only yes or no

Curve = tuple[np.ndarray, np.ndarray]
"""(n,) seconds and (n,) values, NaN where there is none"""


@dataclass(frozen=True)
class ClipCurves:
    """What was measured along a clip; None or empty where there is nothing to show.

    Attributes
    ----------
    duration_s : length of the time axis, > 0
    pictures : (height, width, 3) uint8 RGB, at equal distances from the clip's start on
    pitch : Hz, NaN where unvoiced
    energy : dBFS, at least QUIETEST
    units : action unit -> curve, NaN where no face was found
    """

    duration_s: float
    pictures: list[np.ndarray]
    pitch: Curve | None
    energy: Curve | None
    units: dict[str, Curve]


def curves_of(clip: ClipPrediction, predictor: Predictor, strip: float) -> ClipCurves:
    """Measure a clip that was predicted; a file that cannot be read gives no curves.

    `strip` is the width of the strip of pictures over its height; as many are taken as fit side by side.
    """
    path, limits = clip.features.video, MediaLimits()
    try:
        info = probe(path, limits)
    except ClipError:  # the prediction's own notes say why
        return ClipCurves(1.0, [], None, None, {})
    duration = max(info.duration_s, SHORTEST)
    pictures: list[np.ndarray] = []
    if info.has_video and info.width and info.height:
        count = min(max(int(strip * info.height / info.width), FEWEST_PICTURES), MOST_PICTURES)
        pictures = _pictures(path, limits, count, duration)
    return ClipCurves(
        duration, pictures, _pitch(clip, predictor), _energy(path, limits), _units(clip, predictor)
    )


def _pictures(path: Path, limits: MediaLimits, count: int, duration_s: float) -> list[np.ndarray]:
    try:
        shown = frames(path, limits, fps=count / duration_s, max_long_side=PICTURE_SIDE)
        return [frame.image for frame in shown][:count]
    except ClipError:
        return []


def _rows(clip: ClipPrediction, predictor: Predictor, modality: str) -> Iterator[tuple[Encoder, FeatureRow]]:
    """Encoder and good row of each kind of features of a modality."""
    for key, encoder in predictor.encoders.items():
        row = clip.features.rows[key]
        if encoder.modality == modality and row.status == OK:
            yield encoder, row


def _pitch(clip: ClipPrediction, predictor: Predictor) -> Curve | None:
    for encoder, row in _rows(clip, predictor, "audio"):
        settings = encoder.params
        if not isinstance(settings, Librosa33Params) or settings.pool != NO_POOL:
            continue
        if settings.f0 in ("pyin", "praat"):
            assert row.features is not None and row.times is not None
            return row.times, _hertz(row.features[:, 0])
    own = build_encoder("audio", "librosa33", Librosa33Params(), MediaLimits())
    own.load()
    try:
        encoded = own.encode(Clip(clip.features.clip_id, path=clip.features.video))
    except ClipError:
        return None
    assert encoded.times is not None
    return encoded.times, _hertz(encoded.features[:, 0])


def _hertz(f0_log: np.ndarray) -> np.ndarray:
    return np.where(f0_log > 0, np.exp(f0_log, dtype=np.float64), np.nan)


def _energy(path: Path, limits: MediaLimits) -> Curve | None:
    import librosa

    try:
        samples = waveform(path, limits, sample_rate=RATE)
    except ClipError:
        return None
    power = librosa.feature.rms(y=samples, frame_length=WINDOW, hop_length=HOP)[0]
    return np.arange(len(power)) * HOP / RATE, 20 * np.log10(np.maximum(power, 10 ** (QUIETEST / 20)))


def _units(clip: ClipPrediction, predictor: Predictor) -> dict[str, Curve]:
    """The action units that move most, of the first features that have any."""
    for encoder, row in _rows(clip, predictor, "visual"):
        names = encoder.column_names
        columns = [column for column, name in enumerate(names) if UNIT.fullmatch(name)]
        assert row.features is not None and row.times is not None
        seen = real_frames(row.features, names)
        if not columns or SUCCESS not in names or not seen.any():
            continue
        spread = row.features[seen][:, columns].std(axis=0)
        chosen = [columns[place] for place in sorted(np.argsort(-spread, kind="stable")[:MOST_UNITS])]
        return {
            names[column]: (row.times, np.where(seen, row.features[:, column], np.nan)) for column in chosen
        }
    return {}
