"""MediaPipe's 52 blendshapes of the face (ARKit's names), 0 to 1, by its Face Landmarker task.

A net reads them off the mesh (Grishchenko et al. 2023, arXiv:2309.05782): `blendshape_jawOpen`,
`blendshape_mouthSmileLeft` and so on, left and right being the person's own. The face is chosen as `facemesh`
chooses it. A frame without a face is zero, `success` included; `confidence` equals it. The task tracks with
the times of the frames, from anew in each clip.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.core.errors import MissingDependencyError, MissingModelError
from pipeline.core.files import file_hash
from pipeline.core.lean_imports import import_bare
from pipeline.core.openface_layout import FLAGS
from pipeline.features.visual.face.mesh import WAY_OUT, Face, MeshEncoder, TrackedFrame, without_engine_noise
from pipeline.features.visual.face.task_file import task_file
from pipeline.media.decode import Frame
from pipeline.params.encoders import BlendshapesParams

# in the order of the task
# fmt: off
NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft",
    "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight",
    "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)
# fmt: on


class Blendshapes(MeshEncoder):
    """Scores of the blendshapes."""

    LIBRARIES = ("av", "mediapipe", "numpy", "scipy", "soxr")
    params: BlendshapesParams
    _last_ms = 0  # the time of the frame before, as the task was told

    @property
    def column_names(self) -> list[str]:
        return [*FLAGS, *(f"blendshape_{name.lstrip('_')}" for name in NAMES)]

    @property
    def model_identity(self) -> str:
        return file_hash(task_file(self.params.task, self.name))

    def load(self) -> None:
        path = task_file(self.params.task, self.name)
        try:
            # without matplotlib and the tasks of text and sound
            import_bare(
                "mediapipe",
                *(f"mediapipe.{name}" for name in ("tasks", "tasks.python", "tasks.python.vision")),
            )
            from mediapipe.tasks.python.core.base_options import BaseOptions
            from mediapipe.tasks.python.vision.core.vision_task_running_mode import VisionTaskRunningMode
            from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarker, FaceLandmarkerOptions
        except (ImportError, OSError) as error:
            raise MissingDependencyError(
                f"visual encoder {self.name!r} needs mediapipe: {error}; {WAY_OUT}"
            ) from error
        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            running_mode=VisionTaskRunningMode.VIDEO,
            num_faces=self.params.max_faces,
            output_face_blendshapes=True,
        )
        self._start = lambda: FaceLandmarker.create_from_options(options)
        try:
            with without_engine_noise():
                self._graph = self._start()
        except (RuntimeError, ValueError) as error:
            raise MissingModelError(f"{path} is not a MediaPipe face task file: {error}") from error

    def _faces(self, frame: Frame, *, first: bool) -> list[Face]:
        from mediapipe.python._framework_bindings.image import Image
        from mediapipe.python._framework_bindings.image_frame import ImageFormat

        if first:
            self._graph.close()
            self._graph, self._last_ms = self._start(), -1  # forget the clip before
        self._last_ms = max(self._last_ms + 1, round(frame.time_s * 1000))  # the task wants it to rise
        image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(frame.image))
        seen = self._graph.detect_for_video(image, self._last_ms)
        return [
            Face(
                np.array([(point.x, point.y, point.z) for point in points], np.float32),
                np.array([score.score for score in scores], np.float32),
            )
            for points, scores in zip(seen.face_landmarks, seen.face_blendshapes, strict=True)
        ]

    def features(self, stream: Iterator[TrackedFrame]) -> np.ndarray:
        rows = []
        for seen in stream:
            scores = None if seen.face is None else seen.face.scores
            rows.append(np.zeros(self.dim) if scores is None else np.append([1, 1], scores))
        return np.array(rows, np.float32)
