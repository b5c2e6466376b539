"""MultiBench's and MulT's pickles: padding in front, empty texts, labels of both kinds, words beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made import made_multibench
from made.made_mmsa import write

from pipeline.core.errors import FormatError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.registry import read as read_kind
from pipeline.params.params import ImportParams


def read(path: Path) -> Imported:
    return read_kind("multibench", Source(path), ImportParams(root=str(path), kind="multibench"))


def test_values_and_labels_are_those_of_the_file(tmp_path: Path) -> None:
    tree = made_multibench.tree()
    found = read(made_multibench.make(tmp_path))
    rows = {row["clip_id"]: row for row in found.rows}
    assert len(rows) == 10 and found.aligned
    for name, part in tree.items():
        for index, raw in enumerate(part["id"]):
            clip = raw.replace("[", "$_$").rstrip("]")
            if (name, index) == ("train", 2):
                assert clip not in rows
                continue
            assert (rows[clip]["split"], rows[clip]["label"]) == (name, part["labels"][index, 0, 0])
            for modality, key in (("text", "text"), ("audio", "audio"), ("visual", "vision")):
                np.testing.assert_array_equal(found.modalities[modality].read(clip), part[key][index])
    assert all(found.modalities[name].side == "front" for name in ("text", "audio", "visual"))
    assert "train: 1 of 5 clips skipped, their text is all zeros" in found.notes
    assert any("counted from 0" in note for note in found.notes)
    assert found.modalities["visual"].columns[:2] == ["anger", "contempt"]
    assert found.modalities["audio"].columns[:2] == ["F0", "VUV"]


def test_classes_and_words_of_humor(tmp_path: Path) -> None:
    found = read(made_multibench.make_humor(tmp_path))
    assert found.labelling.task == "classification"
    assert found.labelling.classes == ("not_humorous", "humorous")
    assert [row["class_label"] for row in found.rows][:4] == [0, 1, 1, 0]  # clip 2 has no text
    assert all("label" not in row and row["text"] == "it was great fun" for row in found.rows)
    assert found.rows[0]["clip_id"] == "train0$_$0"
    assert "words are from humor_raw_text.pkl" in found.notes


def test_classes_minus_one_and_one(tmp_path: Path) -> None:
    tree = made_multibench.tree(humor=True)
    for part in tree.values():
        part["labels"] = (part["labels"] * 2 - 1).astype(np.int64)
    found = read(write(tmp_path / "sarcasm.pkl", tree))
    assert found.labelling.classes == ("not_sarcastic", "sarcastic")
    assert [row["class_label"] for row in found.rows][:3] == [0, 1, 1]


def test_words_in_hdf5(tmp_path: Path) -> None:
    made_multibench.make(tmp_path)
    with h5py.File(tmp_path / "mosi.hdf5", "w") as file:
        for clip in ("train0[0]", "valid1[0]"):
            words = np.array([[b"sp"], [b"so"], [b"true"]])
            file[f"words/{clip}/features"] = words
    found = {row["clip_id"]: row for row in read(tmp_path).rows}
    assert found["train0$_$0"]["text"] == found["valid1$_$0"]["text"] == "so true"
    assert found["test0$_$0"]["text"] is None
    assert any("8 of 10 clips are not in it" in note for note in read(tmp_path).notes)


def test_intervals_of_mult(tmp_path: Path) -> None:
    tree = made_multibench.tree()
    for name, part in tree.items():
        count = len(part["id"])
        part["id"] = np.array([[f"{name}{row // 2}", str(9 - row), str(9.5 - row)] for row in range(count)])
    found = read(write(tmp_path / "mosei_senti_data.pkl", tree))
    assert [row["clip_id"] for row in found.rows][:3] == ["train0$_$1", "train0$_$0", "train1$_$0"]
    assert (found.rows[0]["start_s"], found.rows[0]["end_s"]) == (9.0, 9.5)
    np.testing.assert_array_equal(found.modalities["audio"].read("train0$_$0"), tree["train"]["audio"][1])


def test_seven_labels_and_no_ids(tmp_path: Path) -> None:
    tree = made_multibench.tree()
    for part in tree.values():
        part["labels"] = np.concatenate([part["labels"], np.zeros((len(part["labels"]), 1, 6))], axis=2)
        del part["id"]
    found = read(write(tmp_path / "mosei_raw.pkl", tree))
    assert found.rows[0]["label"] == tree["train"]["labels"][0, 0, 0]
    assert found.rows[2]["clip_id"] == "train_000003$_$0"
    np.testing.assert_array_equal(found.modalities["text"].read("train_000003$_$0"), tree["train"]["text"][3])
    assert any(note.startswith("no ids") for note in found.notes)


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("labels", lambda a: np.zeros((5, 4, 2)), r"shape \(4, 2\); expected one number"),
        ("text", lambda a: a[:3], r"text has shape \(3, 5, 300\).*same number of clips"),
        ("id", lambda a: [a[1], *a[1:]], r"train0\$_\$1 \(train\)"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, key: str, change: Any, said: str) -> None:
    tree = made_multibench.tree()
    tree["train"][key] = change(tree["train"][key])
    with pytest.raises(FormatError, match=said):
        read(write(tmp_path / "mosi_raw.pkl", tree))


def test_two_files_of_words_are_refused(tmp_path: Path) -> None:
    made_multibench.make_humor(tmp_path)
    write(tmp_path / "sarcasm_raw_text.pkl", {})
    with pytest.raises(FormatError, match="keep one of them"):
        read(tmp_path)
