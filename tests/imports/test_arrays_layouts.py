"""Layouts of arrays that no other kind reads, imported by the settings that their listing drafts."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from made import made_arrays as made
from ruamel.yaml import YAML

from pipeline.core.errors import FormatError, ParamsError
from pipeline.formats.source import Source
from pipeline.imports.convert import convert
from pipeline.imports.registry import read
from pipeline.imports.survey import survey
from pipeline.params.params import ImportParams
from pipeline.store.store import FeatureStore


def params_of(folder: Path, settings: dict[str, Any], **more: Any) -> ImportParams:
    return ImportParams(kind="arrays", root=str(folder), settings=settings, **more)


def drafted(folder: Path) -> tuple[dict[str, Any], str]:
    """The settings that an import without any drafts, and all that it says."""
    with pytest.raises(ParamsError) as caught:
        read("arrays", Source(folder), params_of(folder, {}))
    said = str(caught.value)
    settings = YAML(typ="safe").load(said.partition("\n")[2])
    return settings, said


def compared(folder: Path, settings: dict[str, Any], truth: made.Truth, project: Path) -> None:
    """What an import with these settings writes is what was written into the files."""
    classes = ["happy", "neutral", "worried"] if "class_label" in settings["labels"] else []
    task = "classification" if classes else "regression"
    convert("mine", params_of(folder, settings, task=task, classes=classes), 2, project)
    clips = pq.read_table(project / "data/clips/mine.parquet").to_pylist()
    found = {row["clip_id"]: {name: row[name] for name in truth.rows[row["clip_id"]]} for row in clips}
    assert found == truth.rows
    for modality, blocks in truth.blocks.items():
        store = FeatureStore(project / f"data/features/mine/{modality}-imported")
        rows = {row.clip_id: row.features for row in store.stream()}
        assert rows.keys() == blocks.keys()
        for clip, block in blocks.items():
            np.testing.assert_array_equal(rows[clip], block, err_msg=f"{modality} of {clip}")


@pytest.mark.parametrize("layout", made.LAYOUTS)
def test_the_drafted_settings_import_what_was_written(layout: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    truth = made.LAYOUTS[layout](tmp_path / "files")
    settings, _ = drafted(tmp_path / "files")
    compared(tmp_path / "files", settings, truth, tmp_path)


@pytest.mark.parametrize("word", ["dev", "val", "validation"])
@pytest.mark.parametrize("side", ["front", "back"])
def test_files_by_split_by_any_word_and_padding(word: str, side: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    truth = made.files_by_split(tmp_path / "files", word, side)
    settings, said = drafted(tmp_path / "files")
    assert settings["splits"] == {"train": "train", "valid": word, "test": "test"}
    assert settings["audio"] == {"array": "audio_{split}.h5:data"}
    assert settings["text"] == {"array": "text_{split}_emb.h5:data"}
    assert "# splits: 7 train, 4 valid, 5 test clips by audio_{split}.h5:data" in said
    place = "in front" if side == "front" else "at the back"
    assert f"# audio: audio_{{split}}.h5:data, (6, 4) float32 per clip; padded: 16 clips {place}" in said
    compared(tmp_path / "files", settings, truth, tmp_path)


def test_clips_without_ids_are_named_by_split_and_row_and_the_summary_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path, cli: Callable[..., Any]
) -> None:
    (tmp_path / "params.yaml").write_text((project / "params.yaml").read_text(encoding="utf-8"))
    (tmp_path / "files").mkdir()
    made.files_by_split(tmp_path / "files")
    monkeypatch.chdir(tmp_path)
    code, said = cli("import", "files", "--name", "mine")
    assert code == 2 and "# ids: none found" in said
    assert not Path("data").exists()
    Path("mapping.yaml").write_text(said.partition("\n")[2])
    code, said = cli("import", "files", "--name", "mine", "--mapping", "mapping.yaml")
    assert code == 0, said
    said = " ".join(said.replace("│", " ").split())
    assert "no ids are given: clips are named by split and row" in said
    assert all(f"{split}_000000$_$0 ..." in said for split in made.COUNTS)
    assert "padded in front (16 clips in front)" in said
    assert "splits: {train: train, valid: valid, test: test}" in Path("params.yaml").read_text()


def test_label_csv_beside_files_by_split_must_agree(tmp_path: Path) -> None:
    lines = ["video_id,clip_id,text,label,mode", "a,1,x,1,train", "a,2,y,-1,train", "b,1,z,0,test"]
    (tmp_path / "label.csv").write_text("\n".join(lines))
    ids = {"train": ["a$_$2", "a$_$1"], "test": ["b$_$1"]}
    values = {split: np.random.default_rng(1).normal(size=(len(names), 3)) for split, names in ids.items()}
    for split, names in ids.items():
        np.savez(tmp_path / f"{split}.npz", audio=values[split], id=np.array(names))
    settings = {
        "splits": {"train": "train", "test": "test"},
        "labels": "label.csv",
        "audio": {"array": "{split}.npz:audio", "ids": "{split}.npz:id"},
    }
    found = read("arrays", Source(tmp_path), params_of(tmp_path, settings))
    np.testing.assert_array_equal(found.modalities["audio"].read("a$_$1"), values["train"][1:])
    np.savez(tmp_path / "test.npz", audio=values["train"], id=np.array(["b$_$1", "a$_$1"]))
    with pytest.raises(
        FormatError, match=r"test\.npz:audio: 1 clips are in another split .*a\$_\$1 \(train\)"
    ):
        read("arrays", Source(tmp_path), params_of(tmp_path, settings))


def test_references_by_split_need_the_words(tmp_path: Path) -> None:
    made.files_by_split(tmp_path)
    with pytest.raises(ParamsError, match=r"`splits` what it stands for"):
        read("arrays", Source(tmp_path), params_of(tmp_path, {"audio": {"array": "audio_{split}.h5:data"}}))


# ------------------------------------------------------------------------------------------- what is assumed
def mixed(folder: Path, front: int, back: int) -> dict[str, Any]:
    """Clips padded in front, and others at the back, but with fewer zeros."""
    values = np.random.default_rng(4).normal(size=(front + back, 20, 3))
    values[:front, :15] = 0
    values[front:, -2:] = 0
    np.savez(folder / "x.npz", id=np.arange(front + back), audio=values)
    return {"ids": "x.npz:id", "audio": {"array": "x.npz:audio"}}


@pytest.mark.parametrize(("front", "back"), [(44, 91), (91, 44), (1, 1), (5, 5)])
def test_padding_on_both_sides_is_asked_for(front: int, back: int, tmp_path: Path) -> None:
    settings = mixed(tmp_path, front, back)
    evidence = f"{front} clips in front, {back} clips at the back"
    assert f"padded: {evidence}; add `side: front` or `side: back`" in drafted(tmp_path)[1]
    found = read("arrays", Source(tmp_path), params_of(tmp_path, settings))
    with pytest.raises(FormatError) as caught:
        survey(found, str(tmp_path))
    assert evidence in str(caught.value) and "settings.audio.side: front or back" in str(caught.value)
    for side in ("front", "back"):
        settings["audio"]["side"] = side
        looked = survey(read("arrays", Source(tmp_path), params_of(tmp_path, settings)), str(tmp_path))
        place = "in front" if side == "front" else "at the back"
        assert f"padded {place} ({evidence})" in str(looked.modalities["audio"])


def test_a_few_clips_that_begin_without_a_face_are_no_padding(tmp_path: Path) -> None:
    settings = mixed(tmp_path, 3, 91)
    looked = survey(read("arrays", Source(tmp_path), params_of(tmp_path, settings)), str(tmp_path))
    assert looked.modalities["audio"].side == "back"
    assert "padded at the back (3 clips in front, 91 clips at the back)" in str(looked.modalities["audio"])


def test_splits_that_nothing_says_are_a_note(tmp_path: Path) -> None:
    found = read("arrays", Source(tmp_path), params_of(tmp_path, mixed(tmp_path, 1, 30)))
    assert "no splits are given: all 31 clips go to train" in found.notes
    assert "# splits: none found" in drafted(tmp_path)[1]


def test_words_for_a_split_that_differ_are_said(tmp_path: Path) -> None:
    made.files_by_split(tmp_path)
    os.rename(tmp_path / "y_valid.h5", tmp_path / "y_dev.h5")
    assert "y_{split}.h5:data has train, dev, test, which differs" in drafted(tmp_path)[1]


@pytest.mark.parametrize("name", ["x\ny: 1", "a: b", "#c", "{d}", "é", "\x1b[31m", "n" * 300])
def test_names_of_arrays_change_nothing_of_the_draft(name: str, tmp_path: Path) -> None:
    path, audio = tmp_path / "x.pkl", np.ones((3, 4, 2))
    path.write_bytes(pickle.dumps({name: {"audio": audio}, "other": {name: audio}}))
    settings, said = drafted(tmp_path)
    assert settings == {"audio": {"array": f"x.pkl:{name}/audio"}}
    assert max(map(len, said.splitlines())) <= 500 and "\x1b" not in said
    assert len(read("arrays", Source(tmp_path), params_of(tmp_path, settings)).rows) == 3


# ----------------------------------------------------------------------------------------------- wrong files
class Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


def one_row_less(folder: Path) -> None:
    with h5py.File(folder / "audio_valid.h5", "w") as file:
        file["data"] = np.ones((3, 6, 4))


def code_for_labels(folder: Path) -> None:
    np.savez(folder / "y.npz", good=np.arange(3), bad=np.array({"a": Code()}, object))


def code_in_a_pickle(folder: Path) -> None:
    (folder / "y.pkl").write_bytes(pickle.dumps({"train": {"y": Code()}}))


WRONG: list[tuple[Callable[[Path], Any], dict[str, Any], str]] = [
    (one_row_less, {}, r"audio_valid\.h5:data: shape \(3, 6, 4\), but there are 4 ids"),
    (
        lambda folder: None,
        {"audio": {"array": "audio_{split}.h5:date"}},
        r"audio_train\.h5:date: no 'date' in it",
    ),
    (lambda folder: None, {"audio": {"array": "audo_{split}.h5:data"}}, r"no file 'audo_train\.h5'"),
    (lambda folder: None, {"ids": "y_train.h5:data/id"}, "no 'id' in it"),
    (
        code_for_labels,
        {"labels": {"label": "y.npz:bad"}},
        r"member 'bad\.npy': asks for \w+\.system, which is code",
    ),
    (code_in_a_pickle, {"labels": {"label": "y.pkl:{split}/y"}}, r"asks for \w+\.system, which is code"),
    (lambda folder: (folder / "audio_test.h5").unlink(), {}, r"no file 'audio_test\.h5'"),
]


@pytest.mark.parametrize(("damage", "settings", "message"), WRONG)
def test_what_is_wrong_is_one_line_that_lists_what_there_is(
    damage: Callable[[Path], Any],
    settings: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made.files_by_split(tmp_path)
    draft, _ = drafted(tmp_path)
    damage(tmp_path)
    with pytest.raises(FormatError, match=message) as caught:
        read("arrays", Source(tmp_path), params_of(tmp_path, draft | settings))
    said = str(caught.value)
    assert "\n" not in said and "; there are: " in said and "audio_train.h5:data (7, 6, 4) float32" in said
    assert not Path("canary").exists()
    drafted(tmp_path)  # such a file does not keep the others from being listed
    assert not Path("canary").exists()


def test_objects_that_are_not_asked_for_do_no_harm(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", audio=np.ones((2, 3)), other=np.array({"a": Code()}, object))
    found = read("arrays", Source(tmp_path), params_of(tmp_path, {"audio": {"array": "x.npz:audio"}}))
    assert len(found.rows) == 2
    assert "x.npz:other (cannot be read: " in drafted(tmp_path)[1]


def test_names_of_clips_give_no_order_to_arrays(tmp_path: Path) -> None:
    made.make(tmp_path)
    settings = {"ids": "faces.h5:of/clips", "audio": {"array": "clips.npz:audio"}}
    with pytest.raises(FormatError, match="which clips are its entries"):
        read("arrays", Source(tmp_path), params_of(tmp_path, settings))
    settings = {"labels": {"label": "clips.npz:score"}, "visual": {"array": "faces.h5:of/clips"}}
    with pytest.raises(FormatError, match="ids match no clip: a"):
        read("arrays", Source(tmp_path), params_of(tmp_path, settings))


def test_a_folder_of_files_a_clip_has_the_broken_one_as_a_failed_clip(tmp_path: Path) -> None:
    truth = made.object_arrays(tmp_path)
    settings, _ = drafted(tmp_path)
    (tmp_path / "features" / "hubert-base" / "sample_00000002.npy").write_bytes(b"\x93NUMPY")
    params = params_of(tmp_path, settings, task="classification", classes=["happy", "neutral", "worried"])
    looked = survey(read("arrays", Source(tmp_path), params), str(tmp_path))
    assert [*looked.modalities["audio"].failed] == ["sample_00000002$_$0"]
    assert len(looked.modalities["audio"].real) == len(truth.rows) - 1
    assert json.dumps(looked.notes).count("1 of 8 ids match no clip: sample_99999999$_$0") == 3
