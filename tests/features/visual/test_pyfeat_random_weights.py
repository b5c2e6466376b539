"""py-feat's real classes, with random weights, behind our adapter: columns, units and angles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made.pyfeat_package import build

from pipeline.features.encoder import Clip

pytestmark = pytest.mark.shared

BOX = [230.0, 60.0, 410.0, 290.0, 0.9]  # about the face of the clip: x, y, x, y, score
FRAMES = 3


@pytest.fixture(scope="module")
def weights(shared: Path) -> Iterator[None]:
    """Random weights where py-feat looks for its own, for as long as these tests run."""
    feat = pytest.importorskip("feat", exc_type=ImportError, reason="needs the extra pyfeat")
    resources = Path(feat.__file__).parent / "resources"
    if found := sorted(resources.glob("models--py-feat--*")):
        pytest.skip(f"py-feat has weights of its own here, which stay: {found[0]}")
    script = shared / "real_models/pyfeat_random_weights.py"
    try:
        subprocess.run(
            [sys.executable, script],
            check=True,
            capture_output=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        yield
    finally:
        for folder in resources.glob("models--py-feat--*"):
            shutil.rmtree(folder)


@pytest.mark.parametrize("detector", ["v1", "v2", "mp"])
def test_real_classes(weights: None, shared: Path, detector: str) -> None:
    encoder = build(detector=detector, fps=1)
    encoder.load()
    found = {"v1": "facepose_detector"}.get(detector, "face_detector")
    setattr(encoder._detector, found, lambda images: [[BOX]] * len(images))  # random nets find no face
    clip = Clip("clip", shared / "clips/pyfeat/single_face.mp4", start_s=0.0, end_s=float(FRAMES))
    first, second = encoder.encode(clip), encoder.encode(clip)
    assert first.features.tobytes() == second.features.tobytes()
    assert first.features.shape == (FRAMES, encoder.dim) and np.isfinite(first.features).all()
    names = encoder.column_names
    column = {name: first.features[:, names.index(name)] for name in names}
    assert (column["success"] == 1).all() and np.allclose(column["confidence"], 0.9)
    # pixels of the original frame: random landmarks lie in the box that a net sees, enlarged
    x, y = (np.stack([column[f"{axis}_{point}"] for point in range(68)]) for axis in "xy")
    assert x.min() > -200 and x.max() < 840 and y.min() > -200 and y.max() < 560
    angles = np.stack([column[name] for name in names if name.startswith(("pose_R", "gaze_angle"))])
    assert np.abs(angles).max() <= np.pi and np.abs(angles).max() > 0  # radians
    units = np.stack([column[name] for name in names if name.startswith("AU")])
    emotions = np.stack([column[f"emotion_{name}"] for name in ("anger", "happiness", "neutral")])
    assert units.min() >= 0 and units.max() <= 1.0001 and emotions.min() >= 0 and emotions.max() <= 1


def test_gradients_stay_on(weights: None) -> None:
    import torch

    build(detector="v1").load()
    assert torch.is_grad_enabled()
