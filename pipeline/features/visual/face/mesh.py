"""Faces in the frames of a clip, found and tracked by MediaPipe: what the encoders of its faces share.

478 points a face, irises included (Grishchenko et al. 2020, arXiv:2006.10962; Kartynnik et al. 2019,
arXiv:1907.06724), by MediaPipe's own graph in video mode. The mesh's three models lie in the wheel of
mediapipe 0.10.14, the last one that carries them, so nothing is downloaded.

Per clip the tracker starts afresh: the numbers of a clip do not depend on the clip before. Frames are
decoded in a thread ahead of the mesh; their order, and so the result, is the same without it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import tempfile
import threading
import warnings
from abc import abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import AbsentError, ClipError, MissingDependencyError, ParamsError
from pipeline.core.lean_imports import import_bare
from pipeline.execution.ahead import read_ahead
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.features.visual.face.speaking import LEAST_FPS, speaking_faces
from pipeline.features.visual.frames import clip_frames
from pipeline.features.visual.no_face import notes_on
from pipeline.media.decode import SILENCE_DBFS, Frame, level_dbfs, waveform
from pipeline.params.encoders import BlendshapesParams, FaceCropsParams, FaceMeshParams

MESH_POINTS = 478  # 468 of the face, 5 of each iris
FRAMES_AHEAD = 4  # decoded and waiting at most
SOUND_HZ = 16_000  # of the sound that tells who speaks
_MODEL_FILES = (
    "modules/face_detection/face_detection_short_range.tflite",
    "modules/face_landmark/face_landmark_with_attention.tflite",
    "modules/face_landmark/face_landmark_front_cpu.binarypb",
)
WAY_OUT = (
    "install it with `pip install mediapipe==0.10.14`, the last release with its models inside"
    if sys.version_info < (3, 13)
    else "its last release with its models inside, 0.10.14, was not built for this Python: install "
    "the project under Python 3.12 (`uv venv --python 3.12`), or choose another visual encoder"
)

# What MediaPipe's engine prints at every start of a graph, whatever is asked of it
_ENGINE_NOISE = re.compile(rb"[IW]\d{4} |INFO: Created TensorFlow Lite|WARNING: All log messages before absl")
_stderr_lock = threading.Lock()

# A NormalizedLandmarkList in wire format: per landmark 17 bytes, i.e. these tags at these places (field 1 of
# 15 bytes; in it fields 1, 2, 3 of type float32), each float32 after its tag
_LANDMARK_BYTES = 17
_TAGS = {0: b"\x0a", 1: b"\x0f", 2: b"\x0d", 7: b"\x15", 12: b"\x1d"}


@dataclass(frozen=True, eq=False)
class Face:
    """What was seen of one face: `mesh` (478, 3), and `scores` (52,) where blendshapes are asked for."""

    mesh: np.ndarray
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class TrackedFrame:
    """One frame and what was seen in it.

    Attributes
    ----------
    frame : image, time and scale
    face : the chosen one, None without a face; x and z of its mesh are shares of the image's width, y of its
        height, z < 0 nearer
    faces : number of faces found
    """

    frame: Frame
    face: Face | None
    faces: int


class MeshEncoder(Encoder):
    """An encoder that looks at the face that MediaPipe Face Mesh tracks."""

    modality = "visual"
    CPU_ONLY = True  # as MediaPipe's Python graph is
    params: FaceMeshParams | FaceCropsParams | BlendshapesParams
    _graph: Any = None

    def check_settings(self) -> None:
        if self.params.face == "speaking" and self.params.fps is not None and self.params.fps < LEAST_FPS:
            raise ParamsError(
                f"visual.{self.name}.fps is {self.params.fps:g}, but face: speaking reads lips, whose "
                f"movement takes {LEAST_FPS:g} frames a second or more; null = every frame"
            )

    @abstractmethod
    def features(self, stream: Iterator[TrackedFrame]) -> np.ndarray:
        """The features of all frames of a clip, shape (n_frames, dim), in the encoder's `dtype`."""

    def encode(self, clip: Clip) -> Encoded:
        notes: list[str] = []  # of the file, then of the faces
        times: list[float] = []
        counts: list[int] = []  # faces in each frame

        def noted(stream: Iterator[TrackedFrame]) -> Iterator[TrackedFrame]:
            for seen in stream:
                times.append(seen.frame.time_s)
                counts.append(seen.faces)
                yield seen

        with closing(self.tracked_frames(clip, notes)) as stream:
            features = self.features(noted(stream))
        return Encoded(features, np.array(times, np.float32), "; ".join(notes + notes_on(counts)))

    @property
    def frame_rate(self) -> float | None:
        return self.params.fps

    @property
    def model_identity(self) -> str:
        return _model_sha256()

    def load(self) -> None:
        try:
            # without matplotlib and MediaPipe's other graphs
            import_bare("mediapipe", "mediapipe.python.solutions")
            from mediapipe.python.solutions.face_mesh import FaceMesh as Graph
        except (ImportError, OSError) as error:
            raise MissingDependencyError(
                f"visual encoder {self.name!r} needs mediapipe: {error}; {WAY_OUT}"
            ) from error
        # mediapipe 0.10.14 asks protobuf 4 for something that protobuf 4 would rather not give
        warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype", category=UserWarning)
        with without_engine_noise():
            self._graph = Graph(
                static_image_mode=False, max_num_faces=self.params.max_faces, refine_landmarks=True
            )
            self._graph.process(np.zeros((64, 64, 3), np.uint8))  # its threads start, and speak, only now

    def tracked_frames(self, clip: Clip, notes: list[str]) -> Generator[TrackedFrame, None, None]:
        """The sampled frames of a clip, at least one, each with the chosen face; see `decode.frames`."""
        if self._graph is None:
            self.load()
        if self.params.face == "speaking":
            yield from self._with_the_speaker(clip, notes)
            return
        previous: np.ndarray | None = None
        with closing(self._decoded(clip, notes)) as stream:
            for number, frame in enumerate(stream):
                faces = self._process(frame, first=number == 0)
                face = None
                if faces:
                    meshes = [face.mesh for face in faces]
                    face = faces[choose_face(meshes, self.params.face, _size(frame.image), previous)]
                    previous = face.mesh
                yield TrackedFrame(frame, face, len(faces))

    def _decoded(self, clip: Clip, notes: list[str]) -> Generator[Frame, None, None]:
        source = clip_frames(clip, self.limits, self.params, notes)
        # a decoder that hangs must not hold up a clip that was given up
        return read_ahead(source, FRAMES_AHEAD, wait_s=1.0)

    def _with_the_speaker(self, clip: Clip, notes: list[str]) -> Generator[TrackedFrame, None, None]:
        """The frames, decoded a second time: who speaks is known at the end, and pictures are not kept."""
        seen: list[list[Face]] = []
        sizes: list[tuple[int, int]] = []
        times: list[float] = []
        with closing(self._decoded(clip, notes)) as stream:
            for number, frame in enumerate(stream):
                seen.append(self._process(frame, first=number == 0))
                sizes.append(_size(frame.image))
                times.append(frame.time_s)
        chosen = self._speakers(clip, [[face.mesh for face in faces] for faces in seen], sizes, times, notes)
        with closing(self._decoded(clip, [])) as stream:
            for frame, faces, speaker in zip(stream, seen, chosen, strict=True):
                yield TrackedFrame(frame, None if speaker is None else faces[speaker], len(faces))

    def _speakers(
        self,
        clip: Clip,
        seen: list[list[np.ndarray]],
        sizes: list[tuple[int, int]],
        times: list[float],
        notes: list[str],
    ) -> list[int | None]:
        """The number of each frame's face that speaks; without a sound of the largest, and a note."""
        assert clip.path is not None
        if max(map(len, seen)) > 1:  # else there is nothing to choose
            try:
                sound = waveform(
                    clip.path, self.limits, sample_rate=SOUND_HZ, start_s=clip.start_s, end_s=clip.end_s
                )
                if level_dbfs(sound) >= SILENCE_DBFS:
                    return speaking_faces(seen, sizes, times, sound, SOUND_HZ)
                why = "the sound is silent"
            except (AbsentError, ClipError) as error:
                why = str(error)
            notes.append(f"the largest face, for nothing tells who speaks: {why}")
        return [
            choose_face(meshes, "largest", size) if meshes else None
            for meshes, size in zip(seen, sizes, strict=True)
        ]

    def _process(self, frame: Frame, *, first: bool) -> list[Face]:
        """The faces of the next frame; `first`: of a clip."""
        try:
            with without_engine_noise() if first else nullcontext():
                return self._faces(frame, first=first)
        except Exception:
            self._graph = None  # a graph that has failed once fails for ever: the next clip gets a new one
            raise

    def _faces(self, frame: Frame, *, first: bool) -> list[Face]:
        if first:
            self._graph.reset()  # forget the faces of the clip before
        image = np.ascontiguousarray(frame.image)
        image.flags.writeable = False  # lets MediaPipe read it in place
        result = self._graph.process(image)
        return [Face(read_landmarks(message)) for message in result.multi_face_landmarks or ()]


