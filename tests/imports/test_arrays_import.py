"""Arrays of any layout read back by the settings that describe them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_arrays as made
from ruamel.yaml import YAML

from pipeline.core.errors import FormatError, ParamsError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.kinds.arrays import arrays
from pipeline.imports.registry import read as read_kind
from pipeline.params.params import ImportParams


def read(folder: Path, settings: dict[str, Any], **params: Any) -> Imported:
    source = Source(folder)
    return read_kind(
        "arrays", source, ImportParams(kind="arrays", root=str(folder), settings=settings, **params)
    )


def changed(**settings: Any) -> dict[str, Any]:
    """The made files' settings with some replaced; None takes one away."""
    return {key: value for key, value in {**made.SETTINGS, **settings}.items() if value is not None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.make(tmp_path_factory.mktemp("arrays"))


@pytest.fixture(scope="module")
def found(folder: Path) -> Imported:
    assert not arrays.matches(Source(folder))
    return read(folder, made.SETTINGS)


def test_rows(found: Imported) -> None:
    assert [row["clip_id"] for row in found.rows] == made.IDS
    assert [row["split"] for row in found.rows] == ["train", "train", "train", "valid", "test"]
    assert [row["label"] for row in found.rows] == made.SCORES
    assert found.rows[2]["text"] == "text 2" and found.rows[2]["video_id"] == "b"
    assert found.labelling.task == "regression"


def test_padded_arrays_vectors_and_groups(found: Imported) -> None:
    audio, text, visual = (found.modalities[name] for name in ("audio", "text", "visual"))
    assert audio.padded and audio.columns == ["f0", "energy"]
    assert dict(audio.lengths) == dict(zip(made.IDS, made.LENGTHS, strict=True))
    np.testing.assert_array_equal(audio.read("b$_$1"), made.audio()[2])
    assert not text.padded and text.columns == [f"text_{i:03d}" for i in range(6)]
    np.testing.assert_array_equal(text.read("c$_$1"), made.text()[3:4])
    assert not visual.padded and set(visual.clips) == set(made.IDS) - {"c$_$1"}
    np.testing.assert_array_equal(visual.read("d$_$1"), made.visual(4))
    assert visual.read("c$_$1") is None
    assert found.notes == ["1 clips are not in faces.h5:of/clips: c$_$1"]


def test_label_csv_with_vectors_beside_it(tmp_path: Path) -> None:
    lines = ["video_id,clip_id,text,label,mode", "a,1,x,1,train", "a,2,y,-1,valid", "b,1,z,0,test"]
    (tmp_path / "label.csv").write_text("\n".join(lines))
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "v.npz", id=np.array(["b$_$1", "a$_$1"]), audio=vectors)
    audio = {"array": "v.npz:audio", "ids": "v.npz:id"}
    found = read(tmp_path, {"labels": "label.csv", "audio": audio})
    assert [row["label"] for row in found.rows] == [1.0, -1.0, 0.0]
    np.testing.assert_array_equal(found.modalities["audio"].read("a$_$1"), vectors[1:])
    assert found.modalities["audio"].read("a$_$2") is None
    np.savez(tmp_path / "v.npz", id=np.array(["b$_$1", "q$_$1"]), audio=vectors)
    with pytest.raises(FormatError, match=r"1 of 2 ids match no clip: q\$_\$1"):
        read(tmp_path, {"labels": "label.csv", "audio": audio})
    with pytest.raises(FormatError, match="which clips are its entries"):
        read(tmp_path, {"labels": "label.csv", "audio": {"array": "v.npz:audio"}})


def test_the_real_vectors_of_mosi(shared: Path) -> None:
    folder = shared / "datasets" / "mosi"
    name = "bclstm_utterance.npz"
    settings = {"labels": "label.csv", "audio": {"array": f"{name}:audio", "ids": f"{name}:id"}}
    found = read(folder, settings)
    splits = [row["split"] for row in found.rows]
    assert [splits.count(split) for split in ("train", "valid", "test")] == [1284, 229, 686]
    with np.load(folder / name) as archive:
        ids, audio = archive["id"].tolist(), archive["audio"]
    for i in (0, 1000, len(ids) - 1):
        np.testing.assert_array_equal(found.modalities["audio"].read(ids[i]), audio[i : i + 1])
    assert len(found.modalities["audio"].columns) == 73


