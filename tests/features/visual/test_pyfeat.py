"""py-feat as an encoder, with a stand-in for the package that has its real columns, as if installed."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made.media_factory import make_clip
from reference.rotations import about_x, about_y, about_z, openface_matrix

from pipeline.core.errors import AbsentError, MissingDependencyError, MissingModelError, ParamsError
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.visual.face.canonical import LANDMARKS_68
from pipeline.features.visual.pyfeat import PyFeat, gaze_angles, largest_faces, rotation_angles
from pipeline.params.encoders import PyFeatParams as Params
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()
UNITS = "01 02 04 05 06 07 09 10 11 12 14 15 17 20 23 24 25 26 28 43".split()  # noqa: SIM905
EMOTIONS = "anger disgust fear happiness sadness surprise neutral".split()  # noqa: SIM905
V1_COMMITS = {
    "retinaface_r34": "c1",
    "mobilefacenet": "c2",
    "pose_mlp_v2": "c3",
    "xgb_au": "c4",
    "resmasknet": "c5",
    "l2cs": "c6",
}

# A face wherever a pixel is very bright, as large as its value says; every number tells of its column.
PACKAGE = """
import os
if "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
import sys
import numpy as np, pandas as pd
CALLS, MADE = [], []
class Stand:
    landmarks = [f"{a}_{i}" for a in "xy" for i in range(68)]
    emotions = "anger disgust fear happiness sadness surprise neutral".split()
    more = []
    def __init__(self, device="cpu", **parts):
        MADE.append((type(self).__name__, str(device), parts))
    def detect(self, inputs, data_type="image", batch_size=1, progress_bar=True, **rest):
        assert data_type == "tensor" and inputs.shape[1] == 3 and str(inputs.dtype) == "torch.uint8", inputs
        CALLS.append((tuple(inputs.shape), batch_size, progress_bar, rest))
        sys.stderr.write("100%|####|")
        rows = []
        for i, image in enumerate(inputs.numpy()):
            faces = FACES(image)
            for k, (x, y, side) in enumerate(faces or [(np.nan, np.nan, np.nan)]):
                row = {"FaceRectX": x, "FaceRectY": y, "FaceRectWidth": side, "FaceRectHeight": side}
                row["FaceScore"] = 0.9 + k / 100 if faces else 0.0
                for j, name in enumerate(self.names()):
                    row[name] = (j + 1) / 1000 + k if faces else np.nan
                rows.append({**row, "input": "tensor", "frame": i, "FrameHeight": 1.0, "FrameWidth": 1.0})
        return pd.DataFrame(rows)
    def names(self):
        numbers = 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43
        units = [f"AU{n:02d}" for n in numbers]
        return [*self.landmarks, "Pitch", "Roll", "Yaw", "X", "Y", "Z", *units, *self.emotions,
                "gaze_pitch", "gaze_yaw", "gaze_angle", *self.more, "Identity"]
def FACES(image):
    return []
class Detectorv1(Stand):
    pass
class Detectorv2(Stand):
    emotions = "Neutral Happy Sad Surprise Fear Disgust Anger".split()
    more = ["valence", "arousal", *(f"mesh_{a}_{i}" for a in "xyz" for i in range(478))]
"""
MP = """
from feat import Stand
class MPDetector(Stand):
    landmarks = [f"{a}_{i}" for i in range(478) for a in "xyz"]
"""


@pytest.fixture
def feat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in's folder, first on the path; the process forgets it afterwards."""
    folder = tmp_path / "site" / "feat"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "MPDetector.py").write_text(MP)
    for name, number in (("py_feat", "2.1.5"), ("torchvision", "0.28.0")):
        info = folder.parent / f"{name}-{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {number}\n"
        )
    for name, commit in {
        **V1_COMMITS,
        **dict.fromkeys(("face_multitask_v2", "mp_facemesh_v2", "mp_blendshapes", "bs_to_au"), "c9"),
    }.items():
        reference = folder / "resources" / f"models--py-feat--{name}" / "refs" / "main"
        reference.parent.mkdir(parents=True)
        reference.write_text(commit)
    monkeypatch.syspath_prepend(str(folder.parent))
    forget()
    yield folder
    forget()


def forget() -> None:
    """Let the next import find what is on the path then."""
    for name in [name for name in sys.modules if name.split(".")[0] == "feat"]:
        del sys.modules[name]


def build(name: str = "pyfeat", **params: Any) -> PyFeat:
    encoder = build_encoder("visual", name, Params(**params), LIMITS)
    assert isinstance(encoder, PyFeat)
    return encoder