def read_landmarks(message: Any) -> np.ndarray:
    """The points of a `NormalizedLandmarkList`, shape (478, 3), float32.

    Asking 478 messages for three numbers each costs a tenth of the mesh itself, so the numbers are
    read from the message's bytes where these are laid out as expected, else one by one.
    """
    data = message.SerializeToString()
    if len(data) == MESH_POINTS * _LANDMARK_BYTES and all(
        data[place::_LANDMARK_BYTES] == tag * MESH_POINTS for place, tag in _TAGS.items()
    ):
        return np.ndarray((MESH_POINTS, 3), "<f4", buffer=data, offset=3, strides=(_LANDMARK_BYTES, 5))
    return np.array([(point.x, point.y, point.z) for point in message.landmark], np.float32)


def choose_face(
    faces: list[np.ndarray], rule: str, size: tuple[int, int], previous: np.ndarray | None = None
) -> int:
    """The number of the one of several faces that is taken.

    Parameters
    ----------
    faces : at least one, each (points, 3), x and y as shares of the image's width and height
    rule : `largest` bounding box; `most_central` box centre; `track`: nearest to the face before, at first
        the largest. Equal ones: the leftmost, then the uppermost. (`speaking`: see speaking.py)
    size : width and height of the image
    previous : the face taken in the last frame that had one
    """
    if len(faces) == 1:
        return 0
    corners = np.array([[face[:, :2].min(0), face[:, :2].max(0)] for face in faces]) * size  # (n, 2, 2)
    centres = corners.mean(1)
    if rule == "most_central":
        merit = np.linalg.norm(centres - np.array(size) / 2, axis=1)
    elif rule == "track" and previous is not None:
        before = (previous[:, :2].min(0) + previous[:, :2].max(0)) / 2 * size
        merit = np.linalg.norm(centres - before, axis=1)
    else:
        merit = -(corners[:, 1] - corners[:, 0]).prod(1)
    return int(np.lexsort((corners[:, 0, 1], corners[:, 0, 0], merit))[0])


def _size(image: np.ndarray) -> tuple[int, int]:
    """Width and height."""
    return image.shape[1], image.shape[0]


@contextmanager
def without_engine_noise() -> Iterator[None]:
    """Keep the start-up lines of MediaPipe's C++ engine off stderr; other lines are passed on afterwards."""
    with _stderr_lock, tempfile.TemporaryFile() as log:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            log.seek(0)
            for line in log:
                if not _ENGINE_NOISE.match(line):
                    os.write(2, line)


@lru_cache(maxsize=1)
def _model_sha256() -> str:
    """SHA-256 over the files of the mesh in the installed mediapipe, which is not imported for it."""
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"mediapipe is not installed; {WAY_OUT}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    digest = hashlib.sha256()
    for name in _MODEL_FILES:
        try:
            digest.update((folder / name).read_bytes())
        except OSError as error:
            raise MissingDependencyError(f"mediapipe lacks {folder / name}; {WAY_OUT}") from error
    return digest.hexdigest()
