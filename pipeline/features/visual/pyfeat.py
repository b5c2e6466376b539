"""Landmarks, pose, gaze, 20 action units and emotions by py-feat 2.x (Cheong et al. 2023), extra `pyfeat`.

Detectors: `v1` (RetinaFace, MobileFaceNet landmarks, XGBoost AUs, ResMaskNet emotions, L2CS gaze), `v2` (one
multitask net after RetinaFace; adds valence and arousal), `mp` (MediaPipe's mesh as py-feat has it, AUs from
its blendshapes). Of several faces the largest box is taken. Frames are ours (timestamps, `fps`), given to
py-feat as batches; `x_*, y_*` are scaled back to pixels of the displayed original frame.

What py-feat 2.1.5 gives, as its source says, and what becomes of it. All angles are radians about the
camera's axes, x to the right, y down, z away:

| detector | Pitch, Roll, Yaw are | the head is turned by |
|---|---|---|
| v1 | up, tilt to the subject's right, turn to the subject's right | Rz(-Roll) Ry(Yaw) Rx(-Pitch) |
| v2 | the same, of the parts of a rotation vector | the rotation vector (-Pitch, Yaw, -Roll) |
| mp | turns about x, y (named Roll), z (named Yaw), y up, z to the camera | Rz(-Yaw) Ry(-Roll) Rx(Pitch) |

`pose_R*` are the angles of the same rotation in OpenFace's order Rx Ry Rz. They are the head's turn against
the line of sight, not the camera's axis, because py-feat sees the crop of a face alone: a head beside the
picture's middle differs from OpenFace's by the angle of its place. X, Y, Z have no unit and are left out.
`gaze_pitch` > 0 is up, `gaze_yaw` > 0 to the image's left; with p, y for them the gaze is
(-cos p sin y, -sin p, -cos p cos y), from which `gaze_angle_*` follow as OpenFace's do. It is one gaze for
both eyes and, though py-feat calls it head-centric, no turn of the head is taken out of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import warnings
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.core.devices import prepare_device
from pipeline.core.errors import MissingDependencyError, MissingModelError, ParamsError
from pipeline.core.openface_layout import GAZE_ANGLES, GROUPS, LANDMARKS_2D, ROTATION, columns_of
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.features.visual.face.canonical import LANDMARKS_68
from pipeline.features.visual.frames import clip_frames
from pipeline.features.visual.no_face import notes_on
from pipeline.media.decode import Frame
from pipeline.params.encoders import PyFeatParams

if TYPE_CHECKING:
    from pandas import DataFrame

_NUMBERS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
_UNITS = tuple(f"AU{number:02d}" for number in _NUMBERS)
_EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
# the same, as v2 names them
_EMOTIONS_V2 = ("Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
_FEELING = ("valence", "arousal")  # v2 alone, -1 to 1
# on the hub under py-feat/, by group where only that needs it
_REPOSITORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "v1": {
        "": ("retinaface_r34", "mobilefacenet", "pose_mlp_v2"),
        "aus": ("xgb_au",),
        "emotions": ("resmasknet",),
        "gaze": ("l2cs",),
    },
    "v2": {"": ("retinaface_r34", "face_multitask_v2")},
    "mp": {
        "": ("retinaface_r34", "mp_facemesh_v2", "mp_blendshapes", "bs_to_au"),
        "emotions": ("resmasknet",),
        "gaze": ("l2cs",),
    },
}
# files that py-feat opens only when it detects, and without which it goes on: `pose_mlp_v2` gives nan
_OPENED_LATE = {
    "pose_mlp_v2": ("pose_mlp_v2.safetensors", "pose_mlp_v2.json"),
    "bs_to_au": ("bs_to_au_pls_v2.npz",),
}
_CLASSES = {"v1": "feat:Detectorv1", "v2": "feat:Detectorv2", "mp": "feat.MPDetector:MPDetector"}
LEAST_VERSION = (2, 1, 2)  # the two before turn pitch the other way
_REPLACED_BY = ("FEAT_MULTITASK_WEIGHTS", "FEAT_POSE_MLP_PATH")  # variables that put other weights in place
_WAY_OUT = (
    "install it with `pip install 'msa-pipeline[pyfeat]'`, in an environment of its own where there is no "
    "GPU: torchvision and torchcodec must be builds for the installed torch (with torch 2.13: torchvision "
    "0.28, torchcodec 0.13), and those of the registry may want CUDA; torchcodec before 0.16 does not import "
    "without FFmpeg's libraries, and what py-feat takes, 0.11 and later, is built for torch 2.11 and later"
)


class PyFeat(Encoder):
    """py-feat's measures of the largest face."""

    modality = "visual"
    LIBRARIES = (
        *("av", "numpy", "py-feat", "scikit-image", "scikit-learn", "scipy"),
        *("timm", "torch", "torchvision", "xgboost"),
    )
    params: PyFeatParams

    _detector: Any = None

    def check_settings(self) -> None:
        _ = self.column_names

    @cached_property
    def column_names(self) -> list[str]:
        emotions = _EMOTIONS + (_FEELING if self.params.detector == "v2" else ())
        has = {
            "gaze": GAZE_ANGLES,
            "pose": ROTATION,
            "landmarks2d": LANDMARKS_2D,
            "aus": [f"{unit}_pyfeat" for unit in _UNITS],
            "emotions": [f"emotion_{emotion}" for emotion in emotions],
        }
        return columns_of(has, self.params.groups, f"visual.{self.name}")

    @property
    def frame_rate(self) -> float | None:
        return self.params.fps

    def _unusable(self, why: str) -> MissingDependencyError:
        return MissingDependencyError(f"visual encoder {self.name!r}{why}; {_WAY_OUT}")

    @property
    def _resources(self) -> Path:
        """Where py-feat keeps its weights."""
        spec = importlib.util.find_spec("feat")
        if spec is None or not spec.submodule_search_locations:
            raise self._unusable(" needs py-feat, which is not installed")
        return Path(next(iter(spec.submodule_search_locations))) / "resources"

    @property
    def model_identity(self) -> str:
        """Commits of the hub's repositories that lie in py-feat's folder: `py-feat/name@commit ...`."""
        folder = self._resources
        commits: dict[str, str] = {}
        for group, repositories in _REPOSITORIES[self.params.detector].items():
            for repository in repositories if not group or group in self.params.groups else ():
                place = folder / f"models--py-feat--{repository}"
                reference = place / "refs" / "main"
                commit = reference.read_text("utf-8").strip() if reference.is_file() else ""
                files = [place / "snapshots" / commit / file for file in _OPENED_LATE.get(repository, ())]
                whole = all(file.is_file() for file in files)
                commits[f"py-feat/{repository}"] = commit if whole else ""
        if lacking := [name for name, commit in commits.items() if not commit]:
            raise MissingModelError(
                f"visual encoder {self.name!r} needs weights that are not on this machine: "
                f"{', '.join(lacking)}. Fetch each with `hf download NAME --cache-dir {folder}`, or copy "
                f"the folders models--py-feat--* of an installation that has them to {folder}"
            )
        return " ".join(f"{name}@{commit}" for name, commit in commits.items())

    def load(self) -> None:
        prepare_device(self.device)
        detector = self._detector_class()  # first: where it does not import, weights would help nobody
        weights = self.model_identity
        if given := [name for name in _REPLACED_BY if os.environ.get(name)]:
            raise ParamsError(
                f"the variable {given[0]} puts other weights in place of visual.{self.name}'s, and no "
                "feature file would tell; unset it"
            )
        import torch

        gradients = torch.is_grad_enabled()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")  # that RetinaFace gives no pose: it comes from the landmarks
                self._detector = detector(**self._parts(), device=torch.device(self.device))
        except (OSError, ValueError, RuntimeError) as error:
            raise MissingModelError(
                f"visual encoder {self.name!r}: py-feat cannot load its weights ({weights}): {error}"
            ) from error
        finally:
            torch.set_grad_enabled(gradients)  # RetinaFace turns them off, for the whole process
        if self.model_identity != weights:
            raise MissingModelError(
                f"visual encoder {self.name!r}: py-feat fetched newer weights while it loaded; run it again, "
                "with HF_HUB_OFFLINE=1 to keep those that are here"
            )

    def _detector_class(self) -> Any:
        """The class that detects; MissingDependencyError where py-feat is too old or cannot be imported."""
        _ = self._resources
        threads = os.environ.get("OMP_NUM_THREADS")
        module, _, name = _CLASSES[self.params.detector].partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise self._unusable(f" needs py-feat 2.x, which cannot be imported: {error}") from error
        finally:
            if threads is None:  # its import sets it, for the whole process and its children
                os.environ.pop("OMP_NUM_THREADS", None)
        installed = version("py-feat")
        if tuple(int(part) for part in installed.split(".")[:3] if part.isdecimal()) < LEAST_VERSION:
            raise self._unusable(
                f": py-feat {installed} has pitch of the opposite sign; expected 2.1.2 or later"
            )
        return found

    def _parts(self) -> dict[str, Any]:
        """Which of its nets the detector shall have."""
        parts: dict[str, Any] = {"identity_model": None}
        groups = self.params.groups
        if self.params.detector != "v2":
            parts["gaze_model"] = "l2cs" if "gaze" in groups else None
            parts["emotion_model"] = "resmasknet" if "emotions" in groups else None
        if self.params.detector == "v1":
            parts["au_model"] = "xgb" if "aus" in groups else None
        return parts

    def encode(self, clip: Clip) -> Encoded:
        notes: list[str] = []  # of the file, then of the faces
        source = clip_frames(clip, self.limits, self.params, notes)
        if self._detector is None:
            self.load()
        times: list[float] = []
        counts: list[int] = []  # faces in each frame
        blocks: list[np.ndarray] = []
        broken = 0
        for batch in _batches(source, self.params.batch_size):
            values = np.zeros((len(batch), self.dim), np.float32)
            chosen, found, faces = largest_faces(self._detect(batch), len(batch))
            if len(found):
                scale = np.array([batch[row].scale for row in found])
                values[found] = self._describe(chosen, scale)
            bad = ~np.isfinite(values).all(axis=1)
            values[bad] = 0
            broken += int(bad.sum())
            times += [frame.time_s for frame in batch]
            counts += faces
            blocks.append(values)
        if broken:
            notes.append(f"py-feat gave no number for {broken} frames with a face")
        return Encoded(
            np.concatenate(blocks), np.array(times, np.float32), "; ".join(notes + notes_on(counts))
        )

    def _detect(self, batch: list[Frame]) -> DataFrame:
        """py-feat's table (`Fex`), a row a face; its `frame` counts within the batch."""
        import torch

        images = torch.from_numpy(np.stack([frame.image for frame in batch]).transpose(0, 3, 1, 2).copy())
        with contextlib.redirect_stderr(io.StringIO()):  # v1 shows a bar whatever it is told
            return self._detector.detect(
                images, data_type="tensor", batch_size=len(batch), progress_bar=False
            )

    def _describe(self, faces: DataFrame, scale: np.ndarray) -> np.ndarray:
        """Our columns of some faces, shape (n, D), float64; `scale` (n,) original pixels per pixel."""
        detector = self.params.detector
        points = range(68) if detector != "mp" else LANDMARKS_68
        emotions = _EMOTIONS if detector != "v2" else (*_EMOTIONS_V2, *_FEELING)

        def numbers(*names: str) -> np.ndarray:
            return faces[list(names)].to_numpy(np.float64)

        try:
            parts = {
                "gaze": lambda: gaze_angles(numbers("gaze_pitch", "gaze_yaw")),
                "pose": lambda: rotation_angles(numbers("Pitch", "Roll", "Yaw"), detector),
                "landmarks2d": lambda: (
                    numbers(*(f"{axis}_{p}" for axis in "xy" for p in points)) * scale[:, None]
                ),
                "aus": lambda: numbers(*_UNITS),
                "emotions": lambda: numbers(*emotions),
            }
            chosen = [parts[group]() for group in GROUPS if group in self.params.groups]
            return np.concatenate([numbers("FaceScore"), np.ones((len(faces), 1)), *chosen], axis=1)
        except KeyError as error:
            raise self._unusable(
                f": py-feat {version('py-feat')} gives other columns than 2.1 ({error})"
            ) from error