def faces_by_frame(monkeypatch: pytest.MonkeyPatch, faces: list[list[tuple[float, float, float]]]) -> Any:
    """The stand-in finds these boxes (x, y, side), frame after frame."""
    package = importlib.import_module("feat")
    todo = iter(faces)
    monkeypatch.setattr(package, "FACES", lambda image: next(todo))
    return package


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Five frames of 64 x 48, 0.2 s apart."""
    return Clip("clip", make_clip(tmp_path / "clip.mkv", times=[i / 5 for i in range(5)]))


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


# --------------------------------------------------------------------------------------- what may be missing
def test_only_the_asked_nets_are_loaded(feat: Path) -> None:
    package = importlib.import_module("feat")
    for groups in (["pose"], ["aus", "emotions"], ["gaze"]):
        build(groups=groups).load()
    nets = {"identity_model": None, "gaze_model": None, "emotion_model": None, "au_model": None}
    assert [
        ("Detectorv1", "cpu", nets),
        ("Detectorv1", "cpu", {**nets, "au_model": "xgb", "emotion_model": "resmasknet"}),
        ("Detectorv1", "cpu", {**nets, "gaze_model": "l2cs"}),
    ] == package.MADE


def test_identity_and_fingerprint(feat: Path) -> None:
    encoder = build(groups=["aus", "pose"])
    assert encoder.model_identity == (
        "py-feat/retinaface_r34@c1 py-feat/mobilefacenet@c2 py-feat/pose_mlp_v2@c3 py-feat/xgb_au@c4"
    )
    before = encoder.fingerprint
    assert encoder.provenance["libraries"]["py-feat"] == "2.1.5"
    assert "feat" not in {name.split(".")[0] for name in sys.modules}  # nothing heavy is imported for it
    (feat / "resources/models--py-feat--resmasknet/refs/main").write_text("new")
    assert encoder.fingerprint == before  # not one of its nets
    (feat / "resources/models--py-feat--xgb_au/refs/main").write_text("new")
    assert encoder.fingerprint != before


def test_missing_weights_name_the_repositories(feat: Path) -> None:
    for name in ("l2cs", "xgb_au"):
        (feat / f"resources/models--py-feat--{name}/refs/main").unlink()
    encoder = build("mine")
    for ask in (encoder.load, lambda: encoder.fingerprint):
        with pytest.raises(MissingModelError) as caught:
            ask()
        message = str(caught.value)
        assert "'mine' needs weights that are not on this machine: py-feat/xgb_au, py-feat/l2cs." in message
        assert f"`hf download NAME --cache-dir {feat / 'resources'}`" in message
    build(groups=["pose"]).load()  # does not need them


def test_weights_that_do_not_load(feat: Path) -> None:
    with open(feat / "__init__.py", "a") as file:
        file.write(
            textwrap.dedent("""
            def broken(self, **parts):
                raise OSError("no such file: model.safetensors")
            Stand.__init__ = broken
        """)
        )
    with pytest.raises(MissingModelError, match=r"retinaface_r34@c1 .*no such file: model\.safetensors"):
        build().load()


def test_weights_that_change_while_they_load(feat: Path) -> None:
    reference = feat / "resources/models--py-feat--l2cs/refs/main"
    with open(feat / "__init__.py", "a") as file:
        file.write(f"\nStand.__init__ = lambda self, **_: print('new', file=open({str(reference)!r}, 'w'))\n")
    with pytest.raises(MissingModelError, match="fetched newer weights while it loaded; run it again"):
        build().load()


@pytest.mark.parametrize(
    "trap",
    [
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "raise OSError('libtorchcodec.so: cannot open shared object file')",
        "import a_module_that_is_not_there",
        "del Detectorv1, Detectorv2",  # py-feat 0.6
    ],
)
def test_an_import_that_fails_says_the_way_out(feat: Path, trap: str) -> None:
    with open(feat / "__init__.py", "a") as file:
        file.write(f"\n{trap}\n")
    with pytest.raises(MissingDependencyError, match=r"msa-pipeline\[pyfeat\].* torchcodec 0\.13"):
        build().load()


def test_an_import_that_fails_is_told_before_weights_that_are_missing(feat: Path) -> None:
    (feat / "resources/models--py-feat--l2cs/refs/main").unlink()
    (feat / "__init__.py").write_text("raise OSError('libtorchcodec.so: cannot open shared object file')")
    with pytest.raises(MissingDependencyError, match=r"cannot be imported: libtorchcodec\.so"):
        build().load()


def test_versions_that_turn_pitch_the_other_way(feat: Path) -> None:
    (feat.parent / "py_feat-2.1.5.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: py-feat\nVersion: 2.1.1\n"
    )
    with pytest.raises(MissingDependencyError, match=r"py-feat 2\.1\.1 .* opposite sign; expected 2\.1\.2"):
        build().load()


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (build().load, lambda: build().fingerprint):
        with pytest.raises(
            MissingDependencyError, match=r"needs py-feat, which is not installed; .*\[pyfeat\]"
        ):
            ask()


def test_other_columns_than_we_know(feat: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    package = faces_by_frame(monkeypatch, [[(1, 1, 9)]] * 5)
    monkeypatch.setattr(package.Stand, "names", lambda self: ["Pitch"])
    with pytest.raises(MissingDependencyError, match=r"py-feat 2\.1\.5 gives other columns than 2\.1"):
        build().encode(clip)


def test_its_import_leaves_no_trace(
    feat: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    capfd.readouterr()
    build().encode(clip)
    assert "OMP_NUM_THREADS" not in os.environ
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("variable", ["FEAT_MULTITASK_WEIGHTS", "FEAT_POSE_MLP_PATH"])
def test_weights_by_the_back_door(feat: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "/some/weights")
    with pytest.raises(ParamsError, match=f"{variable} puts other weights in place"):
        build().load()


def test_what_it_is_not_given(feat: Path) -> None:
    with pytest.raises(AbsentError):
        build().encode(Clip("text only"))


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
