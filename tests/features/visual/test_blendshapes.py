"""Blendshapes: which face's scores a row has, and task files that are none; the real task where there is one.

The stand-in replaces MediaPipe's `FaceLandmarker` alone. The test of the real task reads the file that
`msa-cli fetch blendshapes` brings.
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from made.face_meshes import LIMITS
from made.media_factory import make_clip

from pipeline.core.errors import MissingModelError, ParamsError
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.fetch import reads_the_task_file
from pipeline.features.registry import build_encoder
from pipeline.features.visual.blendshapes import NAMES, Blendshapes
from pipeline.features.visual.face import task_file
from pipeline.params.encoders import BlendshapesParams, FaceMeshParams
from pipeline.params.params import Params

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")


def build(**params: Any) -> Blendshapes:
    encoder = build_encoder("visual", "mine", BlendshapesParams(**params), LIMITS)
    assert isinstance(encoder, Blendshapes)
    return encoder


def archive(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name in names:
            made.writestr(name, b"no net")
    return content.getvalue()


# --------------------------------------------------------------------------------------------- by a stand-in
class Landmarker:
    """Two faces in each frame but the third; scores tell of the frame and the face."""

    made = 0

    def __init__(self) -> None:
        Landmarker.made += 1
        self.times: list[int] = []

    def close(self) -> None:
        pass

    def detect_for_video(self, image: Any, ms: int) -> Any:
        assert image.numpy_view().shape == (48, 64, 3)
        assert not self.times or ms > self.times[-1]  # as the task wants it
        self.times.append(ms)
        if len(self.times) == 3:
            return SimpleNamespace(face_landmarks=[], face_blendshapes=[])
        corners = [[(0.1, 0.1), (0.3, 0.3)], [(0.5, 0.1), (0.9, 0.9)]]
        faces = [[SimpleNamespace(x=x, y=y, z=0.0) for x, y in face * 239] for face in corners]
        scores = [
            [SimpleNamespace(score=len(self.times) / 10 + face / 100 + i / 10_000) for i in range(52)]
            for face in (1, 2)
        ]
        return SimpleNamespace(face_landmarks=faces, face_blendshapes=scores)


@pytest.fixture
def landmarker(monkeypatch: pytest.MonkeyPatch) -> type[Landmarker]:
    from mediapipe.tasks.python.vision import face_landmarker

    monkeypatch.setattr(face_landmarker.FaceLandmarker, "create_from_options", lambda options: Landmarker())
    return Landmarker


def test_a_row_has_the_scores_of_the_chosen_face(tmp_path: Path, landmarker: type[Landmarker]) -> None:
    task = tmp_path / "a.task"
    task.write_bytes(archive("face_blendshapes.tflite"))
    encoder = build(task=str(task))
    assert encoder.dim == 54 and len(set(encoder.column_names)) == 54
    assert encoder.column_names[:4] == [
        "confidence",
        "success",
        "blendshape_neutral",
        "blendshape_browDownLeft",
    ]
    times = [0.0, 0.0003, 0.1, 0.14]  # two within a millisecond
    clip = Clip("a", make_clip(tmp_path / "a.mkv", times=[0.0, 0.001, 0.1, 0.14]))
    encoded = encoder.encode(clip)
    assert encoded.features.dtype == np.float32 and encoded.features.shape == (len(times), 54)
    assert encoded.features[:, 1].tolist() == [1, 1, 0, 1] and not encoded.features[2].any()
    expected = (
        np.array([1, 2, 4])[:, None] / 10 + 0.02 + np.arange(52) / 10_000
    )  # the larger one is the second
    np.testing.assert_allclose(encoded.features[[0, 1, 3], 2:], expected, rtol=1e-6)
    assert encoded.note == "no face in 1 of 4 frames; 2 faces in 3 of 4 frames"
    before = landmarker.made
    assert encoder.encode(clip).features.tobytes() == encoded.features.tobytes()
    assert landmarker.made == before + 1  # each clip gets a tracker that knows of no other


# ------------------------------------------------------------------------------------------------ task files
def test_no_task_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for encoder in (build(), build(task=str(tmp_path / "gone.task"))):
        for ask in (encoder.load, lambda encoder=encoder: encoder.fingerprint):
            with pytest.raises(
                MissingModelError, match=r"is not a file\. On a connected machine: .* msa-cli fetch mine"
            ):
                ask()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>Not found</html>", "is not a MediaPipe task file: File is not a zip file"),
        (b"", "is not a MediaPipe task file: File is not a zip file"),
        (archive("face_detector.tflite"), r"has no face_blendshapes\.tflite"),
        (archive("face_blendshapes.tflite"), "is not a MediaPipe face task file: "),
    ],
)
def test_a_task_file_that_is_none(tmp_path: Path, content: bytes, why: str) -> None:
    task = tmp_path / "a.task"
    task.write_bytes(content)
    with pytest.raises(MissingModelError, match=why) as caught:
        build(task=str(task)).load()
    assert str(task) in str(caught.value) and "\n" not in str(caught.value)


def test_what_was_fetched_is_the_pinned_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    task_file.fetched_place().parent.mkdir()
    task_file.fetched_place().write_bytes(archive("face_blendshapes.tflite"))
    with pytest.raises(MissingModelError, match=rf"has SHA-256 \w+, expected {task_file.SHA256}; run"):
        build().load()


# -------------------------------------------------------------------------------------------------- fetching
@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """A server on this machine in place of Google's; it gives what is under its path, or 404."""
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = served.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(task_file, "URL", f"http://127.0.0.1:{server.server_port}/a.task")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield served
    server.shutdown()
    server.server_close()


