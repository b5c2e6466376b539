"""OpenFace-style features of the face from MediaPipe Face Mesh, one row a sampled frame.

The mesh is found and tracked in face/mesh.py. Everything after that is geometry: the columns, their units
and signs are in the table of face/geometry.py; `groups` chooses among them.
"""

from __future__ import annotations

from contextlib import closing
from functools import cached_property

import numpy as np

from pipeline.core.openface_layout import columns_of
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.visual.face.action_units import ACTION_UNITS
from pipeline.features.visual.face.canonical import POINTS
from pipeline.features.visual.face.geometry import COLUMNS, GROUPS, Camera, describe
from pipeline.features.visual.face.mesh import MeshEncoder
from pipeline.features.visual.no_face import notes_on
from pipeline.params.encoders import FaceMeshParams
from pipeline.params.params import MediaLimits

_POINTS = np.array(POINTS)


class FaceMesh(MeshEncoder):
    """Landmarks, head pose, gaze and AU estimates."""

    LIBRARIES = ("av", "mediapipe", "numpy", "scipy")
    params: FaceMeshParams

    def __init__(self, name: str, params: FaceMeshParams, limits: MediaLimits, device: str = "cpu"):
        """Raises ParamsError where `groups` names what the mesh does not tell."""
        super().__init__(name, params, limits, device)
        self._chosen = [COLUMNS.index(column) for column in self.column_names]

    @cached_property
    def column_names(self) -> list[str]:
        return columns_of(GROUPS, self.params.groups, f"visual.{self.name}")

    def encode(self, clip: Clip) -> Encoded:
        notes: list[str] = []  # of the file, then of the faces
        times: list[float] = []
        meshes: list[np.ndarray] = []  # of the frames with a face, (K, 3)
        found: list[int] = []  # the rows of those frames
        counts: list[int] = []  # faces in each frame
        camera: Camera | None = None
        with closing(self.tracked_frames(clip, notes)) as stream:
            for row, seen in enumerate(stream):
                frame = seen.frame
                height, width = frame.image.shape[:2]
                if camera is None:
                    camera = Camera.guess(width * frame.scale, height * frame.scale)
                times.append(frame.time_s)
                counts.append(seen.faces)
                if seen.mesh is not None:
                    meshes.append(seen.mesh[_POINTS] * (np.array((width, height, width)) * frame.scale))
                    found.append(row)
        assert camera is not None  # there is at least one frame
        features = np.zeros((len(times), self.dim), np.float32)
        if found:
            columns = describe(np.stack(meshes), camera)
            if self.params.au_reference == "clip":
                columns[:, -len(ACTION_UNITS) :] -= np.median(columns[:, -len(ACTION_UNITS) :], axis=0)
            features[found] = columns[:, self._chosen]
        return Encoded(features, np.array(times, np.float32), "; ".join(notes + notes_on(counts)))
