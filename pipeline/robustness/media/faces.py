"""Where the face is in the pictures of a clean clip, as features: a row a picture.

The box of the largest face's mesh, in pixels of the file's own pictures: `left`, `top`, `width` and `height`
after `success`. A picture without a face is zero in every column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from pipeline.features.visual.face.mesh import MeshEncoder, TrackedFrame
from pipeline.params.encoders import FaceMeshParams
from pipeline.params.params import MediaLimits
from pipeline.robustness.media.pictures import Box


class FaceBoxes(MeshEncoder):
    """The box around the largest face of each picture."""

    LIBRARIES = ("av", "mediapipe", "numpy")
    column_names: ClassVar[list[str]] = ["success", "left", "top", "width", "height"]

    def __init__(self, limits: MediaLimits):
        super().__init__("faceboxes", FaceMeshParams(), limits)

    def features(self, stream: Iterator[TrackedFrame]) -> np.ndarray:
        rows = []
        for seen in stream:
            size = np.round(np.array(seen.frame.image.shape[1::-1]) * seen.frame.scale).astype(int)
            box = None if seen.face is None else Box.around(seen.face.mesh[:, :2] * size, *size.tolist())
            rows.append([0] * 5 if box is None else [1, box.left, box.top, box.width, box.height])
        return np.array(rows, np.float32)


def boxes_of(features: np.ndarray) -> Sequence[Box | None]:
    """The box of each picture, None without a face, of (n_pictures, 5) features."""
    return [Box(*map(int, row[1:])) if row[0] > 0 else None for row in features]
