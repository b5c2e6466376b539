"""The face mesh encoder built, asked, and its columns by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.visual.face import mesh
from pipeline.features.visual.face.geometry import COLUMNS
from pipeline.features.visual.facemesh import FaceMesh
from pipeline.media.decode import Frame, frames
from pipeline.params.encoders import FaceMeshParams as Params
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()
SUCCESS = COLUMNS.index("success")
RANGES = {  # 98th minus 2nd percentile over the frames of ten real clips
    "AU01_mesh": 0.076,
    "AU02_mesh": 0.066,
    "AU10_mesh": 0.125,
    "AU12_mesh": 0.208,
    "AU15_mesh": 0.128,
    "AU17_mesh": 0.145,
    "AU20_mesh": 0.146,
    "AU25_mesh": 0.186,
    "AU26_mesh": 0.173,
    "AU45_mesh": 0.091,
}


def build(**params: Any) -> FaceMesh:
    encoder = build_encoder("visual", "facemesh", Params(**params), LIMITS)
    assert isinstance(encoder, FaceMesh)
    encoder.load()
    return encoder


def encode(
    encoder: FaceMesh, path: Path, start_s: float | None = None, end_s: float | None = None
) -> Encoded:
    return encoder.encode(Clip("clip", path, start_s=start_s, end_s=end_s))


def encode_images(encoder: FaceMesh, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Encoded:
    """Features of pictures that were never in a file, at 25 frames a second."""

    def pictures(*_: object, **__: object) -> Iterator[Frame]:
        return (Frame(np.ascontiguousarray(image), i / 25, 1.0) for i, image in enumerate(images))

    monkeypatch.setattr(mesh, "clip_frames", pictures)
    return encode(encoder, Path("pictures"))


def pictures_of(path: Path, end_s: float | None = None) -> list[np.ndarray]:
    return [frame.image for frame in frames(path, LIMITS, end_s=end_s)]


def column(encoded: Encoded, *names: str) -> np.ndarray:
    """Columns of the frames with a face."""
    found = encoded.features[encoded.features[:, SUCCESS] == 1]
    return found[:, [COLUMNS.index(name) for name in names]].squeeze()


def landmarks(encoded: Encoded) -> np.ndarray:
    """Shape (frames with a face, 68, 2), pixels."""
    names = [[f"{axis}_{point}" for point in range(68)] for axis in "xy"]
    return np.stack([column(encoded, *axis) for axis in names], axis=-1)


def degrees(encoded: Encoded) -> np.ndarray:
    """Median Rx, Ry, Rz."""
    return np.degrees(np.median(column(encoded, "pose_Rx", "pose_Ry", "pose_Rz"), axis=0))
