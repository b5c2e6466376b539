"""Aligned crops: the eyes lie where the template says, whatever the face's place, size and turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer
from pipeline.features.visual.face import mesh
from pipeline.features.visual.face.canonical import CANONICAL, rows
from pipeline.features.visual.facecrops import TEMPLATE, FaceCrops, crop, placement
from pipeline.media.decode import Frame, frames
from pipeline.params.encoders import FaceCropsParams as Params
from pipeline.params.encoders import FaceMeshParams as MeshParams
from pipeline.params.params import MediaLimits
from pipeline.store.shard import read_rows, write_rows

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")

LIMITS = MediaLimits()
# ArcFace's five points at 112 pixels: right eye, left eye, nose tip, corners of the mouth
ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def build(**params: Any) -> FaceCrops:
    encoder = build_encoder("visual", "facecrops", Params(**params), LIMITS)
    assert isinstance(encoder, FaceCrops)
    encoder.load()
    return encoder


@pytest.fixture(scope="module")
def encoder() -> FaceCrops:
    return build()


def encode_images(encoder: Any, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Encoded:
    """Features of pictures that were never in a file."""

    def pictures(*_: object, **__: object) -> Iterator[Frame]:
        return (Frame(np.ascontiguousarray(image), i / 25, 1.0) for i, image in enumerate(images))

    monkeypatch.setattr(mesh, "clip_frames", pictures)
    encoded = encoder.encode(Clip("clip", Path("pictures")))
    monkeypatch.undo()
    return encoded


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    from skimage.data import astronaut as picture

    return np.asarray(picture())


# -------------------------------------------------------------------------------------------------- geometry
def test_the_template_is_arcfaces() -> None:
    np.testing.assert_allclose(TEMPLATE[:2].mean(0) * 112, ARCFACE[:2].mean(0), atol=0.2)
    np.testing.assert_allclose(np.ptp(TEMPLATE[:2, 0]) * 112, np.ptp(ARCFACE[:2, 0]), atol=0.1)
    # the rest of the canonical face follows: its nose's base is the template's, its mouth is ArcFace's
    face = CANONICAL[rows((33, 133, 362, 263, 2, 61, 291)), :2]
    eyes = face[:4].reshape(2, 2, 2).mean(1)
    matrix = placement(np.concatenate([eyes, face[4:5]]), 112)
    seen = np.concatenate([eyes, face[4:]]) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(seen[:3], TEMPLATE * 112, atol=0.05)
    np.testing.assert_allclose(seen[3:].mean(0), ARCFACE[3:].mean(0), atol=0.5)


@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_a_moved_template_is_found_again(degrees: float, scale: float) -> None:
    turn = np.radians(degrees)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = placement(TEMPLATE * 64 @ rotation.T + (20, -30), 64)
    np.testing.assert_allclose(matrix[:, :2] @ rotation, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(matrix[:, :2] @ (20, -30) + matrix[:, 2], 0, atol=1e-9)


def test_a_face_is_never_mirrored_or_sheared() -> None:
    points = np.random.default_rng(0).normal(size=(3, 2)) * 40
    (a, b), (c, d) = placement(points, 112)[:, :2]
    assert (a, b) == (d, -c)
    assert a * d - b * c > 0


@pytest.mark.parametrize("zoom", [1, 2, 3, 5, 8])
def test_dots_at_the_anchors_come_to_the_template(zoom: int) -> None:
    """Discs at the three points of a picture are at their places in the crop, to a tenth of a pixel."""
    points = TEMPLATE * 112 * zoom + (13.3, 7.7)
    image = np.zeros((140 * zoom, 150 * zoom, 3), np.uint8)
    y, x = np.mgrid[: len(image), : image.shape[1]] + 0.5  # middles of the pixels
    for channel, (at_x, at_y) in enumerate(points):
        image[np.hypot(x - at_x, y - at_y) < 3.5 * zoom, channel] = 255
    picture = np.frombuffer(crop(image, points, 112), np.uint8).reshape(112, 112, 3).astype(float)
    y, x = np.mgrid[:112, :112] + 0.5
    for channel, expected in enumerate(TEMPLATE * 112):
        weight = picture[..., channel] / picture[..., channel].sum()
        np.testing.assert_allclose([(weight * x).sum(), (weight * y).sum()], expected, atol=0.1)


def test_a_fine_grid_does_not_alias() -> None:
    image = np.zeros((900, 900, 3), np.uint8)
    image[::2] = 255
    inner = np.frombuffer(crop(image, TEMPLATE * 900, 100), np.uint8).reshape(100, 100, 3)[5:-5, 5:-5]
    assert np.abs(inner.astype(int) - 127).max() <= 15  # grey, not stripes


# --------------------------------------------------------------------------------------------------- encoder
def test_frames_and_their_colours(
    encoder: FaceCrops, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = astronaut.copy()
    hidden[:300] = 128
    encoded = encode_images(encoder, [astronaut] * 3 + [hidden] * 2, monkeypatch)
    assert encoder.dim == 112 * 112 * 3 == len(encoder.column_names) == len(set(encoder.column_names))
    assert encoder.column_names[1] == "px_1"
    assert encoded.features.shape == (5, encoder.dim)
    assert encoded.features.dtype == np.uint8 == np.dtype(encoder.dtype)
    assert encoded.note == "no face in 2 of 5 frames"
    assert not encoded.features[3:].any()
    picture = encoded.features[0].reshape(112, 112, 3).astype(int)
    cheek = picture[70:78, 36:42].mean((0, 1))
    assert cheek[0] > cheek[1] > cheek[2] > 60  # skin is more red than green than blue


def test_what_is_outside_is_black(
    encoder: FaceCrops, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = encode_images(encoder, [astronaut[60:]], monkeypatch)
    picture = encoded.features[0].reshape(112, 112, 3)
    assert not picture[0].any() and picture[60].any()


def test_settings(astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    small = build(size=32, fps=5)
    assert small.dim == 32 * 32 * 3 and small.frame_rate == 5
    assert small.fingerprint != build(size=48, fps=5).fingerprint
    assert len(small.model_identity) == 64
    large = encode_images(build(size=128), [astronaut] * 2, monkeypatch).features[1].reshape(128, 128, 3)
    averaged = large.reshape(32, 4, 32, 4, 3).mean((1, 3))
    seen = encode_images(small, [astronaut] * 2, monkeypatch).features[1].reshape(32, 32, 3)
    assert np.abs(seen - averaged).mean() < 8  # the same picture, smaller


def test_a_file_holds_bytes(
    encoder: FaceCrops, astronaut: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [astronaut] * 4
    monkeypatch.setattr(
        mesh, "clip_frames", lambda *_, **__: (Frame(image, i / 25, 1.0) for i, image in enumerate(images))
    )
    row = encode_row(encoder, EncodingTask(Clip("clip", tmp_path), "source"))
    write_rows(tmp_path / "shard-000.parquet", [row], footer(encoder))
    read = read_rows(tmp_path / "shard-000.parquet")
    assert row.features is not None and read.rows["clip"].features is not None
    assert read.rows["clip"].features.dtype == np.uint8
    np.testing.assert_array_equal(read.rows["clip"].features, row.features)
    assert read.meta["column_names"] == encoder.column_names
    assert (tmp_path / "shard-000.parquet").stat().st_size < row.features.nbytes + 1_300_000


# ---------------------------------------------------------------------------------------- real talking heads
def eyes_and_nose(crops: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Where the face mesh finds eyes and nose in crops, shape (n, 3, 2), pixels of the crop.

    The mesh's detector wants some room around a face, so that each crop is put on a larger ground.
    """
    size, margin = crops.shape[1], 56
    padded = [np.pad(one, ((margin, margin), (margin, margin), (0, 0)), mode="edge") for one in crops]
    finder = build_encoder("visual", "facemesh", MeshParams(max_faces=1), LIMITS)
    encoded = encode_images(finder, padded, monkeypatch)
    assert encoded.features[:, 1].all(), size

    def points(*numbers: int) -> np.ndarray:
        names = [[f"{axis}_{i}" for axis in "xy"] for i in numbers]
        columns = [[finder.column_names.index(name) for name in pair] for pair in names]
        return encoded.features[:, columns].mean(1) - margin

    return np.stack([points(36, 39), points(42, 45), points(33)], axis=1)


