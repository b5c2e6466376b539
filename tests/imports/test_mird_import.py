"""MIRD's pickles, with splits and without, and names of columns that several importers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_mird
from made.made_mmsa import write

from pipeline.core.columns import NAMES, columns_of
from pipeline.core.errors import FormatError
from pipeline.formats.source import Source
from pipeline.imports.clip_names import about_segments, made_rows, named_rows
from pipeline.imports.contract import Imported
from pipeline.imports.registry import read as read_kind
from pipeline.params.params import ImportParams


def read(path: Path) -> Imported:
    return read_kind("mird", Source(path), ImportParams(root=str(path), kind="mird"))


def test_values_and_labels_are_those_of_the_file(tmp_path: Path) -> None:
    tree = made_mird.tree()
    found = read(made_mird.make(tmp_path))
    rows = iter(found.rows)
    for name, part in tree.items():
        for index in range(len(part["labels"])):
            row = next(rows)
            assert row["clip_id"] == f"{name}_{index:06d}$_$0" and row["split"] == name
            assert row["video_id"] == f"{name}_{index:06d}"
            assert row["text"] == part["raw_text"][index]
            assert row["label"] == part["labels"][index]
            for modality, key in (("audio", "audio"), ("visual", "video")):
                block = found.modalities[modality].read(row["clip_id"])
                np.testing.assert_array_equal(block, part[key][index])
    assert next(rows, None) is None
    assert found.modalities["audio"].columns[:2] == ["zero_crossing_rate", "mfcc_0"]
    assert (
        found.modalities["visual"].columns[-1] == "AU45_c" and len(found.modalities["visual"].columns) == 709
    )
    assert any("no ids in train, valid, test" in note for note in found.notes)
    assert found.labelling.task == "regression" and not found.aligned


def test_without_splits_all_clips_are_unlabeled(tmp_path: Path) -> None:
    found = read(made_mird.make_unlabeled(tmp_path))
    assert {row["split"] for row in found.rows} == {"unlabeled"} and len(found.rows) == 4
    assert all(row.get("label") is None for row in found.rows)
    np.testing.assert_array_equal(
        found.modalities["visual"].read("unlabeled_000003$_$0"), made_mird.split(4, 90)["video"][3]
    )
    assert not any("not a split" in note for note in found.notes)


def test_ids_are_used_where_they_are(tmp_path: Path) -> None:
    tree = made_mird.tree()
    for name, part in tree.items():
        part["id"] = [f"{name}$_${row}" for row in range(len(part["labels"]))]
        part["labels"] = part["labels"][:, None].tolist()
    found = read(write(tmp_path / "mosi.pkl", tree))
    assert [row["clip_id"] for row in found.rows][:2] == ["train$_$0", "train$_$1"]
    assert found.rows[0]["label"] == pytest.approx(tree["train"]["labels"][0][0])
    assert found.notes == []


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("labels", lambda a: a[:-1], r"labels has shape \(4,\).*same number"),
        ("video", lambda a: a[:, :, :700], "709.*expected the same number in all splits|700 columns"),
        ("labels", lambda a: ["good", *a[1:]], "expected one finite number"),
        ("audio", lambda a: {"a": 1}, "is a dict, expected an array or a list"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, key: str, change: Any, said: str) -> None:
    tree = made_mird.tree()
    tree["train"][key] = change(tree["train"][key])
    with pytest.raises(FormatError, match=said):
        read(write(tmp_path / "mosi.pkl", tree))


def test_names_of_columns_are_as_many_as_columns_and_differ() -> None:
    for (modality, width), names in NAMES.items():
        assert len(names) == len(set(names)) == width
        assert columns_of(modality, width) == names
    assert columns_of("audio", 3) == ["audio_000", "audio_001", "audio_002"]


@pytest.mark.parametrize(
    ("raw", "clip"),
    [
        ("a-b_c$_$12", "a-b_c$_$12"),
        ("_dI--eQ6qVU[3]", "_dI--eQ6qVU$_$3"),
        (b"video[0]", "video$_$0"),
        (np.str_("video_12"), "video$_$12"),
        (np.array([7]), "7$_$0"),
        (np.array(["1_60"]), "1$_$60"),
        ("_dI--eQ6qVU", "_dI--eQ6qVU$_$0"),
        (7.0, "7$_$0"),
    ],
)
def test_ids_of_every_form(raw: Any, clip: str) -> None:
    (row,) = named_rows("file", [raw], underscore=True)
    assert row == {"clip_id": clip, "video_id": clip.split("$_$")[0]}


def test_underscores_count_only_where_the_source_means_them() -> None:
    assert named_rows("file", ["abc_3"])[0]["clip_id"] == "abc_3$_$0"
    assert [row["clip_id"] for row in made_rows("train", 2)] == ["train_000000$_$0", "train_000001$_$0"]
    assert about_segments(["a[1]"]) and not about_segments(["a$_$1", np.array(["v", "1", "2"])])


def test_intervals_are_numbered_by_their_start() -> None:
    rows = named_rows("file", [[b"v", b"10.5", b"12"], np.array(["w", "0", "1"]), ["v", "2.0", "10.5"]])
    assert [row["clip_id"] for row in rows] == ["v$_$1", "w$_$0", "v$_$0"]
    assert (rows[0]["start_s"], rows[0]["end_s"]) == (10.5, 12.0)
    with pytest.raises(FormatError, match="start and end in seconds"):
        named_rows("file", [["v", "soon", "later"]])
