"""Lists of clips of MAG-BERT, MISA and CLUE, and MAG-BERT's first upload."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_word_lists
from made.made_mmsa import write

from pipeline.core.errors import FormatError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.registry import read as read_kind
from pipeline.params.params import ImportParams


def read(path: Path) -> Imported:
    return read_kind("word_lists", Source(path), ImportParams(root=str(path), kind="word_lists"))


@pytest.mark.parametrize("misa", [False, True])
def test_values_and_labels_are_those_of_the_file(tmp_path: Path, misa: bool) -> None:
    tree = made_word_lists.tree(misa)
    found = read(write(tmp_path / "mosi.pkl", tree))
    rows = {row["clip_id"]: row for row in found.rows}
    assert len(rows) == 11 and found.aligned and list(found.modalities) == ["audio", "visual"]
    for name, clips in tree.items():
        for features, label, segment in clips:
            clip = segment.replace("[", "$_$").rstrip("]")
            words, visual, acoustic = features[3 if misa else 0], features[1], features[2]
            assert rows[clip]["split"] == {"dev": "valid"}.get(name, name)
            assert rows[clip]["text"] == " ".join(words)
            assert rows[clip]["label"] == pytest.approx(float(np.ravel(label)[0]))
            np.testing.assert_array_equal(found.modalities["visual"].read(clip), visual)
            np.testing.assert_array_equal(found.modalities["audio"].read(clip), acoustic)
    assert not found.modalities["audio"].padded
    assert found.modalities["audio"].columns[6] == "MDQ"
    assert found.modalities["visual"].columns[0] == "face_x"


def test_a_pickle_a_split_with_two_test_splits(tmp_path: Path) -> None:
    found = read(made_word_lists.make_clue(tmp_path))
    splits = [row["split"] for row in found.rows]
    assert sorted(set(splits)) == ["test", "test_ood", "train", "valid"]
    assert all(splits.count(name) == 3 for name in set(splits))


def test_the_same_clips_in_both_test_splits_are_found(tmp_path: Path) -> None:
    """As in CLUE's CMU-MOSI, where test_IID and test_OOD hold the same clips."""
    made_word_lists.make_clue(tmp_path)
    (tmp_path / "test_OOD.pkl").write_bytes((tmp_path / "test_IID.pkl").read_bytes())
    with pytest.raises(FormatError, match=r"3 clip\(s\) are in two splits.*test and test_ood"):
        read(tmp_path)


def test_pauses_missing_segments_and_bytes(tmp_path: Path) -> None:
    tree = made_word_lists.tree()
    (words, visual, acoustic), label, _ = tree["train"][0]
    words[0] = "sp"
    tree["train"][0] = ((np.array([word.encode() for word in words]), visual, acoustic), [[label]], b"v[4]")
    tree["test"] = [clip[:2] for clip in tree["test"]]
    found = read(write(tmp_path / "mosi.pkl", tree, protocol=2))
    first = next(row for row in found.rows if row["clip_id"] == "v$_$4")
    assert first["text"] == " ".join(words[1:]) and first["label"] == pytest.approx(label)
    assert found.modalities["visual"].read("v$_$4").shape == (len(words), 47)  # type: ignore[union-attr]
    assert found.rows[-1]["clip_id"] == "test_000002$_$0"
    assert any("1 words are pauses" in note for note in found.notes)
    assert any(note.startswith("test: no segments") for note in found.notes)


