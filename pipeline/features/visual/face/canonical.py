"""The canonical neutral face: where the points of the face mesh lie on an average face at rest, in mm.

MediaPipe's own canonical face model is not in its wheel. This table is measured with the same mesh: nine
adult speakers at rest (eyes open, lips closed; the eight talkers of the GRID clips and one more), about
20 frames each, every frame and its mirror image aligned by a similarity transform, averaged, made
symmetric, and scaled to an interpupillary distance of 63 mm (the adult mean, Dodgson 2004). Being the
mesh's own average, it has the mesh's own bias: a face at rest gives AU estimates near zero. Independent
measures agree: outer eye corners 88 mm apart, inner ones 34 mm, mouth 48 mm wide (Farkas 1994, means of
women and men: 88-91, 32-33, 50-55 mm). The speakers differ from it by 1.6 mm a point (RMS). Millimetres
are those of this face: a larger head is seen as a nearer one.

Axes, as OpenFace's camera axes for a face that looks into the camera: x to the right of the image (the
face's own left), y down, z away from the camera (the nose tip has the smallest z). The origin is the
centroid of the 68 landmarks; "upright" means that the chin lies straight below the middle of the forehead.

Symbols: K points of the mesh (of its 478) that are used anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# The 68 points of dlib, iBUG and OpenFace as indices of the mesh; the face's right is the image's left.
# Chosen from the mesh's own contours, evenly spaced along the jaw, and looked at on real frames.
# fmt: off
LANDMARKS_68 = (
    127, 234, 93, 132, 58, 136, 149, 148, 152, 377, 378, 365, 288, 361, 323, 454, 356,  # 0-16 jaw, chin 8
    70, 63, 105, 66, 107,  # 17-21 right brow, outer end first
    336, 296, 334, 293, 300,  # 22-26 left brow, inner end first
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # 27-30 ridge of the nose, 31-35 below it
    33, 160, 158, 133, 153, 144,  # 36-41 right eye, outer corner first, upper lid first
    362, 385, 387, 263, 373, 380,  # 42-47 left eye, inner corner first
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # 48-59 outer lips, from the right corner
    78, 82, 13, 312, 308, 317, 14, 87,  # 60-67 inner lips
)
# fmt: on

# (mesh index, mesh index of its mirror image, x, y, z): the face's right half and its middle line, mm
_RIGHT_HALF = (
    (0, 0, 0.0, 25.1, -24.9),
    (2, 2, 0.0, 7.5, -23.8),
    (4, 4, 0.0, -7.7, -40.4),
    (5, 5, 0.0, -16.7, -37.5),
    (6, 6, 0.0, -37.4, -20.0),
    (10, 10, 0.0, -96.1, -7.1),
    (13, 13, 0.0, 31.8, -19.4),
    (14, 14, 0.0, 32.2, -19.3),
    (17, 17, 0.0, 42.1, -21.4),
    (33, 263, -44.1, -39.0, 6.6),
    (37, 267, -7.1, 23.6, -24.0),
    (39, 269, -13.9, 25.9, -20.4),
    (46, 276, -53.6, -51.9, 3.0),
    (52, 282, -39.8, -59.5, -7.4),
    (54, 284, -59.1, -73.8, 23.4),
    (55, 285, -13.0, -53.5, -13.2),
    (58, 288, -59.5, 34.6, 48.4),
    (61, 291, -24.1, 32.1, -5.7),
    (63, 293, -51.2, -61.2, 0.5),
    (65, 295, -28.3, -58.7, -11.0),
    (66, 296, -29.4, -64.3, -12.0),
    (67, 297, -34.7, -91.9, 0.7),
    (70, 300, -56.9, -54.5, 8.5),
    (78, 308, -21.9, 31.9, -7.6),
    (82, 312, -5.8, 31.5, -18.6),
    (84, 314, -7.4, 41.5, -20.8),
    (87, 317, -5.9, 31.8, -18.5),
    (93, 323, -66.7, 1.7, 59.3),
    (97, 326, -7.9, 7.3, -22.2),
    (98, 327, -17.4, 6.1, -15.7),
    (103, 332, -49.5, -84.6, 11.3),
    (105, 334, -41.8, -64.8, -6.0),
    (107, 336, -15.1, -62.5, -15.2),
    (127, 356, -68.7, -29.5, 56.2),
    (132, 361, -64.0, 18.0, 55.6),
    (133, 362, -16.9, -37.5, 1.1),
    (136, 365, -46.1, 56.0, 25.4),
    (143, 372, -61.0, -32.7, 20.7),
    (144, 373, -36.5, -35.7, 0.8),
    (145, 374, -31.6, -35.4, -0.8),
    (148, 377, -12.3, 76.4, -5.2),
    (149, 378, -29.8, 69.1, 7.8),
    (151, 151, 0.0, -79.8, -12.0),
    (152, 152, 0.0, 77.4, -7.1),
    (153, 380, -26.5, -35.8, -1.1),
    (158, 385, -27.7, -43.7, -1.9),
    (159, 386, -32.9, -44.0, -1.6),
    (160, 387, -38.0, -43.0, -0.1),
    (168, 168, 0.0, -45.0, -15.2),
    (181, 405, -13.7, 39.4, -17.9),
    (195, 195, 0.0, -23.8, -31.4),
    (197, 197, 0.0, -30.4, -25.5),
    (234, 454, -68.0, -13.8, 59.9),
    (468, 473, -31.5, -40.1, 1.1),
)

_PLACES = {right: (x, y, z) for right, _, x, y, z in _RIGHT_HALF}
_PLACES |= {left: (-x, y, z) for _, left, x, y, z in _RIGHT_HALF}

POINTS: tuple[int, ...] = tuple(sorted(_PLACES))
"""The K used points as indices of the mesh, ascending"""

_ROW = {point: row for row, point in enumerate(POINTS)}


def rows(points: Iterable[int]) -> np.ndarray:
    """Where points of the mesh lie in arrays over POINTS, shape (n,)."""
    return np.array([_ROW[point] for point in points])


CANONICAL: np.ndarray = np.array([_PLACES[point] for point in POINTS])
"""Shape (K, 3): the canonical face, mm"""
