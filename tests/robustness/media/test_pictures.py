"""Blur, low resolution and occlusion against other libraries and the protocol's known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pipeline.robustness.media.pictures import BANDS, Box, blurred, coarse, covered, kernel
from pipeline.robustness.streams import stream

NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


@pytest.mark.parametrize(("sigma", "centre"), [(2, 0.039870), (4, 0.009982), (8, 0.002498)])
def test_an_impulse_shows_the_kernel(sigma: float, centre: float) -> None:
    weights = np.outer(kernel(sigma), kernel(sigma))
    assert weights.shape == (2 * 3 * sigma + 1,) * 2
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights[3 * sigma, 3 * sigma] == weights.max() == pytest.approx(centre, abs=1e-6)


@pytest.mark.parametrize("sigma", [2, 4, 8, 16])
def test_blur_is_scipys_at_480_lines_and_half_of_it_at_240(sigma: float) -> None:
    """Borders too: scipy calls the same reflection `mirror`."""
    reach = int(np.ceil(3 * sigma / 2))
    expected = gaussian_filter(
        NOISE.astype(np.float64), (sigma / 2, sigma / 2, 0), mode="mirror", radius=(reach, reach, 0)
    )
    assert np.abs(blurred(NOISE, sigma) - expected).max() < 0.501  # the rounding


def test_low_resolution_of_a_checkerboard_and_of_one_grey() -> None:
    board = np.indices((64, 96)).sum(axis=0) % 2 * 255
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    for factor in (2, 4):
        assert (coarse(board, factor) == 128).all()
    grey = np.full((50, 70, 3), 77, np.uint8)
    for factor in (2, 4, 8, 16, 1000):
        assert np.array_equal(coarse(grey, factor), grey)


def test_low_resolution_holds_no_more_than_the_averages_of_its_blocks() -> None:
    found = coarse(NOISE, 16).astype(float)
    blocks = NOISE.reshape(15, 16, 20, 16, 3).mean(axis=(1, 3))
    # the middle of four pixels in the middle of each block
    middles = np.stack([found[y::16, x::16] for y in (7, 8) for x in (7, 8)]).mean(axis=0)
    near = np.abs(middles - blocks)  # pixels beside the middle lie 1/32 of a block from it
    assert near.max() < 5 and near.mean() < 1
    assert np.array_equal(coarse(NOISE, 1), NOISE)


def test_no_blur_is_the_limit() -> None:
    assert np.array_equal(blurred(NOISE, 1e-3), NOISE)


@pytest.mark.parametrize(
    ("share", "size"), [(0.10, (32, 38)), (0.25, (50, 60)), (0.50, (71, 85)), (1.0, (100, 120))]
)
def test_the_occluded_part_has_the_shape_of_the_face(share: float, size: tuple[int, int]) -> None:
    part = Box(0, 0, 100, 120).part(share, 0.999, 0.999)
    assert (part.width, part.height) == size
    assert (part.left + part.width, part.top + part.height) == (100, 120)  # the last place there is


def test_the_place_of_the_occlusion_is_keyed() -> None:
    across, down = stream("occlude", "mosi", "test", "03bSnISJMiM$_$1", "video", 0).random(2)
    assert (across, down) == (pytest.approx(0.154900, abs=1e-6), pytest.approx(0.782625, abs=1e-6))
    assert Box(10, 20, 100, 120).part(0.25, across, down) == Box(17, 67, 50, 60)


def test_bands_lie_where_eyes_and_mouth_are() -> None:
    box = Box(10, 20, 100, 120)
    assert box.band(*BANDS["eyes"]) == Box(10, 44, 100, 36)
    assert box.band(*BANDS["mouth"]) == Box(10, 92, 100, 42)


def test_a_box_holds_its_points_and_no_more_within_the_picture() -> None:
    points = np.array([[10.2, 5.0], [30.7, 44.1], [-3.0, 20.0]])
    assert Box.around(points, 320, 240) == Box(0, 5, 31, 40)
    assert Box.around(points, 20, 240) == Box(0, 5, 20, 40)
    assert Box.around(points - 100, 320, 240) is None


def test_covered_pixels_are_black_and_the_others_as_they_were() -> None:
    found = covered(NOISE, Box(3, 5, 7, 11))
    changed = np.zeros(NOISE.shape[:2], bool)
    changed[5:16, 3:10] = True
    assert not found[changed].any()
    assert np.array_equal(found[~changed], NOISE[~changed])