def test_python_2_pickle(tmp_path: Path) -> None:
    """Text of Python 2 is bytes, written with the opcode that Python 3 no longer writes."""
    visual, acoustic = [[1.0, 2.0], [3.0, 4.0]], [[0.5], [0.25]]
    clip = (([b"na\xefve", b"film"], visual, acoustic), 1.5, b"v[0]")
    dumped = pickle.dumps({"train": [clip], "dev": [], "test": []}, protocol=2)
    # protocol 2 spells bytes as a call of _codecs.encode; what Python 2 wrote is SHORT_BINSTRING
    old = b"\x80\x02}(U\x05train](((U\x05na\xefveU\x04filml"
    old += b"(" + b"(G?\xf0\x00\x00\x00\x00\x00\x00G@\x00\x00\x00\x00\x00\x00\x00l"
    old += b"(G@\x08\x00\x00\x00\x00\x00\x00G@\x10\x00\x00\x00\x00\x00\x00ll"
    old += b"(" + b"(G?\xe0\x00\x00\x00\x00\x00\x00l(G?\xd0\x00\x00\x00\x00\x00\x00ll"
    old += b"tG?\xf8\x00\x00\x00\x00\x00\x00U\x04v[0]ta" + b"U\x03dev]U\x04test]u."
    assert pickle.loads(old, encoding="bytes")[b"train"] == [clip] == pickle.loads(dumped)["train"]
    for index, content in enumerate((old, dumped)):
        path = tmp_path / f"mosi{index}.pkl"
        path.write_bytes(content)
        found = read(path)
        (row,) = found.rows
        assert (row["clip_id"], row["text"], row["label"]) == ("v$_$0", "naïve film", 1.5)
        np.testing.assert_array_equal(found.modalities["visual"].read("v$_$0"), visual)


def test_first_upload_without_words(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    part = {
        "facet": numbers.normal(size=(4, 5, 47)),
        "covarep": numbers.normal(size=(4, 5, 74)),
        "glove": numbers.normal(size=(4, 5, 300)),
        "output_label": numbers.uniform(-3, 3, (4, 1)),
    }
    for tree, prefix in (({"train": part, "test": part}, "test"), (part, "train")):
        found = read(write(tmp_path / "mosi.pkl", tree))
        clip = f"{prefix}_000003$_$0"
        row = next(row for row in found.rows if row["clip_id"] == clip)
        assert (row["split"], row["label"]) == (prefix, part["output_label"][3, 0])
        for modality, key in (("text", "glove"), ("audio", "covarep"), ("visual", "facet")):
            np.testing.assert_array_equal(found.modalities[modality].read(clip), part[key][3])
        assert found.aligned
    assert "no splits: all clips are train" in found.notes


def changed(index: int, value: Any) -> Any:
    def apply(tree: dict[str, Any]) -> None:
        features, label, segment = tree["train"][1]
        features = [*features]
        features[index] = value(features[index])
        tree["train"][1] = (tuple(features), label, segment)

    return apply


def same_segment(tree: dict[str, Any]) -> None:
    tree["dev"][0] = (*tree["dev"][0][:2], "train0[0]")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (changed(1, lambda a: a[:-1]), r"words, visual has shape \(\d, 47\), acoustic \(\d, 74\)"),
        (changed(2, lambda a: a[:, :5]), r"acoustic of .* has shape \(\d, 74\), of train0\$_\$1 \(\d, 5\)"),
        (changed(0, " ".join), "its words are a single string"),
        (same_segment, r"train0\$_\$0 \(train and valid\)"),
        (lambda tree: tree["train"].append(("words", 1.0)), r"train\[5\]: expected \(\(words, visual"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, damage: Any, said: str) -> None:
    tree = made_word_lists.tree()
    damage(tree)
    with pytest.raises(FormatError, match=said):
        read(write(tmp_path / "mosi.pkl", tree))


@pytest.mark.parametrize(("low", "name"), [(0.0, "ur_funny.pkl"), (-1.0, "sarcasm.pkl"), (0.0, "data.pkl")])
def test_labels_of_two_values_are_classes(low: float, name: str, tmp_path: Path) -> None:
    tree = made_word_lists.tree(misa=True)
    for clips in tree.values():
        clips[:] = [
            (rows, np.array([[[low, 1.0][i % 2]]]), segment) for i, (rows, _, segment) in enumerate(clips)
        ]
    found = read(write(tmp_path / name, tree))
    expected = {
        "ur_funny.pkl": ("not_humorous", "humorous"),
        "sarcasm.pkl": ("not_sarcastic", "sarcastic"),
        "data.pkl": ("negative", "positive"),
    }
    assert found.labelling.classes == expected[name] and found.labelling.metrics == "cls"
    assert [row["class_label"] for row in found.rows[:5]] == [0, 1, 0, 1, 0]
    assert not any("label" in row for row in found.rows)
