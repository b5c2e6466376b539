"""Geometry of a face in front of a camera: from points of the mesh to OpenFace-style columns.

Columns of the features, all float32, one row a frame; a frame without a face is zero everywhere:

| columns | count | unit | what |
|---|---|---|---|
| confidence, success | 2 | 0, 1 | 1 = a face was found; equal, for the mesh has no confidence of its own |
| gaze_0_x/y/z, gaze_1_x/y/z | 6 | - | unit vectors from the eyes to what they look at; z < 0: to the camera |
| gaze_angle_x, gaze_angle_y | 2 | rad | of their mean: atan2(x, -z), atan2(y, -z); > 0: image's right, down |
| pose_Tx/Ty/Tz | 3 | mm | centroid of the canonical face in camera space; Tz is the distance |
| pose_Rx/Ry/Rz | 3 | rad | R = Rx Ry Rz; > 0: looks down, turns to the image's left, tilts clockwise |
| x_0..67, y_0..67 | 136 | pixel | the 68 landmarks in the displayed original frame, (0, 0) upper left |
| X_0..67, Y_0..67, Z_0..67 | 204 | mm | the same in camera space, expression included; x, y is their image |
| AU01_mesh ... AU45_mesh | 10 | eye distances | estimates by plain geometry, see action_units.py |

Eye 0 is the leftmost in the image, the face's right one.

Names, axes and signs are those of OpenFace 2.2 (Baltrusaitis et al. 2018): the camera looks along +z, x goes
to the image's right, y down; R is the product of the three elementary right-handed rotation matrices, as
written in its `RotationHelpers.h`. The numbers are not: another mesh, another reference face.

Camera, where nothing is known of the real one: as OpenFace guesses it, fx = fy =
500 (width/640 + height/480) / 2, centre (width/2, height/2), of the displayed original frame.

- *Head pose*: the rotation and translation that make the stable points of the canonical face project onto
  the mesh's pixels with the least squared error (Gauss-Newton, the answer of OpenCV's `solvePnP` for all
  frames at once), started from the best similarity transform of the mesh; no frame depends on another.
- *3D*: the mesh knows depth relative to the head in pixels of the image; it is put at the pose's distance,
  and every point is moved along its ray to that depth.
- *Gaze*: as OpenFace, eyeball as a sphere of 12 mm that is fixed to the head: behind the middle of the eye's
  corners, so that the canonical face looks straight ahead. The ray through the iris' centre meets it in the
  pupil; the gaze is the line from the eyeball's centre through the pupil. MediaPipe's mesh is not symmetric:
  in ten clips and their mirror images, whose gazes must cancel, both eyes look 0.014 rad (0.8 degree;
  standard deviation of the clips 0.016) to the image's right, which is taken away.

Symbols: T frames with a face; K used points of the mesh (canonical.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.core.openface_layout import GAZE, LANDMARKS_2D, LANDMARKS_3D, POSE, columns_of
from pipeline.features.visual.face.action_units import ACTION_UNITS, STABLE, action_units, similarity
from pipeline.features.visual.face.canonical import CANONICAL, LANDMARKS_68, rows

EYEBALL_MM = 12.0  # radius, as OpenFace
GAZE_BIAS = 0.014  # rad, to the image's right, of both eyes
POSE_STEPS = 8  # the start is near: after 6 steps the answer moves by less than 1e-5 rad and 0.001 mm

GROUPS: dict[str, list[str]] = {
    "gaze": GAZE,
    "pose": POSE,
    "landmarks2d": LANDMARKS_2D,
    "landmarks3d": LANDMARKS_3D,
    "aus": list(ACTION_UNITS),
}
"""What the mesh tells, by group of core/openface_layout.py"""

COLUMNS: list[str] = columns_of(GROUPS, list(GROUPS), "visual.facemesh")
"""The 366 columns, in order"""

_LANDMARK_ROWS = rows(LANDMARKS_68)
_IRISES = rows((468, 473))  # eye 0, eye 1
_EYE_CORNERS = rows((33, 133, 362, 263)).reshape(2, 2)
# from the middle of an eye's corners to its eyeball's centre, in the head's axes
_TO_EYEBALL = CANONICAL[_IRISES] + (0.0, 0.0, EYEBALL_MM) - CANONICAL[_EYE_CORNERS].mean(1)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal length and centre, pixels of the displayed original frame."""

    focal: float
    centre: tuple[float, float]

    @classmethod
    def guess(cls, width: float, height: float) -> Camera:
        """OpenFace's guess from the frame's size alone."""
        return cls(500.0 * (width / 640 + height / 480) / 2, (width / 2, height / 2))


def describe(mesh: np.ndarray, camera: Camera) -> np.ndarray:
    """The columns of frames with a face.

    Parameters
    ----------
    mesh : shape (T, K, 3): x, y in pixels of the displayed original frame; z in the same scale, < 0 nearer
    camera : of the same pixels

    Returns
    -------
    columns : shape (T, 366), float32, in the order of COLUMNS
    """
    mesh = mesh.astype(np.float64)
    rotation, translation = head_pose(mesh, camera)
    space = in_camera_space(mesh, rotation, translation, camera)
    gaze = gaze_vectors(space, rotation, mesh[:, _IRISES, :2], camera) @ _unbiased(rotation).swapaxes(1, 2)
    mean_gaze = gaze.mean(1)
    angles = np.arctan2(mean_gaze[:, :2], -mean_gaze[:, 2:])
    found = np.ones((len(mesh), 2))
    pixels = mesh[:, _LANDMARK_ROWS, :2].swapaxes(1, 2)
    points = space[:, _LANDMARK_ROWS].swapaxes(1, 2)
    per_frame = [found, gaze, angles, translation, to_euler(rotation), pixels, points, action_units(space)]
    columns = [values.reshape(len(mesh), -1) for values in per_frame]
    return np.concatenate(columns, axis=1).astype(np.float32)