def test_other_forms_of_ids(tmp_path: Path) -> None:
    for name, ids in {"plain": [7, 8], "video_9": ["x_y_1", "x_y_2"], "cut": [b"x[3]", b"x[4]"]}.items():
        np.savez(tmp_path / f"{name}.npz", id=np.array(ids), audio=np.zeros((2, 5, 3)))
        settings = {"ids": f"{name}.npz:id", "audio": {"array": f"{name}.npz:audio", "padded": False}}
        if name == "video_9":
            settings["id_separator"] = "_"
        found = read(tmp_path, settings)
        expected = {"plain": ["7$_$0", "8$_$0"], "video_9": ["x_y$_$1", "x_y$_$2"], "cut": ["x$_$3", "x$_$4"]}
        assert [row["clip_id"] for row in found.rows] == expected[name]
        assert not found.modalities["audio"].padded


def test_splits_by_lists_and_columns_of_a_csv(folder: Path) -> None:
    text = "id,kind,who\n" + "".join(f"{clip},{'xy'[i % 2]},P{i}\n" for i, clip in enumerate(made.IDS))
    (folder / "table.csv").write_text(text, encoding="utf-8-sig")
    np.savez(folder / "lists.npz", a=np.array(made.IDS[:3]), b=np.array(made.IDS[3:]))
    labels = {"class_label": "table.csv:kind", "speaker": "table.csv:who"}
    settings = changed(
        ids="table.csv:id", splits={"train": "lists.npz:a", "test": "lists.npz:b"}, labels=labels
    )
    found = read(folder, settings)
    assert [row["split"] for row in found.rows] == ["train"] * 3 + ["test"] * 2
    assert [row["class_label"] for row in found.rows] == [0, 1, 0, 1, 0]
    assert found.labelling.classes == ("x", "y") and found.rows[4]["speaker"] == "P4"
    with pytest.raises(FormatError, match=r"a\$_\$1 is in train and in test"):
        read(folder, settings | {"splits": {"train": "lists.npz:a", "test": "lists.npz:a"}})
    with pytest.raises(FormatError, match="2 clips are in no split"):
        read(folder, settings | {"splits": {"train": "lists.npz:a"}})


def test_columns_of_a_csv_are_features(tmp_path: Path) -> None:
    """A row a clip; the columns that are meant keep their names and order."""
    (tmp_path / "label.csv").write_text("clip,mood\na,calm\nb,sad\nc,sad\n")
    (tmp_path / "au.csv").write_text("clip,AU01_r,pose_Rx,AU01_c\nc,0.5,9,1\na,,9,-2e-1\n")
    visual: dict[str, Any] = {"array": "au.csv", "ids": "au.csv:clip", "columns": ["AU*_c", "AU*_r"]}
    settings = {"ids": "label.csv:clip", "labels": {"class_label": "label.csv:mood"}, "visual": visual}
    found = read(tmp_path, settings)
    assert [row["clip_id"] for row in found.rows] == ["a$_$0", "b$_$0", "c$_$0"]
    sequences = found.modalities["visual"]
    assert sequences.columns == ["AU01_r", "AU01_c"] and not sequences.padded
    np.testing.assert_array_equal(sequences.read("c$_$0"), [[0.5, 1]])
    np.testing.assert_array_equal(sequences.read("a$_$0"), [[np.nan, -0.2]])
    assert sequences.read("b$_$0") is None and "1 clips are not in au.csv: b$_$0" in found.notes
    for change, message in (
        ({"columns": None}, "row 1 of column clip is 'c', not a number; list the feature columns"),
        ({"columns": ["AU*", "gaze*"]}, r"no column 'gaze\*' \(there are: clip, AU01_r"),
        ({"ids": "label.csv:clip"}, r"shape \(2, 2\), but there are 3 ids"),
    ):
        with pytest.raises(FormatError, match=message):
            read(tmp_path, settings | {"visual": visual | change})


def test_lists_in_a_pickle(tmp_path: Path) -> None:
    sequences = [np.full((i + 1, 2), float(i)) for i in range(2)]
    tree = {"all": {"id": ["a", "b"], "y": [1, 0], "audio": sequences}}
    (tmp_path / "any.pkl").write_bytes(pickle.dumps(tree))
    settings = {
        "ids": "any.pkl:all/id",
        "labels": {"class_label": "any.pkl:all/y"},
        "audio": {"array": "any.pkl:all/audio"},
    }
    found = read(tmp_path, settings)
    np.testing.assert_array_equal(found.modalities["audio"].read("b$_$0"), sequences[1])
    assert not found.modalities["audio"].padded and found.labelling.classes == ("0", "1")


