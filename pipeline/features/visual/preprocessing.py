"""How a vision model wants its pictures: resized, cut and scaled, as its preprocessor_config.json says.

The figures are those of transformers' processors on Pillow. Its processors on torchvision resize a little
differently, and which of the two a machine has must not change a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError

BILINEAR = 2  # as Pillow counts its filters


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of a picture.

    Attributes
    ----------
    resized : height and width, or the shorter side alone, where the other follows
    size : pixels of both sides of the middle that is kept
    resample : Pillow's number of the filter
    factor : of the values 0-255
    mean, sd : shape (3, 1, 1), float32, of the channels after that
    """

    resized: tuple[int, int] | int
    size: int
    resample: int
    factor: float
    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, numbers: dict[str, Any], model: str) -> Preprocessing:
        """What a checkpoint's file says.

        FormatError where a number is missing, or the pictures are not square.
        """
        cut = numbers.get("crop_size") if numbers.get("do_center_crop", True) else None
        try:
            resized = _size(numbers["size"], square=cut is None)
            kept = resized if cut is None else _size(cut, square=True)
            if not isinstance(kept, tuple) or kept[0] != kept[1]:
                raise ValueError(f"its pictures have the size {kept}, expected squares")
            colours = (np.array(numbers[key], np.float32) for key in ("image_mean", "image_std"))
            return cls(
                resized,
                kept[0],
                int(numbers.get("resample", BILINEAR)),
                float(numbers.get("rescale_factor", 1 / 255)) if numbers.get("do_rescale", True) else 1.0,
                *(np.broadcast_to(of.reshape(-1, 1, 1), (3, 1, 1)) for of in colours),
            )
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise FormatError(
                f"model {model!r}: its preprocessor_config.json does not say what it wants: {reason}"
            ) from error

    def square(self, image: np.ndarray) -> np.ndarray:
        """The picture resized and cut: (height, width, 3) uint8 to (size, size, 3) uint8."""
        from PIL import Image

        height, width = image.shape[:2]
        if isinstance(self.resized, tuple):
            to = self.resized
        else:
            short = min(height, width)
            to = (int(self.resized * height / short), int(self.resized * width / short))
        shown = np.asarray(Image.fromarray(image).resize(to[::-1], self.resample))
        top, left = (to[0] - self.size) // 2, (to[1] - self.size) // 2
        return shown[top : top + self.size, left : left + self.size]

    def scaled(self, pictures: np.ndarray) -> np.ndarray:
        """What the model reads: (n, size, size, 3) uint8 to (n, 3, size, size) float32."""
        values = pictures.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(self.factor)
        return (values - self.mean) / self.sd


def _size(said: Any, *, square: bool) -> tuple[int, int] | int:
    """Height and width, or the shorter side; one number is either, as older files have it."""
    if isinstance(said, dict):
        if "shortest_edge" in said:
            return int(said["shortest_edge"])
        return int(said["height"]), int(said["width"])
    return (int(said), int(said)) if square else int(said)
