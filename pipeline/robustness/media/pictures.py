"""Corruptions of pictures: shape (height, width, 3), uint8 RGB, upright, as large as the file has them.

A `Box` is what a face covers, in pixels. Values are rounded to the nearest of 256, halves to even ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LINES = 480  # of the picture that a blur's σ is told for
BANDS = {"eyes": (0.20, 0.50), "mouth": (0.60, 0.95)}  # rows of the face's box, from its top


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def around(cls, points: np.ndarray, width: int, height: int) -> Box | None:
        """The smallest that holds all points, (n, 2) x and y, within the picture; None where empty."""
        low = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(points.max(axis=0)), (width, height)).astype(int)
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        return cls(left, top, right - left, bottom - top) if right > left and bottom > top else None

    def part(self, share: float, across: float, down: float) -> Box:
        """A box of the same shape within it that covers this share of it.

        `across` and `down` in [0, 1) say which of the places that there are: 0, 0 is the upper left.
        """
        width, height = round(self.width * math.sqrt(share)), round(self.height * math.sqrt(share))
        left, top = int(across * (self.width - width + 1)), int(down * (self.height - height + 1))
        return Box(self.left + left, self.top + top, width, height)

    def band(self, begin: float, end: float) -> Box:
        """The rows between two shares of its height."""
        top, bottom = round(self.height * begin), round(self.height * end)
        return Box(self.left, self.top + top, self.width, bottom - top)


def kernel(sigma: float) -> np.ndarray:
    """A Gaussian's weights, shape (2 ⌈3σ⌉ + 1,), float64, of sum 1."""
    reach = math.ceil(3 * sigma)
    weights = np.exp(-np.square(np.arange(-reach, reach + 1) / sigma) / 2)
    normalised: np.ndarray = weights / weights.sum()
    return normalised


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with σ = `sigma` pixels in a picture of 480 lines, alike in others.

    Beyond the border the picture is reflected, without its outermost pixels twice.
    """
    import cv2

    weights = kernel(sigma * len(image) / LINES)
    found = cv2.sepFilter2D(image, cv2.CV_32F, weights, weights, borderType=cv2.BORDER_REFLECT_101)
    return _rounded(found)


def coarse(image: np.ndarray, factor: float) -> np.ndarray:
    """The picture made `factor` times smaller (area average), and as large again (bilinear)."""
    import cv2

    height, width = image.shape[:2]
    small = max(1, round(width / factor)), max(1, round(height / factor))
    averages = cv2.resize(image.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    return _rounded(cv2.resize(averages, (width, height), interpolation=cv2.INTER_LINEAR))


def covered(image: np.ndarray, box: Box) -> np.ndarray:
    """The picture with a black rectangle."""
    found = image.copy()
    found[box.top : box.top + box.height, box.left : box.left + box.width] = 0
    return found


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
