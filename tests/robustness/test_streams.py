"""Corruption draws are those of the published protocol's known answers."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.robustness.streams import stream

CLIP = ("mosi", "test", "03bSnISJMiM$_$1")


@pytest.mark.parametrize(
    ("modality", "expected"),
    [
        (
            "audio",
            [
                0.473481,
                0.026311,
                0.211901,
                0.544253,
                0.886288,
                0.809040,
                0.774840,
                0.641713,
                0.759015,
                0.012201,
            ],
        ),
        ("vision", [0.071202, 0.258548, 0.036061, 0.953700]),
    ],
)
def test_uniforms_of_frames(modality: str, expected: list[float]) -> None:
    drawn = stream("frames", *CLIP, modality, 0).random(len(expected))
    np.testing.assert_allclose(drawn, expected, atol=5e-7)


def test_values_have_a_stream_of_their_own() -> None:
    gauss = stream("gauss", *CLIP, "audio", 0).standard_normal((2, 3))
    laplace = stream("laplace", *CLIP, "audio", 0).laplace(0.0, 0.5**0.5, (2, 3))
    np.testing.assert_allclose(
        gauss, [[-0.986134, -0.137657, 0.010682], [-1.642924, -0.972256, -0.626242]], atol=5e-7
    )
    np.testing.assert_allclose(
        laplace, [[-0.820400, 1.127297, -1.266785], [0.224263, 0.406529, 0.448353]], atol=5e-7
    )


def test_every_part_of_the_name_counts() -> None:
    name = ("frames", *CLIP, "audio", 0)
    others = [("gauss", *name[1:]), (*name[:3], "2", *name[4:]), (*name[:4], "visual", 0), (*name[:5], 1)]
    first = {float(stream(*other).random()) for other in (name, *others)}  # type: ignore[arg-type]
    assert len(first) == 5
