"""py-feat as an encoder: its columns, faces, units and signs; by a stand-in for the package."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made.media_factory import make_clip
from made.pyfeat_package import build, faces_by_frame
from reference.rotations import about_x, about_y, about_z, openface_matrix

from pipeline.core.errors import MissingModelError, ParamsError
from pipeline.features.encoder import Clip
from pipeline.features.visual.face.canonical import LANDMARKS_68
from pipeline.features.visual.pyfeat import gaze_angles, largest_faces, rotation_angles

UNITS = "01 02 04 05 06 07 09 10 11 12 14 15 17 20 23 24 25 26 28 43".split()  # noqa: SIM905
EMOTIONS = "anger disgust fear happiness sadness surprise neutral".split()  # noqa: SIM905


def test_columns_of_each_detector(feat: Path) -> None:
    points = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    expected = [
        *("confidence", "success", "gaze_angle_x", "gaze_angle_y", "pose_Rx", "pose_Ry", "pose_Rz"),
        *points,
        *(f"AU{unit}_pyfeat" for unit in UNITS),
        *(f"emotion_{emotion}" for emotion in EMOTIONS),
    ]
    assert build().column_names == build(detector="mp").column_names == expected
    assert build(detector="v2").column_names == [*expected, "emotion_valence", "emotion_arousal"]
    assert build().dim == 2 + 2 + 3 + 136 + 20 + 7
    assert build(groups=["emotions", "gaze"]).column_names == [*expected[:4], *expected[-7:]]
    with pytest.raises(
        ParamsError, match=r"visual\.mine\.groups names shape, .* gaze, pose, landmarks2d, aus, em"
    ):
        build("mine", groups=["shape"])


@pytest.mark.parametrize("detector", ["v1", "v2", "mp"])
def test_each_number_is_the_one_named(
    feat: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch, detector: str
) -> None:
    package = faces_by_frame(monkeypatch, [[(1, 1, 9)], [], [(1, 1, 9)], [(1, 1, 9)], []])
    encoder = build(detector=detector)
    encoded = encoder.encode(clip)
    assert encoded.features.shape == (5, encoder.dim) and encoded.features.dtype == np.float32
    assert encoded.times is not None
    np.testing.assert_allclose(encoded.times, np.arange(5) / 5, atol=1e-3)
    assert encoded.note == "no face in 2 of 5 frames"
    assert not encoded.features[[1, 4]].any()
    row = dict(zip(encoder.column_names, encoded.features[2], strict=True))
    stand = package.Detectorv1 if detector == "v1" else package.Detectorv2
    stand = stand if detector != "mp" else importlib.import_module("feat.MPDetector").MPDetector
    given = {name: (j + 1) / 1000 for j, name in enumerate(stand().names())}
    assert row["confidence"] == np.float32(0.9) and row["success"] == 1
    points = LANDMARKS_68 if detector == "mp" else range(68)
    for i, point in enumerate(points):
        assert row[f"x_{i}"] == np.float32(given[f"x_{point}"])
        assert row[f"y_{i}"] == np.float32(given[f"y_{point}"])
    for unit in UNITS:
        assert row[f"AU{unit}_pyfeat"] == np.float32(given[f"AU{unit}"])
    other = dict(zip(EMOTIONS, "Anger Disgust Fear Happy Sad Surprise Neutral".split(), strict=True))  # noqa: SIM905
    for emotion in EMOTIONS:
        assert row[f"emotion_{emotion}"] == np.float32(given[other[emotion] if detector == "v2" else emotion])
    if detector == "v2":
        assert row["emotion_arousal"] == np.float32(given["arousal"])
    angles = np.array([[given["Pitch"], given["Roll"], given["Yaw"]]])
    np.testing.assert_allclose(
        [row[f"pose_R{axis}"] for axis in "xyz"], rotation_angles(angles, detector)[0], rtol=1e-6
    )


def test_batches_sampling_and_scale(feat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "clip.mkv", times=[i / 25 for i in range(50)], size=(256, 192))
    package = faces_by_frame(monkeypatch, [[(1, 1, 9)]] * 10)
    encoder = build(batch_size=4, max_long_side=64, groups=["landmarks2d"])
    assert encoder.frame_rate == 5.0
    encoded = encoder.encode(Clip("clip", path))
    assert [call[0] for call in package.CALLS] == [(4, 3, 48, 64)] * 2 + [(2, 3, 48, 64)]
    assert [call[1:] for call in package.CALLS] == [(n, False, {}) for n in (4, 4, 2)]
    np.testing.assert_allclose(encoded.features[:, 2], 4 * 0.001, rtol=1e-6)  # original pixels
    np.testing.assert_allclose(encoded.features[:, 0], 0.9, rtol=1e-6)


def test_a_face_without_numbers(feat: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    package = faces_by_frame(monkeypatch, [[(1, 1, 9)]] * 5)
    detect = package.Stand.detect

    def without_pose(self: Any, *given: Any, **named: Any) -> pd.DataFrame:
        table = detect(self, *given, **named)
        table.loc[1, "Yaw"] = np.nan
        return table

    monkeypatch.setattr(package.Stand, "detect", without_pose)
    encoded = build(groups=["pose"]).encode(clip)
    assert encoded.features[:, 1].tolist() == [1, 0, 1, 1, 1]
    assert np.isfinite(encoded.features).all() and not encoded.features[1].any()
    assert encoded.note == "py-feat gave no number for 1 frames with a face"


def test_the_largest_face_is_taken() -> None:
    boxes = [
        (0, 9, 5, 5),
        (0, 1, 9, 9),
        (1, 2, 5, 5),
        (1, 1, 5, 5),
        (1, 1, 5, 5),
        (2, np.nan, np.nan, np.nan),
    ]
    table = pd.DataFrame(
        [
            {
                "frame": f,
                "FaceRectX": x,
                "FaceRectY": 9 - i,
                "FaceRectWidth": w,
                "FaceRectHeight": h,
                "mark": i,
            }
            for i, (f, x, w, h) in enumerate(boxes)
        ]
    ).assign(FaceScore=[0.9, 0.8, 0.9, 0.9, 0.9, 0.0])
    faces, frames, counts = largest_faces(table, 4)
    assert faces["mark"].tolist() == [1, 4]  # equal ones: the leftmost, then the uppermost
    assert frames.tolist() == [0, 1]
    assert counts == [2, 3, 0, 0]


def test_several_faces_are_noted(feat: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    faces_by_frame(monkeypatch, [[(1, 1, 3), (1, 1, 9)]] * 5)
    encoded = build(groups=["aus"]).encode(clip)
    np.testing.assert_allclose(encoded.features[:, 0], 0.91, rtol=1e-6)  # the second of each frame
    assert encoded.note == "2 faces in 5 of 5 frames"


# ------------------------------------------------------------------------------------------- units and signs
@pytest.mark.parametrize("detector", ["v1", "v2"])
def test_signs_of_the_pose(detector: str) -> None:
    up, right_shoulder, right = np.eye(3) * 0.3  # Pitch, Roll, Yaw
    np.testing.assert_allclose(rotation_angles(up[None], detector)[0], [-0.3, 0, 0], atol=1e-12)
    nose = np.array([0, 0, -1.0])  # x to the image's right, y down, towards the camera z < 0
    crown = np.array([0, -1.0, 0])
    assert (openface_matrix(*rotation_angles(up[None], detector)[0]) @ nose)[1] < -0.2  # the nose goes up
    assert (openface_matrix(*rotation_angles(right[None], detector)[0]) @ nose)[
        0
    ] < -0.2  # to the image's left
    assert (openface_matrix(*rotation_angles(right_shoulder[None], detector)[0]) @ crown)[0] < -0.2


def test_the_pose_is_the_same_rotation() -> None:
    angles = np.random.default_rng(0).uniform(-0.6, 0.6, (20, 3))
    for ours, (p, r, y) in zip(rotation_angles(angles, "v1"), angles, strict=True):
        np.testing.assert_allclose(openface_matrix(*ours), about_z(-r) @ about_y(y) @ about_x(-p), atol=1e-9)
    # Detectorv2's head gives img2pose's rotation vector, y down: its length is the angle, Rodrigues' formula
    for ours, (p, r, y) in zip(rotation_angles(angles, "v2"), angles, strict=True):
        vector = np.array([-p, y, -r])
        angle = np.linalg.norm(vector)
        k = np.cross(np.eye(3), vector / angle)  # K v = axis x v has the rows e_i x axis
        rodrigues = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
        np.testing.assert_allclose(openface_matrix(*ours), rodrigues, atol=1e-9)
    # MPDetector takes its angles off the matrix from the canonical face, y up and z to the camera
    upside = np.diag([1.0, -1, -1])
    for ours, (p, r, y) in zip(rotation_angles(angles, "mp"), angles, strict=True):
        theirs = about_z(y) @ about_y(r) @ about_x(p)
        assert np.arctan2(theirs[2, 1], theirs[2, 2]) == pytest.approx(p)
        assert np.arctan2(-theirs[2, 0], np.hypot(theirs[0, 0], theirs[1, 0])) == pytest.approx(r)
        assert np.arctan2(theirs[1, 0], theirs[0, 0]) == pytest.approx(y)
        np.testing.assert_allclose(openface_matrix(*ours), upside @ theirs @ upside, atol=1e-9)


def test_signs_of_the_gaze() -> None:
    up, left = np.array([[0.2, 0.0]]), np.array([[0.0, 0.2]])
    np.testing.assert_allclose(gaze_angles(up), [[0, -0.2]], atol=1e-12)  # OpenFace: down is positive
    np.testing.assert_allclose(gaze_angles(left), [[-0.2, 0]], atol=1e-12)  # and the image's right


@pytest.mark.shared
@pytest.mark.hub
def test_the_real_one(shared: Path) -> None:
    pytest.importorskip("feat", exc_type=ImportError)
    encoder = build(fps=2)
    try:
        encoder.load()
    except MissingModelError as error:
        pytest.skip(str(error))
    encoded = encoder.encode(Clip("clip", shared / "clips/pyfeat/single_face.mp4"))
    assert encoded.features[:, 1].all() and np.isfinite(encoded.features).all()
    assert encoded.features[:, encoder.column_names.index("emotion_happiness")].mean() > 0.5
