"""Faces in a clip of the sample corpus: where they are, and what the mesh sees of pictures from memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.params.params import Params
from pipeline.robustness.conditions import Condition
from pipeline.robustness.media.decoded import DecodedClip
from pipeline.robustness.media.extract import SpoilingTask, spoilt_rows
from pipeline.robustness.media.faces import FaceBoxes, boxes_of
from pipeline.robustness.media.spoil import SpoiltClip

PARAMS = Params()


@pytest.fixture(scope="module")
def clip(project: Path) -> Clip:
    path = project / "data" / "sample" / "Raw" / "video_0006" / "0001.mp4"
    return Clip("video_0006$_$0001", path, None, 0.6)


def test_boxes_lie_around_the_landmarks_and_features_from_memory_are_the_files(clip: Clip) -> None:
    mesh = build_encoder("visual", "facemesh", PARAMS.encoder("visual", "facemesh"), PARAMS.media)
    clean = mesh.encode(clip)
    decoded = DecodedClip(clip, PARAMS.media)
    same = mesh.encode(decoded.with_pictures(lambda images: images))
    assert same.times is not None and clean.times is not None
    assert np.array_equal(same.features, clean.features) and np.array_equal(same.times, clean.times)

    boxes = boxes_of(FaceBoxes(PARAMS.media).encode(clip).features)
    assert len(boxes) == len(clean.features)
    columns = mesh.column_names
    for of_frame, box in zip(clean.features, boxes, strict=True):
        assert box is not None
        x, y = (of_frame[[columns.index(f"{axis}_{i}") for i in range(68)]] for axis in "xy")
        assert box.left <= x.min() and x.max() <= box.left + box.width
        assert box.top <= y.min() and y.max() <= box.top + box.height
        assert np.ptp(x) > 0.7 * box.width and np.ptp(y) > 0.6 * box.height  # the mesh has a forehead too

    task = SpoilingTask(SpoiltClip(clip, "set", "test", tuple(boxes)))
    task.rows = {
        "half": (Condition("occlude", "visual", 0.5, 0), ""),
        "all": (Condition("occlude", "visual", 1.0, 0), ""),
    }
    half, everything = spoilt_rows(mesh, lambda clip: np.zeros(1), task)
    assert half.features is not None and everything.features is not None
    assert not np.array_equal(half.features, clean.features)
    success = columns.index("success")
    assert everything.features[:, success].mean() < clean.features[:, success].mean() == 1