def test_fetch_brings_the_pinned_file(
    google: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, cli: Callable[..., tuple[int, str]]
) -> None:
    import hashlib

    code, said = cli("fetch", "blendshapes")
    assert code == 2 and "404" in said and "name the file by visual.blendshapes.task" in said
    google["/a.task"] = archive("face_blendshapes.tflite")
    code, said = cli("fetch", "blendshapes")
    assert code == 2 and f"expected {task_file.SHA256}" in said and not task_file.fetched_place().exists()
    monkeypatch.setattr(task_file, "SHA256", hashlib.sha256(google["/a.task"]).hexdigest())
    code, said = cli("fetch", "blendshapes")
    assert code == 0 and "face_landmarker.task" in said.replace("\n", "")
    assert task_file.fetched_place().read_bytes() == google["/a.task"]
    assert build().model_identity == task_file.SHA256


def test_what_is_fetched_for_whom() -> None:
    params = Params(
        visual={
            "fetched": BlendshapesParams(),
            "own": BlendshapesParams(task="a.task"),
            "facemesh": FaceMeshParams(),
        }
    )
    assert reads_the_task_file("fetched", params)
    assert not reads_the_task_file("bert", params) and not reads_the_task_file("facemesh", params)
    with pytest.raises(ParamsError, match=r"visual\.own\.task is 'a\.task'"):
        reads_the_task_file("own", params)


# --------------------------------------------------------------------------------------------- the real task
@pytest.fixture(scope="module")
def real() -> Blendshapes:
    folder = os.environ.get("MSA_REAL_MODELS")
    path = Path(folder or "") / "face_landmarker.task"
    if not folder or not path.is_file():
        pytest.skip(
            "MSA_REAL_MODELS names no folder with face_landmarker.task: `msa-cli fetch blendshapes` brings it"
        )
    encoder = build(task=str(path))
    encoder.load()
    return encoder


def score(encoded: Encoded, *names: str) -> np.ndarray:
    """Means of both sides, of the frames with a face."""
    found = encoded.features[encoded.features[:, 1] == 1, 2:]
    return found[:, [NAMES.index(name) for name in names]].mean(1)


@pytest.mark.shared
def test_a_real_smile_and_real_blinks(real: Blendshapes, shared: Path) -> None:
    assert real.model_identity == task_file.SHA256
    smile = real.encode(Clip("smile", shared / "clips/pyfeat/single_face.mp4"))
    assert smile.times is not None and smile.features[:, 1].all()
    assert (smile.features >= 0).all() and (smile.features <= 1).all()
    lips = score(smile, "mouthSmileLeft", "mouthSmileRight")
    assert lips[smile.times < 0.5].max() < 0.2 and lips[(smile.times > 1) & (smile.times < 2.2)].min() > 0.5
    talk = real.encode(Clip("talk", shared / "clips/grid/bbaf2n.mpg"))
    blink = score(talk, "eyeBlinkLeft", "eyeBlinkRight")  # eyes are shut in frames 43 and 51
    assert blink[[43, 51]].min() > np.median(blink) + 0.15
    again = real.encode(Clip("smile", shared / "clips/pyfeat/single_face.mp4"))
    assert again.features.tobytes() == smile.features.tobytes()  # whatever was looked at before
