"""What all encoders of faces have in common: names and order of their columns.

Where the quantity is OpenFace's, so is the name.
`confidence` and `success` come first, then the groups in this order. All float32; of a frame
without a face features/visual/no_face.py has the rule.

| group | columns | unit | facemesh | openface | pyfeat |
|---|---|---|---|---|---|
| gaze | gaze_0_x/y/z, gaze_1_x/y/z: unit vectors | - | yes | yes | no |
| gaze | gaze_angle_x, gaze_angle_y; > 0: image's right, down | rad | yes | yes | yes |
| pose | pose_Tx/Ty/Tz | mm | yes | yes | no |
| pose | pose_Rx/Ry/Rz, R = Rx Ry Rz | rad | yes | yes | yes |
| landmarks2d | x_0..67, y_0..67: displayed original frame | pixel | yes | yes | yes |
| landmarks3d | X_0..67, Y_0..67, Z_0..67: camera space | mm | yes | yes | no |
| shape | p_scale, p_rx/ry/rz, p_tx/ty, p_0..33: OpenFace's point distribution model | - | no | yes | no |
| aus | AUxx_mesh; AUxx_r (0-5) and AUxx_c (0, 1); AUxx_pyfeat (0-1) | | yes | yes | yes |
| emotions | emotion_<name> | 0-1 | no | no | yes |

Action units carry the name of what measured them, because their scales have nothing in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.core.errors import ParamsError

FLAGS = ["confidence", "success"]
GROUPS = ("gaze", "pose", "landmarks2d", "landmarks3d", "shape", "aus", "emotions")
"""In the order of the columns"""

GAZE_VECTORS = [f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"]
GAZE_ANGLES = ["gaze_angle_x", "gaze_angle_y"]
GAZE = GAZE_VECTORS + GAZE_ANGLES
ROTATION = [f"pose_R{axis}" for axis in "xyz"]
POSE = [f"pose_T{axis}" for axis in "xyz"] + ROTATION
LANDMARKS_2D = [f"{axis}_{point}" for axis in "xy" for point in range(68)]
LANDMARKS_3D = [f"{axis}_{point}" for axis in "XYZ" for point in range(68)]
SHAPE = ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty", *(f"p_{mode}" for mode in range(34))]

_INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_PRESENCES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
OPENFACE_AUS = [f"AU{unit:02d}_r" for unit in _INTENSITIES] + [f"AU{unit:02d}_c" for unit in _PRESENCES]

OPENFACE: dict[str, list[str]] = {
    "gaze": GAZE,
    "pose": POSE,
    "landmarks2d": LANDMARKS_2D,
    "landmarks3d": LANDMARKS_3D,
    "shape": SHAPE,
    "aus": OPENFACE_AUS,
}
"""What OpenFace 2 measures, by group"""

_EYE_LANDMARKS = [f"eye_lmk_{axis}_{point}" for axes in ("xy", "XYZ") for axis in axes for point in range(56)]
OPENFACE_709 = [*GAZE, *_EYE_LANDMARKS, *POSE, *LANDMARKS_2D, *LANDMARKS_3D, *SHAPE, *OPENFACE_AUS]
"""Columns 5 to 713 of OpenFace 2's CSV: 288 gaze, 6 pose, 340 landmarks, 40 shape, 35 action units"""


def columns_of(has: Mapping[str, Sequence[str]], groups: Sequence[str], encoder: str) -> list[str]:
    """The columns of an encoder: the flags, then its chosen groups in the order of the layout.

    Parameters
    ----------
    has : the columns of each group that the encoder can fill
    groups : chosen ones, in any order
    encoder : its full key, e.g. `visual.facemesh`, for the message

    Raises
    ------
    ParamsError : a group that the encoder has not
    """
    if lacking := [group for group in groups if group not in has]:
        raise ParamsError(
            f"{encoder}.groups names {', '.join(lacking)}, which it does not measure; "
            f"it has {', '.join(group for group in GROUPS if group in has)}"
        )
    return FLAGS + [name for group in GROUPS if group in groups for name in has[group]]
