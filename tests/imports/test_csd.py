"""Computational sequences read back, against frames chosen and averaged one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made import made_csd as made

from pipeline.core.errors import FormatError, ParamsError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.kinds.csd import csd
from pipeline.imports.kinds.csd.files import read_folds
from pipeline.imports.kinds.csd.segments import pooled
from pipeline.imports.registry import read as read_kind
from pipeline.imports.survey import survey
from pipeline.params.params import ImportParams

KINDS = {"text": "glove", "audio": "COVAREP", "visual": "FACET"}


def read(folder: Path, **settings: Any) -> Imported:
    source = Source(folder)
    assert not csd.matches(source)
    return read_kind("csd", source, ImportParams(kind="csd", root=str(folder), settings=settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.make(tmp_path_factory.mktemp("csd"))


@pytest.fixture(scope="module")
def found(folder: Path) -> Imported:
    return read(folder, folds="folds.json")


def test_rows(found: Imported) -> None:
    rows = {row["clip_id"]: row for row in found.rows}
    assert set(rows) == {f"{video}$_${k}" for video in made.VIDEOS for k in (0, 1)}
    row = rows["c3$_$1"]
    assert row["label"] == made.label("c3", 1) and row["split"] == "test" and row["position"] == 1
    assert (row["start_s"], row["end_s"]) == (3.0, 6.0)
    assert row["text"] == "cw6 cw8 cw9 cw10" and rows["-a_1$_$0"]["split"] == "train"


@pytest.mark.parametrize("modality", list(KINDS))
def test_frames_of_a_clip_are_those_that_overlap_it(found: Imported, modality: str) -> None:
    sequences = found.modalities[modality]
    assert len(sequences.columns) == made.WIDTHS[KINDS[modality]] == len(set(sequences.columns))
    for video, spans in made.SEGMENTS.items():
        features, intervals = made.frames(KINDS[modality], video)
        for k, (start, end) in enumerate(spans):
            kept = [i for i, (a, b) in enumerate(intervals) if min(b, end) - max(a, start) > 0]
            clip = f"{video}$_${k}"
            np.testing.assert_array_equal(sequences.read(clip), features[kept])
            assert sequences.times is not None
            middles = [(intervals[i][0] + intervals[i][1]) / 2 - start for i in kept]
            np.testing.assert_allclose(sequences.times(clip), middles)


def test_words(found: Imported) -> None:
    for video, spans in made.SEGMENTS.items():
        for k, (start, end) in enumerate(spans):
            expected = [w for w in made.words(video) if start <= (w[1] + w[2]) / 2 < end and w[0] != "sp"]
            given = found.words[f"{video}$_${k}"]
            assert [word["text"] for word in given] == [name for name, _, _ in expected]
            for word, (_, first, last) in zip(given, expected, strict=True):
                assert word["start_s"] == pytest.approx(max(first - start, 0))
                assert word["end_s"] == pytest.approx(min(last, end) - start)


def test_aligned_rows_are_means_over_words(folder: Path) -> None:
    found = read(folder, folds="folds.json", align="words")
    assert found.aligned
    for modality, kind in KINDS.items():
        features, intervals = made.frames(kind, "c3")
        rows = found.modalities[modality].read("c3$_$1")
        assert rows is not None and len(rows) == len(found.words["c3$_$1"]) == 4
        for row, word in zip(rows, found.words["c3$_$1"], strict=True):
            first, last = word["start_s"] + 3.0, word["end_s"] + 3.0
            shares = [max(0.0, min(b, last) - max(a, first)) for a, b in intervals]
            expected = np.average(features.astype(np.float64), axis=0, weights=shares)
            np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-9)


def test_means_by_hand() -> None:
    features = np.array([[1.0, -np.inf], [3.0, 2.0], [5.0, np.nan], [7.0, 1.0]])
    intervals = np.array([[0, 1], [1, 2], [2, 2.5], [np.nan, np.nan]])
    words = np.array([[0.5, 2.0], [2.0, 3.0], [4.0, 5.0]])
    means = pooled(features, intervals, words)
    # half a second of the first frame and one of the second; the third alone; nothing
    np.testing.assert_allclose(means[:, 0], [(0.5 * 1 + 1 * 3) / 1.5, 5.0, 0.0])
    np.testing.assert_allclose(means[:, 1], [2.0, np.nan, 0.0])


def test_emotions_are_left_and_without_folds_all_is_train(tmp_path: Path) -> None:
    found = read(made.make(tmp_path, emotions=True))
    assert {row["label"] for row in found.rows} == {made.label(v, k) for v in made.VIDEOS for k in (0, 1)}
    assert {row["split"] for row in found.rows} == {"train"}
    notes = " ".join(found.notes)
    assert "all clips are train" in notes and "sentiment, is read" in notes


def test_column_names(found: Imported) -> None:
    assert found.modalities["audio"].columns[:2] == ["name 0", "name 1"]
    assert found.modalities["text"].columns[-1] == "glove_299"


def test_folds_of_three_forms(tmp_path: Path) -> None:
    expected = {video: split for split, videos in made.FOLDS.items() for video in videos}
    (tmp_path / "a.py").write_text(
        "import os\nstandard_train_fold=['-a_1']\nstandard_valid_fold=['b2']\nstandard_test_fold = ['c3']\n"
    )
    (tmp_path / "a.txt").write_text("-a_1 train\nb2,dev\n\nc3 TEST\n")
    (tmp_path / "a.json").write_text('{"train": ["-a_1"], "val": ["b2"], "test": ["c3"]}')
    for name in ("a.py", "a.txt", "a.json"):
        assert read_folds(tmp_path / name) == expected
    (tmp_path / "b.py").write_text("standard_train_fold=[open('x')]\n")
    with pytest.raises(FormatError, match="cannot be read"):
        read_folds(tmp_path / "b.py")
    (tmp_path / "b.json").write_text('{"train": ["b2"], "test": ["b2"]}')
    with pytest.raises(FormatError, match="1 videos are in two splits: b2"):
        read_folds(tmp_path / "b.json")


def test_videos_of_no_fold_are_left_out(tmp_path: Path) -> None:
    own = made.make(tmp_path / "own")
    for place in (own, tmp_path):
        (place / "folds.txt").write_text("b2 train\nc3 test\nunknown valid\n")
    for outside in ("../folds.txt", str(tmp_path / "folds.txt")):
        with pytest.raises(FormatError, match=r"folds\.txt: leads out of .*or a link to it, into the folder"):
            read(own, folds=outside)
    found = read(own, folds="folds.txt")
    assert {row["video_id"] for row in found.rows} == {"b2", "c3"}
    assert any("in no fold" in note and "-a_1" in note for note in found.notes)
    assert any("unknown" in note for note in found.notes)


def test_what_the_sdk_aligned(tmp_path: Path) -> None:
    labels = {f"b2[{k}]": ([[k / 2]], [(k, k + 1)]) for k in range(2)}
    audio = {f"b2[{k}]": (np.full((3, 74), k, np.float32), [(k, k + 0.5)] * 3) for k in range(2)}
    made.write(tmp_path / "labels.csd", "Opinion Segment Labels", labels)
    made.write(tmp_path / "COVAREP.csd", "COVAREP", audio)
    found = read(tmp_path)
    assert [row["clip_id"] for row in found.rows] == ["b2$_$0", "b2$_$1"]
    np.testing.assert_array_equal(found.modalities["audio"].read("b2$_$1"), np.full((3, 74), 1.0))
    assert found.rows[0]["text"] is None


def test_intervals_without_numbers_and_missing_videos(tmp_path: Path) -> None:
    made.make(tmp_path)
    spans = [(0.0, 2.0), (np.nan, np.nan)]
    labels = {"b2": ([[1.0], [2.0]], spans), "zz": ([[0.0]], [(0.0, 1.0)])}
    made.write(tmp_path / "CMU_MOSI_Opinion_Labels.csd", "Opinion Segment Labels", labels)
    found = read(tmp_path)
    assert [row["clip_id"] for row in found.rows] == ["b2$_$0", "zz$_$0"]
    assert any("1 labels have no interval" in note and "b2$_$1" in note for note in found.notes)
    assert found.modalities["audio"].read("zz$_$0") is None and found.rows[1]["text"] is None


def test_which_file_is_meant(folder: Path, tmp_path: Path) -> None:
    made.make(tmp_path)
    made.write(tmp_path / "OpenFace.csd", "OpenFace_2", {"b2": (np.zeros((2, 5)), [(1, 2), (2, 3)])})
    with pytest.raises(
        ParamsError, match=r"OpenFace\.csd could be visual; set settings\.visual to one of them"
    ):
        read(tmp_path)
    visual = read(tmp_path, visual="openface_2").modalities["visual"]
    assert visual.columns == [f"openface_{i:03d}" for i in range(5)]
    assert set(read(tmp_path, visual="none").modalities) == {"text", "audio"}
    with pytest.raises(ParamsError, match=r"settings\.audio is 'nothing'"):
        read(folder, audio="nothing")


def test_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csd").write_bytes(b"no hdf5 at all")
    assert "not an HDF5" in csd.matches(Source(tmp_path))
    made.write(tmp_path / "x.csd", "COVAREP", {"b2": (np.zeros((2, 74)), [(1, 2), (2, 3)])})
    with pytest.raises(FormatError, match="no file with labels"):
        read(tmp_path)
    made.make(tmp_path / "uneven")
    with h5py.File(tmp_path / "uneven" / "CMU_MOSI_COVAREP.csd", "r+") as file:
        del file["COVAREP/data/b2/intervals"]
        file["COVAREP/data/b2/intervals"] = np.zeros((7, 2))
    with pytest.raises(
        FormatError, match=r"b2: features of shape \(60, 74\) and intervals of shape \(7, 2\)"
    ):
        read(tmp_path / "uneven").modalities["audio"].read("b2$_$0")


def test_covarep_without_names_has_those_of_the_sdk(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    data = {video: made.frames("COVAREP", video) for video in made.VIDEOS}
    made.write(folder / "CMU_MOSI_COVAREP.csd", "COVAREP", data)
    columns = read(folder).modalities["audio"].columns
    assert columns[:3] == ["F0", "VUV", "NAQ"] and columns[10] == "creak" and columns[-1] == "HMPDD_12"
    assert not [name for name in columns if "HRF" in name]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("COVAREP/data", np.zeros(3)),
        ("COVAREP/data/-a_1", np.zeros(3)),
        ("COVAREP/data/-a_1/features", 5),
        ("COVAREP/data/c3/features", None),
        ("COVAREP/data/-a_1/intervals", np.zeros((1, 2))),
    ],
)
def test_a_damaged_sequence_is_named(place: str, value: Any, tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    with h5py.File(folder / "CMU_MOSI_COVAREP.csd", "r+") as file:
        del file[place]
        if value is None:
            file.create_group(place)
        else:
            file[place] = value
    with pytest.raises(FormatError, match=r"COVAREP\.csd: .*(expected|no features)"):
        survey(read(folder), "csd")


def test_metadata_that_are_no_group_are_not_read(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    with h5py.File(folder / "CMU_MOSI_COVAREP.csd", "r+") as file:
        del file["COVAREP/metadata"]
        file["COVAREP/metadata"] = np.zeros(2)
    assert read(folder).modalities["audio"].columns[0] == "F0"
