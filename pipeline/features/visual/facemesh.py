"""OpenFace-style features of the face from MediaPipe Face Mesh, one row a sampled frame.

The mesh is found and tracked in face/mesh.py. Everything after that is geometry: the columns, their units
and signs are in the table of face/geometry.py; `groups` chooses among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from pipeline.core.openface_layout import columns_of
from pipeline.features.visual.face.action_units import ACTION_UNITS
from pipeline.features.visual.face.canonical import POINTS
from pipeline.features.visual.face.geometry import COLUMNS, GROUPS, Camera, describe
from pipeline.features.visual.face.mesh import MeshEncoder, TrackedFrame
from pipeline.params.encoders import FaceMeshParams

_POINTS = np.array(POINTS)


class FaceMesh(MeshEncoder):
    """Landmarks, head pose, gaze and AU estimates."""

    LIBRARIES = ("av", "mediapipe", "numpy", "scipy", "soxr")
    params: FaceMeshParams

    def check_settings(self) -> None:
        super().check_settings()
        self._chosen = [COLUMNS.index(column) for column in self.column_names]

    @cached_property
    def column_names(self) -> list[str]:
        return columns_of(GROUPS, self.params.groups, f"visual.{self.name}")

    def features(self, stream: Iterator[TrackedFrame]) -> np.ndarray:
        meshes: list[np.ndarray] = []  # of the frames with a face, (K, 3)
        found: list[bool] = []  # whether a frame has one
        camera: Camera | None = None
        for seen in stream:
            frame = seen.frame
            height, width = frame.image.shape[:2]
            if camera is None:
                camera = Camera.guess(width * frame.scale, height * frame.scale)
            found.append(seen.face is not None)
            if seen.face is not None:
                meshes.append(seen.face.mesh[_POINTS] * (np.array((width, height, width)) * frame.scale))
        assert camera is not None  # there is at least one frame
        features = np.zeros((len(found), self.dim), np.float32)
        if meshes:
            columns = describe(np.stack(meshes), camera)
            if self.params.au_reference == "clip":
                columns[:, -len(ACTION_UNITS) :] -= np.median(columns[:, -len(ACTION_UNITS) :], axis=0)
            features[found] = columns[:, self._chosen]
        return features
