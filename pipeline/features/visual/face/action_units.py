"""Estimates of facial action units (AUs) from the shape of the face mesh alone.

A detector such as OpenFace's is trained on intensities that people coded; these are plain geometry in the
units of the face, signed, without threshold or training, and named `AUxx_mesh` so that nobody takes them
for `AUxx_r`. Only AUs that move points of the mesh are here; wrinkles and bulges (AU06, 09, 14, 23) are not.

The mesh is first brought back to the frontal canonical face by the similarity transform that fits its
stable points best (`align`), so that turning the head, leaning in or a smaller face changes nothing. Then,
with D the outer eye corners' distance of the canonical face, and everything minus the same measure of the
canonical face (which has therefore 0 everywhere):

| column | facial action | measure, in D; grows with the action |
|---|---|---|
| AU01_mesh | inner brow raiser | height of the inner brow ends |
| AU02_mesh | outer brow raiser | height of the outer brow ends |
| AU04_mesh | brow lowerer | - height of the brows' inner two thirds - distance between their inner ends |
| AU05_mesh | upper lid raiser | height of the upper lids above the eye corners |
| AU07_mesh | lid tightener | height of the lower lids above the eye corners |
| AU10_mesh | upper lip raiser | - distance from the nose's base to the upper lip's red |
| AU12_mesh | lip corner puller | displacement of the mouth's corners along (outwards, up) / sqrt 2 |
| AU15_mesh | lip corner depressor | - height of the mouth's corners above the middle of the lips |
| AU17_mesh | chin raiser | distance from the chin to the lower lip's edge |
| AU20_mesh | lip stretcher | displacement of the mouth's corners outwards |
| AU25_mesh | lips part | distance between the lips, at their middle |
| AU26_mesh | jaw drop | distance from the nose's base to the chin |
| AU45_mesh | blink | - distance between the lids |

The sides are averaged. References: Ekman, Friesen & Hager, Facial Action Coding System (2002), for what
moves where.

Symbols: T frames; K used points of the mesh; (x, y, z) as in canonical.py (y grows downwards).
"""

from __future__ import annotations

import numpy as np

from pipeline.features.visual.face.canonical import CANONICAL, rows

ACTION_UNITS = tuple(f"AU{number:02d}_mesh" for number in (1, 2, 4, 5, 7, 10, 12, 15, 17, 20, 25, 26, 45))

# Points that no facial action moves much: ridge, tip and base of the nose, eye corners, forehead, temples,
# the sides of the face down to the ears.
# fmt: off
STABLE = rows((
    6, 168, 197, 195, 5, 4, 2, 33, 133, 362, 263, 10, 151, 54, 284, 67, 297, 103, 332,
    127, 356, 234, 454, 143, 372,
))
# fmt: on

_EYE_CORNERS = rows((33, 133, 362, 263))
_UPPER_LIDS = rows((159, 158, 160, 386, 385, 387))
_LOWER_LIDS = rows((145, 153, 144, 374, 380, 373))  # each below its upper one
_INNER_BROWS = rows((107, 55, 336, 285))
_INNER_TWO_THIRDS = rows((107, 55, 66, 65, 105, 52, 336, 285, 296, 295, 334, 282))
_OUTER_BROWS = rows((70, 46, 300, 276))
_INNER_BROW_ENDS = rows((55, 285))
_NOSE_BASE, _CHIN, _LOWER_LIP_EDGE = rows((2, 152, 17))
_UPPER_LIP_EDGE = rows((37, 0, 267))
_MOUTH_CORNERS = rows((61, 291))  # right, left
_INNER_LIPS = rows((13, 14))  # upper, lower


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The similarity transform scale * R @ x + t that brings points nearest to others (Umeyama 1991).

    Parameters
    ----------
    source, target : shape (..., n, 3), matching points, n >= 3 and not on one line

    Returns
    -------
    scale (...,), rotation (..., 3, 3) with determinant 1, translation (..., 3)
    """
    source_mean, target_mean = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    a, b = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(b.swapaxes(-1, -2) @ a)
    sign = np.ones_like(s)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))  # a mirror image is not a rotation
    rotation = (u * sign[..., None, :]) @ vt
    scale = (s * sign).sum(-1) / (a**2).sum((-1, -2))
    moved = scale[..., None] * (rotation @ source_mean.swapaxes(-1, -2))[..., 0]
    return scale, rotation, target_mean[..., 0, :] - moved


def align(points: np.ndarray) -> np.ndarray:
    """Faces turned back to the frontal canonical face and brought to its size.

    Parameters
    ----------
    points : shape (T, K, 3), any unit, any rigid motion

    Returns
    -------
    aligned : shape (T, K, 3), mm of the canonical face
    """
    scale, rotation, translation = similarity(points[:, STABLE], CANONICAL[STABLE])
    return scale[:, None, None] * points @ rotation.swapaxes(1, 2) + translation[:, None]


def action_units(points: np.ndarray) -> np.ndarray:
    """AU estimates of faces relative to the canonical neutral face, by the table above.

    Parameters
    ----------
    points : shape (T, K, 3), any unit, any rigid motion

    Returns
    -------
    estimates : shape (T, 13), columns ACTION_UNITS, in outer eye corners' distances; about -0.3..0.5
    """
    return _measures(align(points)) - _measures(align(CANONICAL[None]))


def _measures(face: np.ndarray) -> np.ndarray:
    """Shape (T, 13): the measures of the table before the canonical face's are taken away."""
    face = face / np.linalg.norm(CANONICAL[_EYE_CORNERS[3]] - CANONICAL[_EYE_CORNERS[0]])

    def height(points: np.ndarray) -> np.ndarray:
        return -face[:, points, 1].mean(-1)

    def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.linalg.norm(face[:, one] - face[:, other], axis=-1).reshape(len(face), -1).mean(-1)

    corners_out = (face[:, _MOUTH_CORNERS[1], 0] - face[:, _MOUTH_CORNERS[0], 0]) / 2
    columns = {
        "AU01_mesh": height(_INNER_BROWS),
        "AU02_mesh": height(_OUTER_BROWS),
        "AU04_mesh": -height(_INNER_TWO_THIRDS) - distance(_INNER_BROW_ENDS[:1], _INNER_BROW_ENDS[1:]),
        "AU05_mesh": height(_UPPER_LIDS) - height(_EYE_CORNERS),
        "AU07_mesh": height(_LOWER_LIDS) - height(_EYE_CORNERS),
        "AU10_mesh": -distance(np.repeat(_NOSE_BASE, 3), _UPPER_LIP_EDGE),
        "AU12_mesh": (corners_out + height(_MOUTH_CORNERS)) / np.sqrt(2),
        "AU15_mesh": height(_INNER_LIPS) - height(_MOUTH_CORNERS),
        "AU17_mesh": distance(_CHIN, _LOWER_LIP_EDGE),
        "AU20_mesh": corners_out,
        "AU25_mesh": distance(_INNER_LIPS[:1], _INNER_LIPS[1:]),
        "AU26_mesh": distance(_NOSE_BASE, _CHIN),
        "AU45_mesh": -distance(_UPPER_LIDS, _LOWER_LIDS),
    }
    return np.stack([columns[name] for name in ACTION_UNITS], axis=1)
