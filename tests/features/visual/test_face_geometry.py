"""Face geometry against known answers: synthetic heads whose pose, gaze and expression are chosen."""

from __future__ import annotations

import numpy as np
import pytest
from made.face_meshes import RANGES
from reference.rotations import openface_matrix

from pipeline.features.visual.face.action_units import ACTION_UNITS, STABLE, action_units, align, similarity
from pipeline.features.visual.face.canonical import CANONICAL, LANDMARKS_68, POINTS, rows
from pipeline.features.visual.face.geometry import (
    COLUMNS,
    EYEBALL_MM,
    GAZE_BIAS,
    Camera,
    describe,
    gaze_vectors,
    head_pose,
    in_camera_space,
    to_euler,
)

CAMERA = Camera.guess(640, 480)
MIRRORED = np.abs(CANONICAL[:, None] * (-1, 1, 1) - CANONICAL).sum(-1).argmin(1)  # by place
IRISES = rows((468, 473))


def rotation(rx: float = 0.0, ry: float = 0.0, rz: float = 0.0) -> np.ndarray:
    """R = Rx Ry Rz of degrees."""
    return openface_matrix(*np.radians([rx, ry, rz]))


def project(face: np.ndarray, turn: np.ndarray, move: tuple[float, float, float]) -> np.ndarray:
    """A face of mm, shape (K, 3), as the mesh would show it: (1, K, 3) pixels, z relative to the head."""
    space = face @ turn.T + move
    pixels = space[:, :2] / space[:, 2:] * CAMERA.focal + CAMERA.centre
    depth = (space[:, 2:] - move[2]) / move[2] * CAMERA.focal
    return np.concatenate([pixels, depth], axis=1)[None]


def column(table: np.ndarray, *names: str) -> np.ndarray:
    return table[:, [COLUMNS.index(name) for name in names]]


# ---------------------------------------------------------------------------------------------- what exists
def test_columns_are_openfaces() -> None:
    assert len(COLUMNS) == len(set(COLUMNS)) == 2 + 8 + 6 + 5 * 68 + 10
    assert COLUMNS[:4] == ["confidence", "success", "gaze_0_x", "gaze_0_y"]
    assert COLUMNS[8:16] == ["gaze_angle_x", "gaze_angle_y", *(f"pose_{k}{a}" for k in "TR" for a in "xyz")]
    assert COLUMNS[16:18] == ["x_0", "x_1"]
    assert COLUMNS[16 + 68] == "y_0"
    assert COLUMNS[16 + 136] == "X_0"
    assert not [name for name in COLUMNS if name.endswith(("_r", "_c"))]


def test_canonical_face_is_a_face() -> None:
    assert CANONICAL.shape == (len(POINTS), 3)
    assert np.array_equal(CANONICAL[MIRRORED], CANONICAL * (-1, 1, 1))
    assert np.linalg.norm(np.diff(CANONICAL[IRISES], axis=0)) == pytest.approx(63.0, abs=0.1)
    face = CANONICAL[rows(LANDMARKS_68)]
    assert np.abs(face.mean(0)).max() < 0.05
    assert (np.diff(face[:17, 0]) > 0).all()  # the jaw runs from the image's left to its right
    assert (np.diff(face[17:27, 0]) > 0).all()  # so do the brows
    assert face[8, 1] == face[:, 1].max()  # the chin is the lowest point
    assert face[30, 2] == face[:, 2].min()  # the tip of the nose the nearest
    brows, eyes, nose, mouth = face[17:27], face[36:48], face[27:36], face[48:]
    assert brows[:, 1].max() < eyes[:, 1].max() < nose[:, 1].max() < mouth[:, 1].min()
    assert (np.abs(face[[27, 28, 29, 30, 33, 51, 57, 62, 66, 8], 0]) == 0).all()  # the middle line


