"""A stand-in for py-feat that has its real columns, as if installed."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from pipeline.features.registry import build_encoder
from pipeline.features.visual.pyfeat import PyFeat
from pipeline.params.encoders import PyFeatParams as Params
from pipeline.params.params import MediaLimits

V1_COMMITS = {
    "retinaface_r34": "c1",
    "mobilefacenet": "c2",
    "pose_mlp_v2": "c3",
    "xgb_au": "c4",
    "resmasknet": "c5",
    "l2cs": "c6",
}

OPENED_LATE = {
    "pose_mlp_v2": ("pose_mlp_v2.safetensors", "pose_mlp_v2.json"),
    "bs_to_au": ("bs_to_au_pls_v2.npz",),
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


def forget() -> None:
    """Let the next import find what is on the path then."""
    for name in [name for name in sys.modules if name.split(".")[0] == "feat"]:
        del sys.modules[name]


def build(name: str = "pyfeat", **params: Any) -> PyFeat:
    encoder = build_encoder("visual", name, Params(**params), MediaLimits())
    assert isinstance(encoder, PyFeat)
    return encoder


def faces_by_frame(monkeypatch: pytest.MonkeyPatch, faces: list[list[tuple[float, float, float]]]) -> Any:
    """The stand-in finds these boxes (x, y, side), frame after frame."""
    package = importlib.import_module("feat")
    todo = iter(faces)
    monkeypatch.setattr(package, "FACES", lambda image: next(todo))
    return package