def head_pose(mesh: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Where the head is and how it is turned.

    Parameters
    ----------
    mesh : shape (T, K, 3), as in `describe`

    Returns
    -------
    rotation : shape (T, 3, 3), from the canonical face's axes to the camera's
    translation : shape (T, 3), mm, of the canonical face's centroid
    """
    model = np.broadcast_to(CANONICAL[STABLE], mesh[:, STABLE].shape)
    scale, rotation, shift = similarity(model, mesh[:, STABLE])  # scale: pixels per mm
    shift[:, :2] -= camera.centre
    shift[:, 2] = camera.focal
    translation = shift / scale[:, None]
    seen = (mesh[:, STABLE, :2] - camera.centre) / camera.focal
    pose = rotation, translation
    for _ in range(POSE_STEPS):
        pose = _gauss_newton(*pose, seen)
    # where the steps led astray (never seen), the start is the better answer
    better = _squared_error(*pose, seen) <= _squared_error(rotation, translation, seen)
    return np.where(better[:, None, None], pose[0], rotation), np.where(better[:, None], pose[1], translation)


def _squared_error(rotation: np.ndarray, translation: np.ndarray, seen: np.ndarray) -> np.ndarray:
    space = CANONICAL[STABLE] @ rotation.swapaxes(1, 2) + translation[:, None]
    return ((space[..., :2] / space[..., 2:] - seen) ** 2).sum((1, 2))


def _gauss_newton(
    rotation: np.ndarray, translation: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step towards the pose whose image of the stable points is nearest to `seen`, all frames at once.

    With p = R q, X = p + T and its image u = (X/Z, Y/Z): a small turn w and move d change X by w x p + d,
    so that du = J (w, d); the step is the least-squares solution of J (w, d) = seen - u.
    """
    turned = CANONICAL[STABLE] @ rotation.swapaxes(1, 2)  # (T, n, 3)
    space = turned + translation[:, None]
    image = space[..., :2] / space[..., 2:]
    by_move = np.zeros((*image.shape, 3))  # d image / d X, (T, n, 2, 3)
    by_move[..., 0, 0] = by_move[..., 1, 1] = 1 / space[..., 2]
    by_move[..., 2] = -image / space[..., 2:]
    by_turn = np.cross(turned[..., None, :], by_move)  # a . (w x p) = w . (p x a)
    jacobian = np.concatenate([by_turn, by_move], axis=-1).reshape(len(seen), -1, 6)
    transposed = jacobian.swapaxes(1, 2)
    missing = (seen - image).reshape(len(seen), -1, 1)
    step = np.linalg.solve(transposed @ jacobian, transposed @ missing)[..., 0]
    quaternion = np.concatenate([step[:, :3] / 2, np.ones((len(step), 1))], axis=1)  # of a small turn
    return Rotation.from_quat(quaternion).as_matrix() @ rotation, translation + step[:, 3:]


def in_camera_space(
    mesh: np.ndarray, rotation: np.ndarray, translation: np.ndarray, camera: Camera
) -> np.ndarray:
    """Points of the mesh in camera space, shape (T, K, 3), mm; they project exactly onto their pixels."""
    stable_depth = (CANONICAL[STABLE] @ rotation[:, 2, :, None])[..., 0].mean(-1) + translation[:, 2]
    relative = mesh[..., 2] - mesh[:, STABLE, 2].mean(-1, keepdims=True)  # pixels
    depth = stable_depth[:, None] + relative * translation[:, 2:] / camera.focal
    rays = (mesh[..., :2] - camera.centre) / camera.focal
    return np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) * depth[..., None]


def gaze_vectors(space: np.ndarray, rotation: np.ndarray, irises: np.ndarray, camera: Camera) -> np.ndarray:
    """Unit vectors of both eyes' gaze in camera space, shape (T, 2, 3), eye 0 leftmost in the image.

    Parameters
    ----------
    space : shape (T, K, 3), mm
    rotation : shape (T, 3, 3), of the head
    irises : shape (T, 2, 2), pixels of the irises' centres
    """
    eyeball = space[:, _EYE_CORNERS].mean(2) + _TO_EYEBALL @ rotation.swapaxes(1, 2)  # (T, 2, 3)
    ray = np.concatenate([(irises - camera.centre) / camera.focal, np.ones_like(irises[..., :1])], axis=-1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    along = (ray * eyeball).sum(-1)  # distance at which the ray passes the centre
    missed_by = (eyeball**2).sum(-1) - along**2
    # where the ray misses the sphere, its nearest point to the sphere stands for the pupil
    depth = along - np.sqrt(np.maximum(EYEBALL_MM**2 - missed_by, 0.0))
    gaze = ray * depth[..., None] - eyeball
    return gaze / np.linalg.norm(gaze, axis=-1, keepdims=True)


def _unbiased(rotation: np.ndarray) -> np.ndarray:
    """The turn about the head's vertical axis that takes GAZE_BIAS away, shape (T, 3, 3)."""
    turn = Rotation.from_euler("y", GAZE_BIAS).as_matrix()  # what looks along -z then looks to -x
    return rotation @ turn @ rotation.swapaxes(1, 2)


def to_euler(rotation: np.ndarray) -> np.ndarray:
    """Angles (Rx, Ry, Rz) of R = Rx Ry Rz, radians, Ry in [-pi/2, pi/2]; shape (T, 3, 3) -> (T, 3)."""
    return Rotation.from_matrix(rotation).as_euler("XYZ")
