"""The face mesh encoder on real frames: what is found, where, with which signs, and always the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from made.face_meshes import (
    LIMITS,
    SUCCESS,
    build,
    column,
    degrees,
    encode,
    encode_images,
    landmarks,
)

from pipeline.core.errors import AbsentError, ClipError, MissingDependencyError, ParamsError
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.visual.face import mesh
from pipeline.features.visual.face.geometry import COLUMNS, GROUPS
from pipeline.features.visual.face.mesh import choose_face, read_landmarks
from pipeline.features.visual.facemesh import FaceMesh
from pipeline.params.encoders import FaceMeshParams as Params
from pipeline.params.params import MediaLimits

# the encoder silences it for a process; pytest puts it back for every test
pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")


@pytest.fixture(scope="module")
def encoder() -> FaceMesh:
    return build()


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a still face at 10 frames a second: ten frames, then ten with the face painted over."""
    import av
    from skimage.data import astronaut as picture

    path = tmp_path_factory.mktemp("clips") / "astronaut.mp4"
    image = picture()
    hidden = image.copy()
    hidden[:300] = 128
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 512, 512, "yuv420p", 8_000_000
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(image if i < 10 else hidden, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_face_that_goes_away(encoder: FaceMesh, astronaut: Path) -> None:
    encoded = encode(encoder, astronaut)
    assert encoded.features.shape == (20, encoder.dim)
    assert encoded.features.dtype == np.float32
    assert np.isfinite(encoded.features).all()
    assert encoded.times is not None
    np.testing.assert_allclose(encoded.times, np.arange(20) / 10, atol=1e-3)
    np.testing.assert_array_equal(encoded.features[:, SUCCESS], [1] * 10 + [0] * 10)
    assert not encoded.features[10:].any()
    assert encoded.note == "no face in 10 of 20 frames"
    assert np.array_equal(encoded.features[:, COLUMNS.index("confidence")], encoded.features[:, SUCCESS])
    mouth = column(encoded, "x_62", "y_62")[0]  # she smiles at (225, 165) of the picture
    assert np.linalg.norm(mouth - (225, 160)) < 20
    assert column(encoded, "AU12_mesh").min() > 0.05
    assert column(encoded, "pose_Tz").min() > 300


def test_no_face_at_all_is_a_good_row(encoder: FaceMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode_images(encoder, [np.full((120, 160, 3), 90, np.uint8)] * 5, monkeypatch)
    assert encoded.note == "no face in any of 5 frames"
    assert encoded.features.shape == (5, encoder.dim)
    assert not encoded.features.any()


def test_same_bytes_whatever_came_before(encoder: FaceMesh, astronaut: Path) -> None:
    first = encode(encoder, astronaut).features.tobytes()
    encode(encoder, astronaut, end_s=0.5)  # ends while a face is tracked
    assert encode(encoder, astronaut).features.tobytes() == first
    assert encode(build(), astronaut).features.tobytes() == first


def test_sampling_by_time(astronaut: Path) -> None:
    encoder = build(fps=5)
    assert encoder.frame_rate == 5
    encoded = encode(encoder, astronaut)
    assert encoded.times is not None
    np.testing.assert_allclose(encoded.times, np.arange(10) / 5, atol=1e-3)
    assert build().frame_rate is None


def test_scaling_down_keeps_original_pixels(encoder: FaceMesh, astronaut: Path) -> None:
    full, small = encode(encoder, astronaut), encode(build(max_long_side=300), astronaut)
    assert np.abs(np.median(landmarks(full) - landmarks(small), axis=0)).max() < 2.0
    np.testing.assert_allclose(degrees(full), degrees(small), atol=2.0)


def test_action_units_relative_to_the_clip(encoder: FaceMesh, astronaut: Path) -> None:
    canonical, clip = encode(encoder, astronaut), encode(build(au_reference="clip"), astronaut)
    assert np.median(column(clip, "AU12_mesh")) == pytest.approx(0.0, abs=1e-6)
    difference = column(canonical, "AU12_mesh") - column(clip, "AU12_mesh")
    np.testing.assert_allclose(difference, difference[0], atol=1e-6)
    others = [name for name in COLUMNS if not name.startswith("AU")]
    assert np.array_equal(column(canonical, *others), column(clip, *others))
    assert not clip.features[10:].any()  # frames without a face stay zero


def test_groups_choose_among_the_columns(encoder: FaceMesh, astronaut: Path) -> None:
    assert encoder.column_names == COLUMNS
    assert encoder.dim == 366
    chosen = build(groups=["aus", "pose"])  # the order of the layout, not of the list
    assert chosen.column_names == ["confidence", "success", *GROUPS["pose"], *GROUPS["aus"]]
    assert chosen.fingerprint != encoder.fingerprint
    part, whole = encode(chosen, astronaut), encode(encoder, astronaut)
    picked = [COLUMNS.index(name) for name in chosen.column_names]
    assert np.array_equal(part.features, whole.features[:, picked])
    assert part.note == whole.note


@pytest.mark.parametrize("group", ["shape", "emotions"])
def test_a_group_that_the_mesh_has_not(group: str) -> None:
    with pytest.raises(ParamsError) as caught:
        build_encoder("visual", "mine", Params(groups=["aus", group]), LIMITS)
    assert str(caught.value) == (
        f"visual.mine.groups names {group}, which it does not measure; "
        "it has gaze, pose, landmarks2d, landmarks3d, aus"
    )


def test_no_line_on_stderr(capfd: pytest.CaptureFixture[str], astronaut: Path) -> None:
    capfd.readouterr()
    encoder = build()
    encode(encoder, astronaut, end_s=0.3)
    encode(encoder, astronaut, end_s=0.3)
    assert capfd.readouterr().err == ""


def test_other_lines_still_reach_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    with mesh.without_engine_noise():
        os.write(2, b"W0000 00:00:1.2 7 inference_feedback_manager.cc:114] noise\n")
        os.write(2, b"a reader should see this\n")
    assert capfd.readouterr().err == "a reader should see this\n"


def test_landmarks_are_read_alike_both_ways() -> None:
    from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList

    points = np.random.default_rng(0).normal(size=(478, 3)).astype(np.float32)
    points[0] = 0.0  # a zero is written like any other number
    message = NormalizedLandmarkList()
    for x, y, z in points:
        message.landmark.add(x=x, y=y, z=z)
    assert np.array_equal(read_landmarks(message), points)
    message.landmark[3].visibility = 0.5  # another layout: read one by one
    assert np.array_equal(read_landmarks(message), points)


def box(left: float, top: float, side: float) -> np.ndarray:
    """A face of two points in a picture of 720 x 400."""
    return np.array([[left / 720, top / 400, 0.0], [(left + side) / 720, (top + side) / 400, 0.0]])


def test_choice_among_faces() -> None:
    small, large, right = faces = [box(10, 100, 50), box(300, 120, 80), box(600, 90, 60)]
    size = (720, 400)
    assert choose_face(faces, "largest", size) == 1
    assert choose_face(faces, "most_central", size) == 1
    assert choose_face([small, right], "most_central", size) == 1
    assert choose_face(faces, "track", size) == 1
    assert choose_face(faces, "track", size, previous=box(20, 90, 50)) == 0
    assert choose_face([large], "track", size, previous=box(20, 90, 50)) == 0
    equal = [box(300, 100, 50), box(10, 100, 50), box(10, 40, 50)]
    assert choose_face(equal, "largest", size) == 2  # the leftmost, then the uppermost
    assert choose_face(equal[::-1], "largest", size) == 0


def test_what_it_is_not_given(encoder: FaceMesh, tmp_path: Path) -> None:
    with pytest.raises(AbsentError):
        encoder.encode(Clip("text only"))
    with pytest.raises(ClipError, match=r"nowhere\.mp4"):
        encode(encoder, tmp_path / "nowhere.mp4")


def test_missing_mediapipe_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_mesh", None)
    with pytest.raises(MissingDependencyError, match=r"pip install mediapipe==0\.10\.14"):
        build()


def test_provenance_names_the_models(encoder: FaceMesh) -> None:
    assert len(encoder.model_identity) == 64
    assert encoder.provenance["device"] == "cpu"
    assert encoder.fingerprint != build(max_faces=1).fingerprint
    on_gpu = build_encoder("visual", "facemesh", Params(), LIMITS, device="cuda")
    assert on_gpu.fingerprint == encoder.fingerprint  # it computes on the CPU all the same


def test_a_graph_that_has_failed_is_not_used_again(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = FaceMesh("mesh", Params(fps=2), MediaLimits())
    encoder.load()
    clip = Clip("c", path=shared / "clips/grid/bbaf2n.mpg")
    expected = encoder.encode(clip).features

    class Broken:
        def reset(self) -> None:
            raise ValueError("the graph has errors")

    monkeypatch.setattr(encoder, "_graph", Broken())
    with pytest.raises(ValueError, match="the graph has errors"):
        encoder.encode(clip)
    np.testing.assert_array_equal(encoder.encode(clip).features, expected)
