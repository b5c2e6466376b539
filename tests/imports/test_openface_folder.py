"""A folder of OpenFace's tables read back value by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_openface_folder as made
from made.openface_tables import FULL, OLD, POSE, number, row, write

from pipeline.core.errors import ClipError, FormatError, LabelFileError, ParamsError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.kinds import openface_folder
from pipeline.imports.survey import survey
from pipeline.params.params import ImportParams
from pipeline.validate import subjects


def read(folder: Path, **settings: Any) -> Imported:
    source = Source(folder)
    assert not openface_folder.matches(source)
    params = ImportParams(kind="openface_folder", root=str(folder), settings=settings)
    return openface_folder.read(source, params)


def expected(columns: list[str], frames: int) -> np.ndarray:
    values = [
        [{"confidence": 0.98, "success": 1.0}.get(name, number(name, frame)) for name in columns]
        for frame in range(1, frames + 1)
    ]
    return np.array(values, np.float32)


def test_all_columns(tmp_path: Path) -> None:
    found = read(made.make(tmp_path))
    visual = found.modalities["visual"]
    assert visual.columns == FULL[3:] and not visual.padded and not found.notes
    assert visual.times is not None
    for clip, frames in made.FRAMES.items():
        np.testing.assert_allclose(visual.read(clip), expected(visual.columns, frames), rtol=1e-6)
        np.testing.assert_allclose(visual.times(clip), np.arange(frames) / 25, atol=1e-6)


def test_rows(tmp_path: Path) -> None:
    rows = {row["clip_id"]: row for row in read(made.make(tmp_path)).rows}
    assert list(rows) == list(made.FRAMES)
    assert rows["v1$_$1"]["text"] == "Well, yes." and rows["v1$_$1"]["label"] == 1.5
    assert [row["split"] for row in rows.values()] == ["train", "train", "valid", "test"]
    assert rows["-v2$_$0001"]["video_id"] == "-v2" and rows["v3$_$7"]["label_text"] is None


def test_groups(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    found = read(folder, groups="openface709").modalities["visual"]
    assert found.columns == FULL[5:]
    np.testing.assert_allclose(found.read("v3$_$7"), expected(FULL[5:], 2), rtol=1e-6)
    assert read(folder, groups=["pose"]).modalities["visual"].columns == ["confidence", "success", *POSE]
    with pytest.raises(ParamsError, match=r"settings\.groups names emotions"):
        read(folder, groups=["emotions"])
    with pytest.raises(ParamsError, match=r"settings\.group"):
        read(folder, group="openface709")


def test_old_tables_and_parts(tmp_path: Path) -> None:
    part = [name for name in FULL if not name.startswith(("p_", "AU"))]
    found = read(made.make(tmp_path, {"v1$_$1": OLD, "v3$_$7": part}, separator=","))
    columns = found.modalities["visual"].columns
    shared = [name for name in FULL[3:] if (name in OLD or name.startswith("gaze_angle")) and name in part]
    assert columns == shared and "gaze_angle_x" in columns
    assert any("not in every table" in note and "eye_lmk_x_0" in note for note in found.notes)
    given = found.modalities["visual"].read("v1$_$1")
    x, z = (number(f"gaze_0_{axis}", 1) + number(f"gaze_1_{axis}", 1) for axis in "xz")
    assert given is not None
    assert given[0, columns.index("gaze_angle_x")] == pytest.approx(np.arctan2(x, -z), rel=1e-6)


def test_two_faces_and_frames_without_one(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    rows = [row(frame, face_id=face, success=int(face == 1)) for frame in (1, 2, 3) for face in (0, 1)]
    rows[3]["gaze_0_x"] = "-nan(ind)"  # frame 2 of face 1
    write(folder / "v1" / "1.csv", rows)
    visual = read(folder).modalities["visual"]
    given, remark = visual.read("v1$_$1"), visual.remark
    assert given is not None
    assert remark is not None
    assert remark("v1$_$1").startswith("2 faces; face_id 1 is taken") and remark("v1$_$2") == ""
    np.testing.assert_array_equal(given[:, 1], [1, 0, 1])
    np.testing.assert_array_equal(given[1], 0)


def test_missing_and_strange_tables(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    (folder / "v1" / "1.csv").unlink()
    write(folder / "v9" / "3.csv", [row(1)])
    found = read(folder)
    assert found.modalities["visual"].read("v1$_$1") is None
    assert any("1 clips have no table: v1$_$1" in note for note in found.notes)
    assert any("v9/3.csv" in note for note in found.notes)
    (folder / "v3$_$7.csv").write_bytes((folder / "x" / "v3$_$7.csv").read_bytes())
    with pytest.raises(FormatError, match=r"v3\$_\$7 has 2 tables"):
        read(folder)


def test_an_empty_table_is_that_clip_alone(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    write(folder / "v1" / "1.csv", [])
    visual = read(folder).modalities["visual"]
    with pytest.raises(ClipError, match="no frame"):
        visual.read("v1$_$1")
    assert visual.read("v3$_$7") is not None


@pytest.mark.parametrize("content", ["", "<html>gone</html>\n", "frame,face_id\n1,0\n"])
def test_a_file_that_is_no_table_is_that_clip_alone(content: str, tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    (folder / "-v2_1.csv").write_text(content)  # the first
    found = read(folder)
    assert found.modalities["visual"].columns == FULL[3:] and not found.notes
    looked = survey(found, str(folder)).modalities["visual"]
    assert list(looked.failed) == ["-v2$_$0001"] and len(looked.real) == 3
    assert looked.failed["-v2$_$0001"].startswith("-v2_1.csv: ")


def test_classes(tmp_path: Path) -> None:
    labels = "video_id,clip_id,text,label,mode\nv1,1,a,sad,train\nv3,7,b,happy,test\n"
    folder = made.make(tmp_path, labels=labels)
    params = ImportParams(
        kind="openface_folder", root=str(folder), task="classification", classes=["happy", "sad"]
    )
    found = openface_folder.read(Source(folder), params)
    assert [row["class_label"] for row in found.rows] == [1, 0]
    assert found.labelling.classes == ("happy", "sad")
    assert subjects.usual(folder, "openface_folder", {}, ["happy", "sad"])[1] == found.labelling
    with pytest.raises(LabelFileError, match=r"'sad', expected a finite number; .* with --classes"):
        read(folder)


def test_other_folders_are_not_taken(tmp_path: Path) -> None:
    assert "label.csv" in openface_folder.matches(Source(tmp_path))
    (tmp_path / "label.csv").write_text(made.LABELS)
    assert "no CSV" in openface_folder.matches(Source(tmp_path))
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert "frame" in openface_folder.matches(Source(tmp_path))
    write(tmp_path / "a.csv", [row(1)])
    with pytest.raises(FormatError, match="none of 1 CSV files"):
        read(tmp_path)
