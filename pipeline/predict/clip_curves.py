"""What is measured along a clip for the eye: pictures, waveform, pitch, action units; timeline.py draws it.

Features that the runs' encoders made are used again; pitch is computed here where they did not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.vocabulary import OK
from pipeline.datasets.assembly.sequences import SUCCESS, real_frames
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.media.decode import frames, probe, waveform
from pipeline.params.encoders import Librosa33Params
from pipeline.params.params import MediaLimits
from pipeline.predict.prediction import ClipFeatures
from pipeline.store.shard import FeatureRow
from pipeline.training.runs import TrainedRun

FEWEST_PICTURES, MOST_PICTURES = 3, 16
PICTURE_SIDE = 240  # pixels, the longer side of a picture of the strip
MOST_UNITS = 4
RATE = 8_000  # Hz, of the sound that is drawn
COLUMNS = 1000  # of its envelope
PITCH = "f0_log"  # a column of librosa33
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
    waveform : (n,) seconds, and the lowest and the highest sample from there on, (n,) each, 1 = full scale
    pitch : Hz, NaN where unvoiced
    units : action unit -> curve, NaN where no face was found
    """

    duration_s: float
    pictures: list[np.ndarray]
    waveform: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    pitch: Curve | None
    units: dict[str, Curve]


def curves_of(clip: ClipFeatures, runs: Sequence[TrainedRun], strip: float) -> ClipCurves:
    """Measure a clip; a file that cannot be read gives what its features tell.

    `strip` is the width of the strip of pictures over its height; as many are taken as fit side by side.
    """
    limits, part = MediaLimits(), _Part(clip.video, clip.spoken.start_s, clip.spoken.end_s)
    try:
        info = probe(part.path, limits)
    except ClipError:  # the prediction's own notes say why
        times = [row.times[-1] for row in clip.rows.values() if row.times is not None and len(row.times)]
        known = _known_pitch(clip, runs)
        return ClipCurves(float(max(times, default=1.0)), [], None, known, _units(clip, runs))
    end = info.duration_s if part.end_s is None else part.end_s
    duration = max(end - (part.start_s or 0.0), SHORTEST)
    pictures: list[np.ndarray] = []
    if info.has_video and info.width and info.height:
        count = min(max(int(strip * info.height / info.width), FEWEST_PICTURES), MOST_PICTURES)
        pictures = _pictures(part, limits, count, duration)
    pitch = _known_pitch(clip, runs) or _pitch(clip.clip_id, part)
    return ClipCurves(duration, pictures, _waveform(part, limits), pitch, _units(clip, runs))


@dataclass(frozen=True)
class _Part:
    """The part of a file that is the clip."""

    path: Path
    start_s: float | None
    end_s: float | None


def _pictures(part: _Part, limits: MediaLimits, count: int, duration_s: float) -> list[np.ndarray]:
    rate = count / duration_s
    try:
        shown = frames(
            part.path, limits, fps=rate, start_s=part.start_s, end_s=part.end_s, max_long_side=PICTURE_SIDE
        )
        return [frame.image for frame in shown][:count]
    except ClipError:
        return []


def _waveform(part: _Part, limits: MediaLimits) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    try:
        samples = waveform(part.path, limits, start_s=part.start_s, end_s=part.end_s, sample_rate=RATE)
    except ClipError:
        return None
    starts = np.unique(np.linspace(0, len(samples), COLUMNS, endpoint=False).astype(int))
    return starts / RATE, np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)


def _rows(
    clip: ClipFeatures, runs: Sequence[TrainedRun], modality: str
) -> Iterator[tuple[list[str], FeatureRow]]:
    """Column names and good row of each kind of features of a modality."""
    keys = dict.fromkeys(
        entry["fingerprint"] for run in runs for stream, entry in run.needed.items() if stream == modality
    )
    for key in keys:
        row = clip.rows[key]
        if row.status == OK and row.features is not None and row.times is not None:
            yield clip.columns[key], row


def _known_pitch(clip: ClipFeatures, runs: Sequence[TrainedRun]) -> Curve | None:
    for names, row in _rows(clip, runs, "audio"):
        if PITCH in names:
            assert row.features is not None and row.times is not None
            return row.times, _hertz(row.features[:, names.index(PITCH)])
    return None


def _pitch(clip_id: str, part: _Part) -> Curve | None:
    own = build_encoder("audio", "librosa33", Librosa33Params(), MediaLimits())
    own.load()
    try:
        encoded = own.encode(Clip(clip_id, path=part.path, start_s=part.start_s, end_s=part.end_s))
    except ClipError:
        return None
    assert encoded.times is not None
    return encoded.times, _hertz(encoded.features[:, own.column_names.index(PITCH)])


def _hertz(f0_log: np.ndarray) -> np.ndarray:
    return np.where(f0_log > 0, np.exp(f0_log, dtype=np.float64), np.nan)


def _units(clip: ClipFeatures, runs: Sequence[TrainedRun]) -> dict[str, Curve]:
    """The action units that move most, of the first features that have any."""
    for names, row in _rows(clip, runs, "visual"):
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