@pytest.mark.shared
@pytest.mark.parametrize("degrees", [0, 25])
def test_eyes_lie_where_the_template_says(
    encoder: FaceCrops, shared: Path, monkeypatch: pytest.MonkeyPatch, degrees: int
) -> None:
    for name in ("bbaf2n", "swwp2s", "lbbc2a"):
        images = [f.image for f in frames(shared / "clips/grid" / f"{name}.mpg", LIMITS, end_s=1.0)]
        turn = cv2.getRotationMatrix2D((180, 144), degrees, 0.9)
        encoded = encode_images(encoder, [cv2.warpAffine(i, turn, (360, 288)) for i in images], monkeypatch)
        found = eyes_and_nose(encoded.features.reshape(-1, 112, 112, 3), monkeypatch)
        off = np.linalg.norm(found - TEMPLATE * 112, axis=-1)
        assert np.median(off[:, :2], axis=0).max() < 1.5, (name, degrees, np.median(off, axis=0))
        assert np.median(off[:, 2]) < 4.5, (name, degrees)  # who looks down has a longer nose


@pytest.mark.shared
def test_crops_and_mesh_see_the_same_face(encoder: FaceCrops, shared: Path) -> None:
    clip = Clip("clip", shared / "clips/awkward/face_lost_1s_to_2s.mp4")
    crops = encoder.encode(clip)
    finder = build_encoder("visual", "facemesh", MeshParams(), LIMITS)
    seen = finder.encode(clip)
    np.testing.assert_array_equal(crops.features.any(axis=1), seen.features[:, 1] == 1)
    assert crops.note == seen.note
    assert crops.times is not None and seen.times is not None
    np.testing.assert_array_equal(crops.times, seen.times)
    assert encoder.encode(clip).features.tobytes() == crops.features.tobytes()