def test_landmarks_mirror_as_dlibs_do() -> None:
    pairs = [(0, 16), (3, 13), (17, 26), (21, 22), (31, 35), (36, 45), (37, 44), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    at = rows(LANDMARKS_68)
    for right, left in pairs:
        assert MIRRORED[at[right]] == at[left], (right, left)


def test_camera_is_openfaces_guess() -> None:
    assert Camera.guess(640, 480) == Camera(500.0, (320.0, 240.0))
    assert Camera.guess(1280, 720).focal == 500 * (2 + 1.5) / 2


# ----------------------------------------------------------------------------------------------------- pose
def test_similarity_recovers_a_known_transform() -> None:
    turn, shift = rotation(20, -35, 50), np.array([3.0, -4.0, 500.0])
    scale, found, translation = similarity(CANONICAL, 1.7 * CANONICAL @ turn.T + shift)
    assert scale == pytest.approx(1.7)
    np.testing.assert_allclose(found, turn, atol=1e-9)
    np.testing.assert_allclose(translation, shift, atol=1e-9)


def test_similarity_never_mirrors() -> None:
    _, found, _ = similarity(CANONICAL, CANONICAL * (-1, 1, 1))
    assert np.linalg.det(found) == pytest.approx(1.0)


def test_euler_angles_are_those_of_rx_ry_rz() -> None:
    angles = np.random.default_rng(0).uniform((-170, -85, -170), (170, 85, 170), (200, 3))
    matrices = np.array([rotation(*row) for row in angles])
    np.testing.assert_allclose(np.degrees(to_euler(matrices)), angles, atol=1e-6)


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (25, 0, 0), (0, -40, 0), (0, 0, 100), (-15, 30, -20), (10, 55, 5)]
)
@pytest.mark.parametrize("place", [(0.0, 0.0, 700.0), (-120.0, 60.0, 450.0)])
def test_pose_of_a_synthetic_head(angles: tuple[int, int, int], place: tuple[float, float, float]) -> None:
    turn = rotation(*angles)
    found, translation = head_pose(project(CANONICAL, turn, place), CAMERA)
    np.testing.assert_allclose(np.degrees(to_euler(found))[0], angles, atol=0.05)
    np.testing.assert_allclose(translation[0], place, atol=0.2)


def test_pose_is_opencvs() -> None:
    import cv2

    random = np.random.default_rng(0)
    matrix = np.array([[CAMERA.focal, 0, 320], [0, CAMERA.focal, 240], [0, 0, 1]])
    model = np.ascontiguousarray(CANONICAL[STABLE])
    for _ in range(20):  # other people than the canonical face, seen with noise
        person = CANONICAL + random.normal(0, 2, CANONICAL.shape)
        mesh = project(person, rotation(*random.uniform(-45, 45, 3)), (50, -40, random.uniform(300, 1200)))
        mesh += random.normal(0, 1, mesh.shape)
        found, translation = head_pose(mesh, CAMERA)
        start = cv2.Rodrigues(found[0])[0] + 0.05, translation[0][:, None] + 5.0
        pixels = np.ascontiguousarray(mesh[0, STABLE, :2])
        _, turn, move = cv2.solvePnP(model, pixels, matrix, None, *start, useExtrinsicGuess=True)
        np.testing.assert_allclose(found[0], cv2.Rodrigues(turn)[0], atol=1e-4)
        np.testing.assert_allclose(translation[0], move[:, 0], atol=0.02)


def test_signs_of_the_pose() -> None:
    def seen(**angles: float) -> np.ndarray:
        return project(CANONICAL, rotation(**angles), (0, 0, 600))[0][rows(LANDMARKS_68)]

    straight, nod, turn, tilt = seen(), seen(rx=20), seen(ry=20), seen(rz=20)
    assert nod[30, 1] - nod[36, 1] > straight[30, 1] - straight[36, 1]  # looking down brings the nose lower
    assert turn[30, 0] < straight[30, 0] - 5  # Ry > 0: the nose goes to the image's left
    assert tilt[45, 1] > tilt[36, 1] + 5  # Rz > 0: clockwise in the image, its right side falls


def test_camera_space_projects_onto_the_pixels() -> None:
    turn, place = rotation(10, 20, -15), (40.0, -30.0, 500.0)
    mesh = project(CANONICAL, turn, place)
    space = in_camera_space(mesh, turn[None], np.array([place]), CAMERA)[0]
    np.testing.assert_allclose(space[:, :2] / space[:, 2:] * CAMERA.focal + CAMERA.centre, mesh[0, :, :2])
    np.testing.assert_allclose(space, CANONICAL @ turn.T + place, atol=1e-6)