def test_without_settings_the_arrays_are_listed(folder: Path) -> None:
    with pytest.raises(ParamsError) as error:
        read(folder, {})
    said = str(error.value)
    assert "clips.npz:audio (5, 4, 2) float64" in said and "text.npy (5, 6) float32" in said
    assert "faces.h5:of/clips (4 clips, (5, 3) float64 each)" in said
    assert YAML(typ="safe").load(said.partition("\n")[2])["visual"] == made.SETTINGS["visual"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sound": {"array": "x"}}, "sound"),
        ({"labels": {"score": "clips.npz:score"}}, "score"),
        ({"audio": {"array": "clips.npz:audio", "length": "x"}}, "length"),
        ({"labels": "label.csv"}, "remove `splits`"),
        ({"text": None, "audio": None, "visual": None}, "there are no features"),
    ],
)
def test_wrong_settings_are_named(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        read(folder, changed(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"audio": {"array": "clips.npz:sound"}},
            r"no 'sound' in it; there are: clips\.npz:id \(5,\) text, clips\.npz:split",
        ),
        ({"audio": {"array": "none.npz:audio"}}, r"no file 'none\.npz'"),
        ({"audio": {"array": "clips.npz"}}, "which array"),
        ({"audio": {"array": "clips.npz:audio", "columns": ["a"]}}, "2 columns, but 1 names"),
        ({"audio": {"array": "clips.npz:audio", "lengths": "clips.npz:score"}}, "whole number of steps"),
        ({"ids": "clips.npz:audio"}, r"has shape \(5, 4, 2\); expected one value per clip"),
        ({"ids": "clips.npz:split"}, "ids occur twice: train"),
        ({"visual": {"array": "faces.h5:of/clips", "lengths": "clips.npz:length"}}, "no padding"),
        ({"labels": {"label": "clips.npz:said"}}, "expected one finite number"),
        ({"splits": "clips.npz:said"}, "split 'text 0' is not known"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(folder, changed(**settings))


def test_another_number_of_entries_is_refused(folder: Path) -> None:
    np.save(folder / "short.npy", np.zeros((4, 6)))
    with pytest.raises(FormatError, match=r"short\.npy: shape \(4, 6\), but there are 5 ids"):
        read(folder, changed(text={"array": "short.npy"}))


def test_other_kinds_are_not_taken(tmp_path: Path) -> None:
    assert "no file" in arrays.matches(Source(tmp_path))
    made.make(tmp_path)
    (tmp_path / "x.pkl").write_bytes(b"")
    assert "x.pkl may be of another kind; `--as arrays` lists" in arrays.matches(Source(tmp_path))


@pytest.mark.parametrize("place", ["../clips.npz", "/clips.npz", "a/../../clips.npz"])
def test_nothing_outside_of_the_folder_is_read(place: str, tmp_path: Path) -> None:
    folder = made.make(tmp_path / "inside")
    (tmp_path / "clips.npz").write_bytes((folder / "clips.npz").read_bytes())
    for settings in (changed(ids=f"{place}:id"), {"labels": place, "text": {"array": "text.npy"}}):
        with pytest.raises(FormatError, match=r"leads out of .*into the folder"):
            read(folder, settings)


@pytest.mark.parametrize("position", [np.nan, -1, 0.5])
def test_positions_are_whole_numbers(position: float, tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    np.save(folder / "place.npy", np.array([0, 1, 0, position, 0]))
    with pytest.raises(FormatError, match=r"place\.npy: c\$_\$1: position is .*a whole number"):
        read(folder, changed(labels={"label": "clips.npz:score", "position": "place.npy"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,said\na$_$1,=1+1\n", r"line 2: '=1\+1' is a spreadsheet formula"),
        (b"id,said\na$_$1,@SUM(A1)\n", "spreadsheet formula"),
        (b"id,said\na$_$1,x\0\n", "line 2: NUL"),
        (b"\xff\xfei\0d\0", "UTF-16"),
        (b"id,said\na$_$1\n", "line 2 has 1 cells, the header has 2"),
        (b"id,said\n", "1 lines; expected a header"),
        (b"", "the file is empty"),
    ],
)
def test_tables_that_are_none_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    (folder / "who.csv").write_bytes(content)
    with pytest.raises(FormatError, match=rf"who\.csv: .*{message}"):
        read(folder, changed(ids="who.csv:id"))
