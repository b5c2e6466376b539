"""Tables that OpenFace 2.x writes: one CSV file a video, a row a face and frame.

Columns are found by name, never by place: with blanks in front of the names (old versions) and without, with
`face_id` and without, all 714 or a part of them. What is asked for must be there; only `gaze_angle_x/y`,
which the 431 columns of old versions lack, are computed from the gaze vectors as OpenFace does: with
g = gaze_0 + gaze_1 they are atan2(g_x, -g_z) and atan2(g_y, -g_z).

One row a frame comes out, in the order of the frames. Of several faces (`face_id`) the one with the most
successful frames is taken, of equal ones the lowest id; of a frame that is there twice the successful,
surer, earlier row. Every row without success is zero: OpenFace leaves there what it last had, or
`-nan(ind)`. So is a row that holds nan or inf in a column that is asked for.

Times are seconds from the beginning of the video, as OpenFace counts them: frame number / frame rate.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.openface_layout import GAZE_ANGLES, GAZE_VECTORS

MOST_BYTES = 1 << 30  # about 50 minutes of all columns at 60 frames a second
HEADER_BYTES = 1 << 16
_TAIL_BYTES = 1 << 17  # the last line is in it
INDEX = ("frame", "timestamp", "confidence", "success")
_NOT_A_NUMBER = ["nan(ind)", "-nan(ind)", "nan(snan)", "-nan(snan)", "-1.#INF", "1.#INF"]
_SLACK_S = 0.0005  # OpenFace writes milliseconds


@dataclass(frozen=True)
class TrackedFace:
    """One face in one part of a video.

    Attributes
    ----------
    times : shape (n,), float32, seconds from the beginning of that part
    values : shape (n, D), float32, the asked columns; zero in rows without success
    success : shape (n,), bool
    notes : what a reader should know
    """

    times: np.ndarray
    values: np.ndarray
    success: np.ndarray
    notes: list[str]


@dataclass(frozen=True)
class FaceTable:
    """A whole file in memory, its rows as they stand there.

    Attributes
    ----------
    name : of the file, for messages
    frame, face : shape (rows,), int64
    time_s, confidence : shape (rows,), float64
    success : shape (rows,), bool, as OpenFace says
    values : shape (rows, D), float32, the asked columns, with nan and inf
    cut_off : the last line was not complete and was left out
    """

    name: str
    frame: np.ndarray
    face: np.ndarray
    time_s: np.ndarray
    confidence: np.ndarray
    success: np.ndarray
    values: np.ndarray
    cut_off: bool

    def track(self, start_s: float | None = None, end_s: float | None = None) -> TrackedFace:
        """The face of the part [start_s, end_s) of the video, seconds; None = from the beginning, to the end.

        Raises
        ------
        ClipError : no row lies there, or time does not grow with the frames
        """
        start, end = start_s or 0.0, np.inf if end_s is None else end_s
        here = np.flatnonzero((self.time_s >= start - _SLACK_S) & (self.time_s < end - _SLACK_S))
        if not len(here):
            raise ClipError(
                f"{self.name}: no frame between {start:g} and {end:g} s; it ends at {self.time_s.max():g} s"
            )
        finite = np.isfinite(self.values[here]).all(axis=1)
        success = self.success[here] & finite
        faces, which = np.unique(self.face[here], return_inverse=True)
        successes = np.bincount(which, weights=success)
        chosen = int(np.argmax(successes))

        frames, first, row_of = np.unique(self.frame[here], return_index=True, return_inverse=True)
        times = self.time_s[here][first]
        if (back := np.flatnonzero(np.diff(times) <= 0)).size:
            raise ClipError(
                f"{self.name}: timestamps do not increase with the frames: frame {frames[back[0] + 1]} is "
                f"at {times[back[0] + 1]:g} s like the one before; was it made from images instead of a "
                "video?"
            )
        best = np.lexsort((-self.confidence[here], ~success, row_of))  # of each frame the best row first
        best = best[which[best] == chosen]
        filled, at = np.unique(row_of[best], return_index=True)
        taken = best[at]

        values = np.zeros((len(frames), self.values.shape[1]), np.float32)
        good = np.zeros(len(frames), bool)
        good[filled] = success[taken]
        values[filled] = np.where(success[taken, None], self.values[here[taken]], 0)
        notes = []
        if self.cut_off:
            notes.append(f"{self.name} is cut off: its last line was left out")
        if len(faces) > 1:
            notes.append(
                f"{len(faces)} faces; face_id {faces[chosen]} is taken, found in {int(successes[chosen])} "
                f"of {len(frames)} frames"
            )
        if twice := len(best) - len(filled):
            notes.append(f"{twice} rows repeat a frame")
        if broken := int((self.success[here] & ~finite & (which == chosen)).sum()):
            notes.append(f"nan or inf in {broken} rows")
        return TrackedFace(np.maximum(times - start, 0).astype(np.float32), values, good, notes)


def read_table(path: Path, columns: Sequence[str]) -> FaceTable:
    """The asked columns of a file, by name and in the order asked for.

    Raises
    ------
    ClipError : not there, empty, too large, not a table, lacks columns, or has no rows
    """
    import pandas as pd

    names = _header(path)
    place = {name: names.index(name) for name in reversed(names)}  # of equal names the first
    computed = [name for name in columns if name in GAZE_ANGLES and name not in place]
    sources = set(columns).difference(computed).union(GAZE_VECTORS if computed else ())
    if lacking := [name for name in (*INDEX, *columns, *sources) if name not in {*place, *computed}]:
        listed = ", ".join(dict.fromkeys(lacking[:6])) + (" ..." if len(lacking) > 6 else "")
        raise ClipError(
            f"{path.name}: {len(set(lacking))} columns are missing: {listed}; it has {len(names)}. Make it "
            "with FeatureExtraction -2Dfp -3Dfp -pdmparams -pose -aus -gaze, or choose other groups"
        )
    index = [*INDEX, *(name for name in ("face_id",) if name in place)]
    wanted = list(dict.fromkeys([*index, *sources]))
    try:
        table = pd.read_csv(
            path,
            header=None,
            skiprows=1,
            names=range(len(names)),
            usecols=[place[name] for name in wanted],
            index_col=False,
            skipinitialspace=True,
            na_values=_NOT_A_NUMBER,
            float_precision="round_trip",
            encoding_errors="replace",
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise ClipError(f"{path.name}: not an OpenFace table: {error}".splitlines()[0]) from error
    numbers = {
        name: pd.to_numeric(table[place[name]], errors="coerce").to_numpy(np.float64) for name in wanted
    }
    cut_off = _last_line(path).count(",") + 1 < len(names)
    kept = np.isfinite(numbers["frame"]) & np.isfinite(numbers["timestamp"])
    if cut_off and len(kept):
        kept[-1] = False
    if not kept.any():
        raise ClipError(f"{path.name}: an OpenFace header, but no frames")
    numbers = {name: values[kept] for name, values in numbers.items()}
    if computed:
        x, y, z = (numbers[f"gaze_0_{axis}"] + numbers[f"gaze_1_{axis}"] for axis in "xyz")
        numbers.update(gaze_angle_x=np.arctan2(x, -z), gaze_angle_y=np.arctan2(y, -z))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and its row zero
        values = np.stack([numbers[name] for name in columns], axis=1).astype(np.float32)
    return FaceTable(
        path.name,
        frame=numbers["frame"].astype(np.int64),
        face=np.nan_to_num(numbers.get("face_id", np.zeros(len(values)))).astype(np.int64),
        time_s=numbers["timestamp"],
        confidence=np.nan_to_num(numbers["confidence"]),
        success=numbers["success"] > 0.5,  # nan is no success
        values=values,
        cut_off=cut_off,
    )


def _header(path: Path) -> list[str]:
    """Names of the columns, without blanks."""
    try:
        if not path.is_file():
            raise ClipError(f"{path.name}: no such file")
        size = path.stat().st_size
        with open(path, "rb") as file:
            line = file.readline(HEADER_BYTES)
    except OSError as error:
        raise ClipError(f"{path.name}: cannot be read: {error.strerror}") from error
    if not line.strip():
        raise ClipError(f"{path.name}: the file is empty")
    if size > MOST_BYTES:
        raise ClipError(
            f"{path.name}: {size / 1e6:.0f} MB, at most {MOST_BYTES / 1e6:.0f} MB are read; cut the video "
            "into clips first"
        )
    return names_of(line)


def names_of(line: bytes) -> list[str]:
    """Names of the columns in a header, without blanks."""
    return [name.strip(' "\r\n\t') for name in line.decode("utf-8-sig", errors="replace").split(",")]


def _last_line(path: Path) -> str:
    """The last line that is not blank."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        lines = file.read(_TAIL_BYTES).split(b"\n")
    return next((line for line in reversed(lines) if line.strip()), b"").decode("utf-8", errors="replace")