# ----------------------------------------------------------------------------------------------------- gaze
def look(angle_x: float, angle_y: float, turn: np.ndarray, place: tuple[float, float, float]) -> np.ndarray:
    """gaze_angle_x, gaze_angle_y in degrees that are found for eyes that look along those angles."""
    direction = np.array([np.tan(np.radians(angle_x)), np.tan(np.radians(angle_y)), -1.0])
    direction /= np.linalg.norm(direction)
    face = CANONICAL @ turn.T + place
    eyeballs = face[IRISES] + turn @ (0, 0, EYEBALL_MM)
    pupils = eyeballs + EYEBALL_MM * direction
    pixels = pupils[:, :2] / pupils[:, 2:] * CAMERA.focal + CAMERA.centre
    gaze = gaze_vectors(face[None], turn[None], pixels[None], CAMERA)[0]
    np.testing.assert_allclose(np.linalg.norm(gaze, axis=1), 1.0)
    mean = gaze.mean(0)
    return np.degrees([np.arctan2(mean[0], -mean[2]), np.arctan2(mean[1], -mean[2])])


@pytest.mark.parametrize("angles", [(0, 0), (20, 0), (-25, 5), (0, 15), (10, -12)])
@pytest.mark.parametrize("head", [(0, 0, 0), (8, -15, 5)])
def test_gaze_of_synthetic_eyes(angles: tuple[int, int], head: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(look(*angles, rotation(*head), (30.0, -20.0, 600.0)), angles, atol=0.05)


def test_canonical_face_looks_straight_ahead() -> None:
    table = describe(project(CANONICAL, np.eye(3), (0, 0, 600)), CAMERA)
    assert np.abs(np.degrees(column(table, "gaze_angle_x", "gaze_angle_y"))).max() < 1.0
    assert column(table, "gaze_0_z", "gaze_1_z").max() < -0.99
    assert column(table, "x_36") < column(table, "x_45")  # eye 0 is the leftmost


def test_a_mirror_image_looks_the_other_way() -> None:
    """But for the constant that is measured on MediaPipe's mesh, which is not symmetric."""
    straight = project(CANONICAL, rotation(5, 12, -4), (40, 10, 600))
    straight[0, IRISES, 0] -= 3.0
    mirrored = straight[:, MIRRORED] * (-1, 1, 1) + (2 * CAMERA.centre[0], 0, 0)
    gaze = [
        column(describe(mesh, CAMERA), "gaze_angle_x", "gaze_angle_y")[0] for mesh in (straight, mirrored)
    ]
    assert abs(gaze[0][0]) > 0.1
    assert (gaze[0][0] + gaze[1][0]) / 2 == pytest.approx(-GAZE_BIAS, abs=1e-3)
    assert gaze[0][1] == pytest.approx(gaze[1][1], abs=3e-3)


def test_iris_beside_the_eyeball_still_gives_a_unit_vector() -> None:
    mesh = project(CANONICAL, np.eye(3), (0, 0, 600))
    mesh[0, IRISES, 0] += 100.0
    table = describe(mesh, CAMERA)
    gaze = column(table, "gaze_0_x", "gaze_0_y", "gaze_0_z")
    assert np.linalg.norm(gaze) == pytest.approx(1.0, abs=1e-6)
    assert gaze[0, 0] > 0.7


# --------------------------------------------------------------------------------------------- action units
LIDS_UP, LIDS_LOW = (159, 158, 160, 386, 385, 387), (145, 153, 144, 374, 380, 373)
BROWS_INNER, BROWS_OUTER = (107, 55, 336, 285), (70, 46, 300, 276)
LOWER_LIP_AND_CHIN = (14, 17, 84, 314, 181, 405, 87, 317, 152, 148, 377, 149, 378)
EXPRESSIONS: dict[str, list[tuple[tuple[int, ...], tuple[float, float, float]]]] = {
    "AU01_mesh": [(BROWS_INNER, (0, -5, 0))],
    "AU02_mesh": [(BROWS_OUTER, (0, -5, 0))],
    "AU10_mesh": [((37, 0, 267), (0, -3, 0))],
    "AU12_mesh": [((61,), (-6, -6, 0)), ((291,), (6, -6, 0))],
    "AU15_mesh": [((61, 291), (0, 5, 0))],
    "AU17_mesh": [((17,), (0, -4, 0))],
    "AU20_mesh": [((61,), (-6, 0, 0)), ((291,), (6, 0, 0))],
    "AU25_mesh": [((14,), (0, 4, 0)), ((13,), (0, -2, 0))],
    "AU26_mesh": [(LOWER_LIP_AND_CHIN, (0, 12, 0))],
    "AU45_mesh": [(LIDS_UP, (0, 6, 0))],
}


def expression(name: str) -> np.ndarray:
    face = CANONICAL.copy()
    for points, by in EXPRESSIONS[name]:
        face[rows(points)] += by
    return face


def test_canonical_face_has_no_action_unit() -> None:
    np.testing.assert_allclose(action_units(CANONICAL[None]), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_an_expression_raises_its_action_unit(name: str) -> None:
    estimates = dict(zip(ACTION_UNITS, action_units(expression(name)[None])[0], strict=True))
    assert estimates[name] > 0.02, estimates
    # nothing that lies elsewhere in the face takes part
    eyes, mouth = (
        ("AU01", "AU02", "AU45"),
        ("AU10", "AU12", "AU15", "AU17", "AU20", "AU25", "AU26"),
    )
    elsewhere = mouth if name.startswith(eyes) else eyes
    assert all(abs(value) < 1e-9 for other, value in estimates.items() if other.startswith(elsewhere))


def test_known_sizes_of_action_units() -> None:
    eye_distance = np.linalg.norm(np.diff(CANONICAL[rows((33, 263))], axis=0))
    smile = dict(zip(ACTION_UNITS, action_units(expression("AU12_mesh")[None])[0], strict=True))
    assert smile["AU12_mesh"] == pytest.approx(np.hypot(6, 6) / eye_distance, rel=1e-6)
    assert smile["AU15_mesh"] == pytest.approx(-6 / eye_distance, rel=1e-6)
    assert smile["AU20_mesh"] == pytest.approx(6 / eye_distance, rel=1e-6)


@pytest.mark.parametrize("name", ["AU01_mesh", "AU12_mesh", "AU26_mesh"])
def test_action_units_ignore_motion_and_size(name: str) -> None:
    face = expression(name)
    elsewhere = 0.37 * face @ rotation(30, -50, 70).T + (10, 20, 900)
    np.testing.assert_allclose(action_units(elsewhere[None]), action_units(face[None]), atol=1e-9)
    np.testing.assert_allclose(align(elsewhere[None]), align(face[None]), atol=1e-9)


def test_shut_eyes_raise_no_brow() -> None:
    """The mesh of a blink: lids meet, outer eye corners sink by 2 mm, inner ones rise by 1 (measured)."""
    face = CANONICAL.copy()
    for points, by in (((33, 263), 2), ((133, 362), -1), (LIDS_UP, 6)):
        face[rows(points), 1] += by
    estimates = dict(zip(ACTION_UNITS, action_units(face[None])[0], strict=True))
    assert estimates.pop("AU45_mesh") > 0.05
    assert max(map(abs, estimates.values())) < 1e-9


@pytest.mark.parametrize("axis", ["rx", "ry", "rz"])
@pytest.mark.parametrize("angle", [-15, 15])
def test_a_turn_moves_no_action_unit_of_another_person(axis: str, angle: int) -> None:
    """Other people than the canonical face: their pose is a little wrong, and other wrong when they turn."""
    random = np.random.default_rng(0)
    people = [expression(name) + random.normal(0, 2, CANONICAL.shape) for name in ACTION_UNITS]
    straight, turned = (
        np.concatenate([project(face, turn, (30, -20, 500)) for face in people])
        for turn in (np.eye(3), rotation(**{axis: angle}))
    )
    units = [column(describe(mesh, CAMERA), *ACTION_UNITS) for mesh in (straight, turned)]
    assert (np.abs(units[1] - units[0]).max(0) < 0.1 * np.array(list(RANGES.values()))).all()


@pytest.mark.parametrize("angles", [(0, 0, 0), (15, 0, 0), (0, 30, 0), (0, 0, 45), (-10, -25, 10)])
def test_turning_the_head_fakes_no_action_unit(angles: tuple[int, int, int]) -> None:
    table = describe(project(expression("AU12_mesh"), rotation(*angles), (50, 20, 600)), CAMERA)
    np.testing.assert_allclose(
        column(table, *ACTION_UNITS)[0], action_units(expression("AU12_mesh")[None])[0], atol=0.002
    )


def test_rows_do_not_depend_on_their_neighbours() -> None:
    meshes = np.concatenate(
        [
            project(expression(name), rotation(5 * i, -3 * i, i), (i, 0, 600))
            for i, name in enumerate(ACTION_UNITS)
        ]
    )
    together = describe(meshes, CAMERA)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    for i in range(len(meshes)):
        np.testing.assert_allclose(describe(meshes[i : i + 1], CAMERA)[0], together[i], atol=1e-4)
