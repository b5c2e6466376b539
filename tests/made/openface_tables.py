"""Made-up tables of OpenFace 2; their columns are counted out here by hand, not taken from layout.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

UNITS = "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 45".split()  # noqa: SIM905
EYES = range(56)
FACE = range(68)

GAZE_6 = "gaze_0_x gaze_0_y gaze_0_z gaze_1_x gaze_1_y gaze_1_z".split()  # noqa: SIM905
POSE = "pose_Tx pose_Ty pose_Tz pose_Rx pose_Ry pose_Rz".split()  # noqa: SIM905
LANDMARKS = [f"{axis}_{i}" for axis in "xyXYZ" for i in FACE]
SHAPE = "p_scale p_rx p_ry p_rz p_tx p_ty".split() + [f"p_{i}" for i in range(34)]  # noqa: SIM905
AUS = [f"AU{unit}_r" for unit in UNITS] + sorted(f"AU{unit}_c" for unit in [*UNITS, "28"])

FULL = [
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *GAZE_6,
    *("gaze_angle_x", "gaze_angle_y"),
    *(f"eye_lmk_{axis}_{i}" for axis in "xy" for i in EYES),
    *(f"eye_lmk_{axis}_{i}" for axis in "XYZ" for i in EYES),
    *POSE,
    *LANDMARKS,
    *SHAPE,
    *AUS,
]
"""714 columns, OpenFace 2.2 with all its outputs"""
OLD = ["frame", "timestamp", "confidence", "success", *GAZE_6, *POSE, *LANDMARKS, *SHAPE, *AUS]
"""431 columns, without face_id, gaze_angle and eye landmarks"""

Row = dict[str, float | str]


def number(name: str, frame: int) -> float:
    """A made-up value that says which column and which frame it is of."""
    return FULL.index(name) + frame / 1000


def row(frame: int, fps: float = 25.0, **changed: float | str) -> Row:
    """All 714 values of one good frame; the first is number 1, at 0 s."""
    values: Row = {name: number(name, frame) for name in FULL}
    index: Row = {
        "frame": frame,
        "face_id": 0,
        "timestamp": f"{(frame - 1) / fps:.3f}",
        "confidence": 0.98,
        "success": 1,
    }
    return {**values, **index, **changed}


def write(
    path: Path,
    rows: Iterable[Row],
    columns: list[str] = FULL,
    separator: str = ", ",
    damage: Callable[[str], str] = lambda text: text,
) -> Path:
    """A table of these columns; `damage` may change its text before it is written."""
    lines = [separator.join(columns), *(separator.join(str(row[name]) for name in columns) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(damage("\n".join(lines) + "\n"), encoding="utf-8")
    return path
