"""OpenFace's tables: every layout that is about, and everything that is wrong with real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made import openface_tables as tables
from made.openface_tables import FULL, OLD, number, row, write

from pipeline.core.errors import ClipError
from pipeline.core.openface_layout import OPENFACE, OPENFACE_709
from pipeline.formats import openface_csv
from pipeline.formats.openface_csv import TrackedFace, read_table

ASKED = ["confidence", "success", "gaze_angle_x", "pose_Tz", "x_0", "AU12_r", "AU28_c"]


def track(path: Path, columns: list[str] = ASKED) -> TrackedFace:
    return read_table(path, columns).track()


def value(face: TrackedFace, name: str) -> np.ndarray:
    return face.values[:, ASKED.index(name)]


# --------------------------------------------------------------------------------------------------- layouts
def test_the_709_columns_are_those_from_index_5_on() -> None:
    assert len(FULL) == 714
    assert FULL[5:] == OPENFACE_709
    sizes = {group: len(names) for group, names in OPENFACE.items()}
    assert sizes == {"gaze": 8, "pose": 6, "landmarks2d": 136, "landmarks3d": 204, "shape": 40, "aus": 35}
    assert len(OLD) == 431


def test_all_columns_come_as_they_stand(tmp_path: Path) -> None:
    face = track(write(tmp_path / "t.csv", [row(frame) for frame in range(1, 6)]), OPENFACE_709)
    assert face.values.dtype == np.float32
    expected = np.array([[number(name, frame) for name in FULL[5:]] for frame in range(1, 6)])
    np.testing.assert_array_equal(face.values, expected.astype(np.float32))
    np.testing.assert_allclose(face.times, np.arange(5) / 25, atol=1e-6)
    assert face.success.all()
    assert face.notes == []


@pytest.mark.parametrize("separator", [",", ", "])
@pytest.mark.parametrize("columns", [FULL, [name for name in FULL if name != "face_id"], FULL[::-1]])
def test_blanks_order_and_face_id_change_nothing(tmp_path: Path, separator: str, columns: list[str]) -> None:
    plain = track(write(tmp_path / "plain.csv", [row(1), row(2)]))
    other = track(write(tmp_path / "other.csv", [row(1), row(2)], columns, separator))
    np.testing.assert_array_equal(other.values, plain.values)
    np.testing.assert_array_equal(other.times, plain.times)


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", [row(1), row(2)], damage=lambda text: "\ufeff" + text.replace("\n", "\r\n")
    )
    assert track(path).success.tolist() == [True, True]


def test_old_tables_have_no_gaze_angles(tmp_path: Path) -> None:
    gaze = {"gaze_0_x": 0.1, "gaze_0_y": 0.2, "gaze_0_z": -0.9, "gaze_1_x": 0.3, "gaze_1_y": -0.4}
    path = write(tmp_path / "t.csv", [row(1, **gaze, gaze_1_z=-0.7)], OLD)
    face = track(path, ["gaze_angle_y", "gaze_angle_x", "pose_Rz"])
    expected = [np.arctan2(-0.1, 0.8), np.arctan2(0.2, 0.8), number("pose_Rz", 1)]
    np.testing.assert_allclose(face.values[0], expected, rtol=1e-6)
    with pytest.raises(ClipError, match=r"t\.csv: 280 columns are missing: eye_lmk_x_0, .* it has 431"):
        track(path, OPENFACE_709)


# ----------------------------------------------------------------------------------------- rows without face
def test_rows_without_success_are_zero(tmp_path: Path) -> None:
    lost = dict.fromkeys(tables.POSE + tables.AUS, "-nan(ind)")
    stale = row(3, success=0, confidence=0.03)  # OpenFace leaves the last face there
    face = track(write(tmp_path / "t.csv", [row(1), row(2, success=0, **lost), stale, row(4)]))
    assert face.success.tolist() == [True, False, False, True]
    assert not face.values[[1, 2]].any()
    assert face.values[[0, 3]].all()
    assert face.notes == []


@pytest.mark.parametrize("bad", ["nan", "-nan", "-nan(ind)", "nan(ind)", "inf", "-inf", "1e300", "", "oops"])
def test_a_number_that_is_none_makes_the_row_zero(tmp_path: Path, bad: str) -> None:
    face = track(write(tmp_path / "t.csv", [row(1), row(2, AU12_r=bad), row(3)]))
    assert face.success.tolist() == [True, False, True]
    assert not face.values[1].any()
    assert np.isfinite(face.values).all()
    assert face.notes == ["nan or inf in 1 rows"]
    assert value(face, "AU12_r")[2] == np.float32(number("AU12_r", 3))


def test_a_bad_number_that_nobody_asked_for(tmp_path: Path) -> None:
    face = track(write(tmp_path / "t.csv", [row(1, p_33="-nan(ind)"), row(2)]))
    assert face.success.all() and face.notes == []


# -------------------------------------------------------------------------------- several faces, same frames
def test_the_face_with_most_successes_is_taken(tmp_path: Path) -> None:
    rows = []
    for frame in range(1, 7):
        rows.append(row(frame, face_id=0, success=int(frame < 3), x_0=100))
        if frame != 4:
            rows.append(row(frame, face_id=2, x_0=200))
    face = track(write(tmp_path / "t.csv", rows))
    assert value(face, "x_0").tolist() == [200, 200, 200, 0, 200, 200]  # a frame without it is a zero row
    assert face.success.tolist() == [True, True, True, False, True, True]
    assert face.notes == ["2 faces; face_id 2 is taken, found in 5 of 6 frames"]


def test_of_equal_faces_the_lowest_id(tmp_path: Path) -> None:
    rows = [row(frame, face_id=face_id, x_0=face_id) for frame in (1, 2) for face_id in (7, 3)]
    face = track(write(tmp_path / "t.csv", rows))
    assert value(face, "x_0").tolist() == [3, 3]


def test_the_face_is_chosen_in_the_window(tmp_path: Path) -> None:
    rows = [row(frame, face_id=int(frame > 6), x_0=100 + int(frame > 6)) for frame in range(1, 11)]
    table = read_table(write(tmp_path / "t.csv", rows), ASKED)
    assert value(table.track(), "x_0").max() == 100
    window = table.track(0.16, 0.36)  # frames 5 to 9, three of them of face 1
    assert value(window, "x_0").tolist() == [0, 0, 101, 101, 101]
    np.testing.assert_allclose(window.times, np.arange(5) / 25, atol=1e-6)
    assert table.track(0.2, 0.24).success.tolist() == [True]


def test_order_and_repetition_of_frames(tmp_path: Path) -> None:
    rows = [row(3), row(1), row(2, success=0), row(2, x_0=5, confidence=0.5), row(2, x_0=6), row(2, x_0=7)]
    face = track(write(tmp_path / "t.csv", rows))
    np.testing.assert_allclose(face.times, [0, 0.04, 0.08], atol=1e-6)
    assert value(face, "x_0").tolist() == [
        np.float32(number("x_0", 1)),
        6,
        np.float32(number("x_0", 3)),
    ]  # of frame 2 the successful, surer, earlier row
    assert face.notes == ["3 rows repeat a frame"]


# --------------------------------------------------------------------------------------------- damaged files
def test_a_table_that_was_cut_off(tmp_path: Path) -> None:
    whole = track(write(tmp_path / "whole.csv", [row(1), row(2)]))
    path = write(tmp_path / "t.csv", [row(1), row(2), row(3)], damage=lambda text: text[:-30])
    face = track(path)
    np.testing.assert_array_equal(face.values, whole.values)
    assert face.notes == ["t.csv is cut off: its last line was left out"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv: the file is empty"),
        (b"\n\n", "t.csv: the file is empty"),
        (b"frame,timestamp,confidence,success,x_0\n", "t.csv: an OpenFace header, but no frames"),
        (b"time,x_0\n1,2\n", "4 columns are missing: frame, timestamp, confidence, success; it has 2"),
        (b"\x00\x01\xff" * 50, "columns are missing"),
        (b"frame,timestamp,confidence,success,x_0\na,b,c,d,e\n", "but no frames"),
        (b'frame,timestamp,confidence,success,x_0\n1,0,1,1,"never closed\n2,0,1,1,0\n', "t.csv: "),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ClipError) as caught:
        read_table(path, ["x_0"])
    assert message in str(caught.value)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    columns = [name for name in FULL if not name.startswith("AU12")]
    with pytest.raises(ClipError, match=r"1 columns are missing: AU12_r; it has 712\. Make it with .* -aus"):
        track(write(tmp_path / "t.csv", [row(1)], columns))


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.csv", [row(1)])
    monkeypatch.setattr(openface_csv, "MOST_BYTES", 1000)
    with pytest.raises(ClipError, match="at most 0 MB are read; cut the video"):
        track(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"t\.csv: no such file"):
        track(tmp_path / "t.csv")


def test_a_table_of_pictures_has_no_time(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"frame 2 is at 0 s like the one before; was it made from images"):
        track(write(tmp_path / "t.csv", [row(1), row(2, timestamp=0)]))


def test_nothing_in_the_window(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", [row(1), row(2)]), ASKED)
    with pytest.raises(ClipError, match=r"no frame between 5 and 6 s; it ends at 0\.04 s"):
        table.track(5, 6)
