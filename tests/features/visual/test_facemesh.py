"""The face mesh encoder on real frames: what is found, where, with which signs, and always the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import AbsentError, ClipError, MissingDependencyError, ParamsError
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.visual.face import mesh
from pipeline.features.visual.face.geometry import COLUMNS, GROUPS
from pipeline.features.visual.face.mesh import choose_face, read_landmarks
from pipeline.features.visual.facemesh import FaceMesh
from pipeline.media.decode import Frame, frames
from pipeline.params.encoders import FaceMeshParams as Params
from pipeline.params.params import MediaLimits

# the encoder silences it for a process; pytest puts it back for every test
pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")

LIMITS = MediaLimits()
SUCCESS = COLUMNS.index("success")
GRID = ["bbaf2n", "brbk7n", "lbax4n", "lbbc2a", "lrwp9a", "sbia1a", "sbwe5n", "swwp2s"]


def build(**params: Any) -> FaceMesh:
    encoder = build_encoder("visual", "facemesh", Params(**params), LIMITS)
    assert isinstance(encoder, FaceMesh)
    encoder.load()
    return encoder


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


def encode(
    encoder: FaceMesh, path: Path, start_s: float | None = None, end_s: float | None = None
) -> Encoded:
    return encoder.encode(Clip("clip", path, start_s=start_s, end_s=end_s))


def encode_images(encoder: FaceMesh, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Encoded:
    """Features of pictures that were never in a file, at 25 frames a second."""

    def pictures(*_: object, **__: object) -> Iterator[Frame]:
        return (Frame(np.ascontiguousarray(image), i / 25, 1.0) for i, image in enumerate(images))

    monkeypatch.setattr(mesh, "frames", pictures)
    return encode(encoder, Path("pictures"))


def pictures_of(path: Path, end_s: float | None = None) -> list[np.ndarray]:
    return [frame.image for frame in frames(path, LIMITS, end_s=end_s)]


def column(encoded: Encoded, *names: str) -> np.ndarray:
    """Columns of the frames with a face."""
    found = encoded.features[encoded.features[:, SUCCESS] == 1]
    return found[:, [COLUMNS.index(name) for name in names]].squeeze()


def landmarks(encoded: Encoded) -> np.ndarray:
    """Shape (frames with a face, 68, 2), pixels."""
    names = [[f"{axis}_{point}" for point in range(68)] for axis in "xy"]
    return np.stack([column(encoded, *axis) for axis in names], axis=-1)


def degrees(encoded: Encoded) -> np.ndarray:
    """Median Rx, Ry, Rz."""
    return np.degrees(np.median(column(encoded, "pose_Rx", "pose_Ry", "pose_Rz"), axis=0))


# ----------------------------------------------------------------------------------- without real clips
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
    assert encoder.dim == 369
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
    with mesh._without_engine_noise():
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
    assert choose_face(faces, "largest", size) is large
    assert choose_face(faces, "most_central", size) is large
    assert choose_face([small, right], "most_central", size) is right
    assert choose_face(faces, "track", size) is large
    assert choose_face(faces, "track", size, previous=box(20, 90, 50)) is small
    equal = [box(300, 100, 50), box(10, 100, 50), box(10, 40, 50)]
    for order in (equal, equal[::-1]):  # the leftmost, then the uppermost
        assert choose_face(order, "largest", size) is equal[2]


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


# ----------------------------------------------------------------------------------------- real talking heads
@pytest.fixture(scope="module")
def talkers(encoder: FaceMesh, shared: Path) -> dict[str, Encoded]:
    return {name: encode(encoder, shared / "clips/grid" / f"{name}.mpg") for name in GRID}


@pytest.mark.shared
def test_talkers_are_found_and_look_like_faces(talkers: dict[str, Encoded]) -> None:
    for name, encoded in talkers.items():
        assert encoded.features.shape[0] == 75, name
        assert encoded.features[:, SUCCESS].sum() >= 74, name
        points = landmarks(encoded)
        assert (points >= 0).all(), name
        assert (points <= (360, 288)).all(), name
        x, y = points[..., 0], points[..., 1]
        assert (x[:, 0] < x[:, 8]).all(), name
        assert (x[:, 8] < x[:, 16]).all(), name
        assert (np.diff(x[:, 4:13], axis=1) > 0).all(), name  # the jaw runs from left to right
        assert (y[:, 36:48].max(1) < y[:, 48:].min(1)).all(), name  # eyes above mouth
        assert (y[:, 17:27].max(1) < y[:, 36:48].max(1)).all(), name
        assert ((x[:, 36:42].mean(1) < x[:, 30]) & (x[:, 30] < x[:, 42:48].mean(1))).all(), name
        assert (y[:, 8] >= y[:, 48:].max(1)).all(), name


@pytest.mark.shared
def test_talkers_face_the_camera_and_talk(talkers: dict[str, Encoded]) -> None:
    for name, encoded in talkers.items():
        assert np.abs(degrees(encoded)).max() < 15, name
        assert np.abs(np.degrees(column(encoded, "gaze_angle_x", "gaze_angle_y").mean(0))).max() < 15, name
        assert 200 < column(encoded, "pose_Tz").mean() < 1000, name
        lips = column(encoded, "AU25_mesh")
        assert np.ptp(lips) > 0.05, name  # the mouth opens
        assert abs(np.percentile(lips, 5)) < 0.06, name  # and closes
    # nine faces made the canonical one, so that their mean at rest is near it
    rest = [np.percentile(column(encoded, "AU12_mesh"), 50) for encoded in talkers.values()]
    assert abs(np.mean(rest)) < 0.03


@pytest.mark.shared
def test_pixels_and_camera_space_agree(talkers: dict[str, Encoded]) -> None:
    encoded = talkers["lrwp9a"]
    focal = 500 * (360 / 640 + 288 / 480) / 2
    for point in (0, 8, 16, 30, 36, 54):
        x, y, depth = column(encoded, *(f"{axis}_{point}" for axis in "XYZ")).T
        np.testing.assert_allclose(x / depth * focal + 180, column(encoded, f"x_{point}"), atol=0.01)
        np.testing.assert_allclose(y / depth * focal + 144, column(encoded, f"y_{point}"), atol=0.01)
    assert (column(encoded, "Z_30") < column(encoded, "Z_0")).all()  # the nose is nearer than the ears


@pytest.mark.shared
def test_mirrored_frames_mirror_the_pose(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bbaf2n", "lbbc2a"):  # turned to either side
        pictures = [image[:, ::-1] for image in pictures_of(shared / "clips/grid" / f"{name}.mpg")]
        mirrored = encode_images(encoder, pictures, monkeypatch)
        monkeypatch.undo()
        straight, opposite = degrees(talkers[name]), degrees(mirrored)
        # MediaPipe's network itself is up to 3 degrees off between an image and its mirror image
        assert abs(straight[1]) > 4
        assert straight[1] * opposite[1] < 0
        np.testing.assert_allclose(opposite, straight * (1, -1, -1), atol=4.0)
        assert opposite[2] == pytest.approx(-straight[2], abs=1.0)
        gaze = [np.degrees(np.median(column(e, "gaze_angle_x"))) for e in (talkers[name], mirrored)]
        assert gaze[0] * gaze[1] < 0
        right_corner = np.median(360 - column(mirrored, "x_45") - column(talkers[name], "x_36"))
        assert abs(right_corner) < 3


@pytest.mark.shared
@pytest.mark.parametrize("angle", [15, -15])
def test_turned_frames_turn_the_roll(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path, monkeypatch: pytest.MonkeyPatch, angle: int
) -> None:
    import cv2

    turn = cv2.getRotationMatrix2D((180, 144), -angle, 1.0)  # OpenCV counts counter-clockwise
    pictures = pictures_of(shared / "clips/grid/swwp2s.mpg", end_s=1.0)
    turned = encode_images(
        encoder, [cv2.warpAffine(image, turn, (360, 288)) for image in pictures], monkeypatch
    )
    before = np.degrees(np.median(column(talkers["swwp2s"], "pose_Rz")[:25]))
    assert degrees(turned)[2] - before == pytest.approx(angle, abs=2.0)


@pytest.mark.shared
def test_pose_is_stable_over_a_still_second(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pose = ("pose_Rx", "pose_Ry", "pose_Rz")
    for name, encoded in talkers.items():
        assert np.degrees(column(encoded, *pose)[:25].std(0)).max() < 2.0, name
    still = encode_images(
        encoder, [pictures_of(shared / "clips/grid/bbaf2n.mpg", end_s=0.04)[0]] * 25, monkeypatch
    )
    assert np.degrees(column(still, *pose).std(0)).max() < 0.5


@pytest.mark.shared
def test_clips_in_either_order_give_the_same_bytes(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path
) -> None:
    for name in ("swwp2s", "bbaf2n"):  # the fixture went the other way round
        again = encode(encoder, shared / "clips/grid" / f"{name}.mpg")
        assert again.features.tobytes() == talkers[name].features.tobytes()


# ---------------------------------------------------------------------------------------------- awkward clips
@pytest.mark.shared
def test_face_lost_for_a_second(encoder: FaceMesh, shared: Path) -> None:
    encoded = encode(encoder, shared / "clips/awkward/face_lost_1s_to_2s.mp4")
    assert encoded.times is not None
    inside = (encoded.times > 1.05) & (encoded.times < 1.95)
    outside = (encoded.times < 0.95) | (encoded.times > 2.05)
    assert not encoded.features[inside].any()
    assert encoded.features[outside, SUCCESS].mean() > 0.95
    assert encoded.note.startswith("no face in 2")


@pytest.mark.shared
def test_two_faces(encoder: FaceMesh, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = shared / "clips/awkward/two_faces_two_voices.mp4"
    sides = {}
    for rule in ("largest", "most_central", "track"):
        encoded = encode(encoder if rule == "largest" else build(face=rule), clip, end_s=1.0)
        assert encoded.note == "2 faces in 25 of 25 frames", rule
        side = set((column(encoded, "x_30") > 360).tolist())
        assert len(side) == 1, rule  # never jumps from one to the other
        sides[rule] = side.pop()
    assert sides["track"] == sides["largest"]
    # each half of the picture by itself says which face is larger and which is nearer to the middle
    pictures = pictures_of(clip, end_s=0.2)
    left, right = (
        landmarks(encode_images(encoder, [image[:, part] for image in pictures], monkeypatch))
        for part in (slice(0, 360), slice(360, 720))
    )
    assert sides["largest"] == (np.ptp(right, axis=1).prod(-1).mean() > np.ptp(left, axis=1).prod(-1).mean())
    assert sides["most_central"] == (right[..., 0].mean() < 360 - left[..., 0].mean())


@pytest.mark.shared
@pytest.mark.parametrize("name", ["very_dark", "tiny_90x72", "vfr", "very_short_0.32s"])
def test_hard_clips(encoder: FaceMesh, shared: Path, name: str) -> None:
    encoded = encode(encoder, shared / f"clips/awkward/{name}.mp4")
    assert encoded.features[:, SUCCESS].mean() > 0.95
    assert np.isfinite(encoded.features).all()
    assert np.abs(degrees(encoded)).max() < 15


@pytest.mark.shared
def test_small_pictures_keep_the_pose(encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path) -> None:
    tiny = encode(encoder, shared / "clips/awkward/tiny_90x72.mp4")
    np.testing.assert_allclose(degrees(tiny), degrees(talkers["sbia1a"]), atol=4.0)
    assert np.median(np.abs(landmarks(tiny).mean(0) * 4 - landmarks(talkers["sbia1a"]).mean(0))) < 3.0


@pytest.mark.shared
def test_rotation_flag_gives_upright_landmarks(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path
) -> None:
    flagged = landmarks(encode(encoder, shared / "clips/awkward/rotation_flag_90.mp4"))
    sideways = landmarks(encode(encoder, shared / "clips/awkward/pixels_rotated_90.mp4"))  # the same, no flag
    upright = np.stack([sideways[..., 1], 288 - sideways[..., 0]], axis=-1)
    assert np.abs(np.median(flagged - upright, axis=0)).max() < 5.0
    assert np.abs(np.median(flagged - landmarks(talkers["lrwp9a"]), axis=0)).max() < 3.0


@pytest.mark.shared
def test_a_smile_is_seen(encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path) -> None:
    smile = np.median(
        column(encode(encoder, shared / "clips/pyfeat/single_face.mp4", end_s=2.4), "AU12_mesh")
    )
    assert smile > max(np.median(column(talker, "AU12_mesh")) for talker in talkers.values()) + 0.03


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