def largest_faces(table: DataFrame, n: int) -> tuple[DataFrame, np.ndarray, list[int]]:
    """Of each frame the face with the largest box, of equal ones the leftmost, then the uppermost.

    Parameters
    ----------
    table : py-feat's, with the columns frame, FaceScore, FaceRectX, FaceRectY, FaceRectWidth, FaceRectHeight;
        a frame without a face has one row of nan with FaceScore 0
    n : number of frames

    Returns
    -------
    faces : at most one row a frame, in the order of the frames
    frames : shape (len(faces),), where they belong
    counts : length n, faces in each frame
    """
    box = table[["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]].to_numpy(np.float64)
    real = np.isfinite(box).all(axis=1) & (table["FaceScore"].to_numpy(np.float64) > 0)
    frame = table["frame"].to_numpy(np.int64)
    order = np.lexsort((box[:, 1], box[:, 0], -box[:, 2] * box[:, 3], frame))
    order = order[real[order]]
    frames_found, first = np.unique(frame[order], return_index=True)
    return table.iloc[order[first]], frames_found, np.bincount(frame[order], minlength=n).tolist()


def rotation_angles(angles: np.ndarray, detector: str) -> np.ndarray:
    """OpenFace's Rx, Ry, Rz of py-feat's Pitch, Roll, Yaw; (n, 3) both, radians; see the table above."""
    pitch, roll, yaw = angles.T
    if detector == "v2":
        turned = Rotation.from_rotvec(np.stack([-pitch, yaw, -roll], axis=1))
    else:
        a, b, c = (pitch, -roll, -yaw) if detector == "mp" else (-pitch, yaw, -roll)
        turned = Rotation.from_euler("xyz", np.stack([a, b, c], axis=1))  # Rz(c) Ry(b) Rx(a)
    return turned.as_euler("XYZ")


def gaze_angles(angles: np.ndarray) -> np.ndarray:
    """OpenFace's gaze_angle_x, gaze_angle_y of py-feat's gaze_pitch, gaze_yaw; (n, 2) both, radians."""
    pitch, yaw = angles.T
    x, y, z = -np.cos(pitch) * np.sin(yaw), -np.sin(pitch), -np.cos(pitch) * np.cos(yaw)
    return np.stack([np.arctan2(x, -z), np.arctan2(y, -z)], axis=1)


def _batches(source: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Neighbouring frames of one picture size, at most `size` of them."""
    batch: list[Frame] = []
    for frame in source:
        if batch and (len(batch) == size or frame.image.shape != batch[0].image.shape):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch
