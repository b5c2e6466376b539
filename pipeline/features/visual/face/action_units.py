"""Estimates of facial action units (AUs) from the shape of the face mesh alone.

A detector such as OpenFace's is trained on intensities that people coded; these are plain geometry in the
units of the face, signed, without threshold or training, and named `AUxx_mesh` so that nobody takes them
for `AUxx_r`. Only AUs that the mesh shows are here.

The mesh is first brought back to the frontal canonical face by the similarity transform that fits its
stable points best (`align`), so that turning the head, leaning in or a smaller face changes nothing. Then,
with D the outer eye corners' distance of the canonical face, and everything minus the same measure of the
canonical face (which has therefore 0 everywhere):

| column | facial action | measure, in D; grows with the action |
|---|---|---|
| AU01_mesh | inner brow raiser | height of the inner brow ends above the root of the nose |
| AU02_mesh | outer brow raiser | height of the outer brow ends |
| AU10_mesh | upper lip raiser | height of the upper lip's red |
| AU12_mesh | lip corner puller | displacement of the mouth's corners along (outwards, up) / sqrt 2 |
| AU15_mesh | lip corner depressor | - height of the mouth's corners above the middle of the lips |
| AU17_mesh | chin raiser | height of the lower lip's edge above the chin |
| AU20_mesh | lip stretcher | displacement of the mouth's corners outwards |
| AU25_mesh | lips part | distance between the lips, at their middle |
| AU26_mesh | jaw drop | height of the nose's base above the chin |
| AU45_mesh | blink | - distance between the lids; below 0 the eyes are wider open than at rest |

The sides are averaged. Measures run along the face's own vertical where they can, because the mesh guesses
depth. Its eye corners are no place to measure from: when the eyes shut, the outer ones sink and the inner
ones rise, by 1 to 2 mm in either direction, and neither is the forehead, which follows the brows.

Left out, because the mesh does not show them (measured against OpenFace 2 on ten clips, docs/features.md):
AU04, brow lowerer (lowered or narrowed brows go against OpenFace's in every clip where it sees any), AU05,
upper lid raiser (AU45 with the other sign, r = -.99), AU07, lid tightener (the lower lids rise with the
blinks, r = .75, not with OpenFace's, r = .10), and the wrinkles and bulges of AU06, 09, 14 and 23.

References: Ekman, Friesen & Hager, Facial Action Coding System (2002), for what moves where.

Symbols: T frames; K used points of the mesh; (x, y, z) as in canonical.py (y grows downwards).
"""

from __future__ import annotations

import numpy as np

from pipeline.features.visual.face.canonical import CANONICAL, rows

ACTION_UNITS = tuple(f"AU{number:02d}_mesh" for number in (1, 2, 10, 12, 15, 17, 20, 25, 26, 45))

# Points that no facial action moves much: ridge and base of the nose, the sides of the face from the temples
# to the ear lobes.
STABLE = rows((6, 168, 197, 195, 5, 4, 2, 98, 327, 127, 356, 234, 454, 93, 323))

_EYE_CORNERS = rows((33, 263))  # outer
_UPPER_LIDS = rows((159, 158, 160, 386, 385, 387))
_LOWER_LIDS = rows((145, 153, 144, 374, 380, 373))  # each below its upper one
_INNER_BROWS = rows((107, 55, 336, 285))
_OUTER_BROWS = rows((70, 46, 300, 276))
_NOSE_ROOT = rows((168, 6, 197))
_NOSE_BASE, _CHIN, _LOWER_LIP_EDGE = rows((2, 152, 17))[:, None]
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
    estimates : shape (T, 10), columns ACTION_UNITS, in outer eye corners' distances; about -0.3..0.5
    """
    return _measures(align(points)) - _measures(align(CANONICAL[None]))


def _measures(face: np.ndarray) -> np.ndarray:
    """Shape (T, 10): the measures of the table before the canonical face's are taken away."""
    face = face / np.linalg.norm(CANONICAL[_EYE_CORNERS[1]] - CANONICAL[_EYE_CORNERS[0]])

    def height(points: np.ndarray) -> np.ndarray:
        return -face[:, points, 1].mean(-1)

    def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.linalg.norm(face[:, one] - face[:, other], axis=-1).reshape(len(face), -1).mean(-1)

    corners_out = (face[:, _MOUTH_CORNERS[1], 0] - face[:, _MOUTH_CORNERS[0], 0]) / 2
    columns = {
        "AU01_mesh": height(_INNER_BROWS) - height(_NOSE_ROOT),
        "AU02_mesh": height(_OUTER_BROWS),
        "AU10_mesh": height(_UPPER_LIP_EDGE),
        "AU12_mesh": (corners_out + height(_MOUTH_CORNERS)) / np.sqrt(2),
        "AU15_mesh": height(_INNER_LIPS) - height(_MOUTH_CORNERS),
        "AU17_mesh": height(_LOWER_LIP_EDGE) - height(_CHIN),
        "AU20_mesh": corners_out,
        "AU25_mesh": distance(_INNER_LIPS[:1], _INNER_LIPS[1:]),
        "AU26_mesh": height(_NOSE_BASE) - height(_CHIN),
        "AU45_mesh": -distance(_UPPER_LIDS, _LOWER_LIDS),
    }
    return np.stack([columns[name] for name in ACTION_UNITS], axis=1)
