"""Aligned pictures of the face, one row of pixels a sampled frame, for networks that look for themselves.

The face is found, tracked and chosen by face/mesh.py. The picture is turned, scaled and moved (no shear) so
that three points that no expression moves come nearest to their places in the template: the middles between
the corners of either eye, and the base of the nose. The mouth is left out: speech does not change the scale.
An eye counts three times as much as the nose: the eyes alone say how large a face is that looks down or up,
the nose that of one that looks aside.

Template, in shares of the side, from the upper left corner. For 112 pixels the eyes lie where ArcFace's
alignment (Deng et al. 2019) puts them; the nose follows from the canonical face (so does the mouth, at 0.82):

| point | x | y |
|---|---|---|
| right eye (left in the picture) | 0.3427 | 0.4607 |
| left eye | 0.6573 | 0.4607 |
| base of the nose | 0.5 | 0.6966 |

Row: size x size x 3 values 0-255, RGB, row by row from the top, as `row.reshape(size, size, 3)` reads them;
column `px_<i>` is i = (y size + x) 3 + channel. What lies outside the frame is black, and so is the whole row
of a frame without a face. The names of all columns cost each file 1 MB at 112 pixels, as much as 35 frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.features.visual.face.mesh import MeshEncoder, TrackedFrame
from pipeline.params.encoders import FaceCropsParams

_EYE_CORNERS = np.array(((33, 133), (362, 263)))  # points of the mesh
_NOSE_BASE = 2
TEMPLATE = np.array(((0.3427, 0.4607), (0.6573, 0.4607), (0.5, 0.6966)))
"""Shape (3, 2): right eye, left eye, base of the nose; x, y as shares of the side"""
_WEIGHTS = np.array((3.0, 3.0, 1.0)) / 7


class FaceCrops(MeshEncoder):
    """Pixels of the aligned face; a frame without one is black."""

    dtype = "uint8"
    LIBRARIES = ("av", "mediapipe", "numpy", "opencv-contrib-python", "scipy", "soxr")
    params: FaceCropsParams

    @property
    def dim(self) -> int:
        return self.params.size**2 * 3

    @property
    def column_names(self) -> list[str]:
        return [f"px_{i}" for i in range(self.dim)]

    def features(self, stream: Iterator[TrackedFrame]) -> np.ndarray:
        pixels = bytearray()  # grows in place: ten minutes are 0.7 GB
        for seen in stream:
            if seen.face is None:
                pixels += bytes(self.dim)
            else:
                pixels += crop(seen.frame.image, anchors(seen.face.mesh, seen.frame.image), self.params.size)
        return np.frombuffer(pixels, np.uint8).reshape(-1, self.dim)


def anchors(mesh: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The template's three points in an image, shape (3, 2), pixels; (0, 0) is its upper left corner.

    `mesh` (478, 3) has x and y as shares of the image's width and height.
    """
    height, width = image.shape[:2]
    points = mesh[:, :2].astype(np.float64) * (width, height)
    return np.concatenate([points[_EYE_CORNERS].mean(1), points[None, _NOSE_BASE]])


def placement(points: np.ndarray, size: int) -> np.ndarray:
    """The turn, scale and move that brings points nearest to the template, shape (2, 3), least squares.

    In the plane that is p -> a p + b with complex numbers for points.
    """
    source = points[:, 0] + 1j * points[:, 1]
    target = (TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]) * size
    source_mean, target_mean = _WEIGHTS @ source, _WEIGHTS @ target
    spread = source - source_mean
    a = np.vdot(spread, _WEIGHTS * (target - target_mean)) / np.vdot(spread, _WEIGHTS * spread)
    b = target_mean - a * source_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def crop(image: np.ndarray, points: np.ndarray, size: int) -> bytes:
    """The aligned picture, size x size x 3 bytes.

    Parameters
    ----------
    image : shape (height, width, 3), uint8 RGB
    points : shape (3, 2), see `anchors`
    """
    import cv2

    matrix = placement(points, size)
    shrink = int(1 / np.hypot(matrix[0, 0], matrix[1, 0]))
    if shrink > 1:  # first average: sampling every second pixel or fewer would show patterns
        height, width = image.shape[:2]
        small = max(1, width // shrink), max(1, height // shrink)
        matrix[:, 0] *= width / small[0]
        matrix[:, 1] *= height / small[1]
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    # OpenCV counts from the middle of the first pixel, not from its corner
    matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR).tobytes()
