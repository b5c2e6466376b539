"""The face mesh encoder on real talking heads and awkward clips: what is found, where, with which signs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made.face_meshes import (
    SUCCESS,
    build,
    column,
    degrees,
    encode,
    encode_images,
    landmarks,
    pictures_of,
)

from pipeline.features.encoder import Encoded
from pipeline.features.visual.facemesh import FaceMesh

# the encoder silences it for a process; pytest puts it back for every test
pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")

GRID = ["bbaf2n", "brbk7n", "lbax4n", "lbbc2a", "lrwp9a", "sbia1a", "sbwe5n", "swwp2s"]


@pytest.fixture(scope="module")
def encoder() -> FaceMesh:
    return build()


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
