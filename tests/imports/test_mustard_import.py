"""MUStARD's features read back value by value."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made import made_mustard as made

from pipeline.core.errors import FormatError, ParamsError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.kinds import mustard_features
from pipeline.imports.registry import read as read_kind
from pipeline.params.params import ImportParams


def read(folder: Path, **settings: Any) -> Imported:
    source = Source(folder)
    assert not mustard_features.matches(source)
    params = ImportParams(kind="mustard_features", root=str(folder), settings=settings)
    return read_kind("mustard_features", source, params)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.make(tmp_path_factory.mktemp("mustard"))


@pytest.fixture(scope="module")
def found(folder: Path) -> Imported:
    return read(folder, valid=0)


def test_rows(found: Imported) -> None:
    rows = {row["clip_id"]: row for row in found.rows}
    assert len(rows) == 6 + made.SENTENCES
    assert rows["1_62$_$c1"] == {
        "clip_id": "1_62$_$c1",
        "video_id": "1_62",
        "split": "context",
        "text": "Before 2.1",
        "speaker": "PERSON1",
        "position": 1,
    }
    utterance = rows["1_62$_$utterance"]
    assert utterance["text"] == "Utterance 2." and utterance["speaker"] == "SHELDON"
    assert utterance["class_label"] == 1 and utterance["position"] == 2
    assert [rows[f"{key}$_$utterance"]["class_label"] for key in made.IDS] == [1, 1, 1, 0, 0, 0]


def splits(found: Imported) -> dict[str, str]:
    return {row["video_id"]: row["split"] for row in found.rows if row["split"] != "context"}


def test_splits(folder: Path) -> None:
    for fold in range(5):
        given = splits(read(folder, fold=fold, valid=0))
        assert given == {key: "test" if i == fold else "train" for i, key in enumerate(made.IDS)}
    assert splits(read(folder, valid=0)) == splits(read(folder, fold=0, valid=0))
    independent = splits(read(folder, speaker_independent=True, valid=0))
    shows = {key: entry["show"] for key, entry in made.ENTRIES.items()}
    assert independent == {key: "test" if shows[key] == "FRIENDS" else "train" for key in made.IDS}


def test_ids_of_no_part_of_a_fold_are_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "data")
    pair = (np.arange(1, 5), np.array([0]))  # without the last
    (tmp_path / "data" / "split_indices.p").write_bytes(pickle.dumps([pair] * 5, protocol=2))
    found = read(tmp_path / "data", fold=0, valid=0)
    assert splits(found)[made.IDS[-1]] == "unlabeled"
    assert any(f"lacks 1 of 6 ids: they are unlabeled ({made.IDS[-1]})" in note for note in found.notes)


def test_validation_clips_are_of_the_training_ones_and_of_both_classes(folder: Path) -> None:
    given = splits(read(folder, fold=3, valid=0.4))
    valid = [made.IDS.index(key) for key, split in given.items() if split == "valid"]
    assert given[made.IDS[3]] == "test"
    assert sum(i < 3 for i in valid) == 1 and sum(i >= 3 for i in valid) == 1
    assert splits(read(folder, fold=3, valid=0.4)) == given


def test_without_folds_the_split_is_speaker_independent(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "data")
    (tmp_path / "data" / "split_indices.p").unlink()
    assert splits(read(tmp_path / "data", valid=0)) == splits(read(folder, speaker_independent=True, valid=0))
    with pytest.raises(FormatError, match=r"fold is 2, but there is no split_indices\.p"):
        read(tmp_path / "data", fold=2)


def test_audio_is_turned_to_steps_by_features(found: Imported) -> None:
    sequences = found.modalities["audio"]
    assert len(sequences.columns) == 283 == len(set(sequences.columns)) and not sequences.padded
    assert sequences.columns[0] == "mfcc_0" and sequences.columns[26] == "mel_0"
    np.testing.assert_array_equal(sequences.read("1_62$_$utterance"), made.audio(2).T)


def test_visual_of_utterances_and_contexts(found: Imported) -> None:
    sequences = found.modalities["visual"]
    assert sequences.columns[-1] == "resnet_pool5_2047"
    np.testing.assert_array_equal(sequences.read("1_62$_$utterance"), made.visual(2))
    np.testing.assert_array_equal(sequences.read("1_62$_$c1"), made.visual(12))
    assert "1_62$_$c0" not in sequences.clips


def test_text_is_the_mean_of_layers(folder: Path, found: Imported) -> None:
    expected = (made.states(2, -1) + made.states(2, -2)) / 2
    np.testing.assert_allclose(found.modalities["text"].read("1_62$_$utterance"), expected, atol=1e-6)
    # lines of contexts: scene 1 has line 0, scene 2 the lines 1 and 2
    expected = (made.states(2, -1) + made.states(2, -2)) / 2
    np.testing.assert_allclose(found.modalities["text"].read("1_62$_$c1"), expected, atol=1e-6)
    last = read(folder, layers=[-2]).modalities["text"].read("2_63$_$utterance")
    np.testing.assert_allclose(last, made.states(3, -2), atol=1e-6)
    with pytest.raises(FormatError, match="-9"):
        read(folder, layers=[-9])


def test_lines_in_another_order_and_plain_vectors(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    lines = [made.line(i) for i in (5, 4, 3, 2, 1, 0)]
    (folder / "bert-output.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "bert-output-context.jsonl").write_text(
        "\n".join(json.dumps({"features": [i] * 8}) for i in range(made.SENTENCES)), encoding="utf-8"
    )
    found = read(folder, layers=[-1]).modalities["text"]
    np.testing.assert_allclose(found.read("2_61$_$utterance"), made.states(1, -1), atol=1e-6)
    np.testing.assert_array_equal(found.read("1_62$_$c1"), [[2.0] * 8])


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=f"5 lines, but sarcasm_data.json has {made.SENTENCES} sentences"):
        read(made.make(tmp_path / "lines", lines=5))
    strange = {**made.ENTRIES, "1_60": {**made.ENTRIES["1_60"], "sarcasm": "yes"}}
    with pytest.raises(FormatError, match="sarcasm is 'yes'; expected true or false"):
        read(made.make(tmp_path / "label", strange))
    with pytest.raises(FormatError, match="up/down"):
        read(made.make(tmp_path / "id", {"up/down": made.ENTRIES["1_60"]}))
    folder = made.make(tmp_path / "twice")
    text = (folder / "sarcasm_data.json").read_text().replace('"1_62"', '"1_60"')
    (folder / "sarcasm_data.json").write_text(text)
    with pytest.raises(FormatError, match="1 keys occur twice: 1_60"):
        read(folder)
    with pytest.raises(ParamsError, match="two splits"):
        read(made.make(tmp_path / "both"), fold=1, speaker_independent=True)
    with pytest.raises(ParamsError, match=r"resnet_pool6\.hdf5"):
        read(tmp_path / "both", visual="resnet_pool6.hdf5")
    made.make(tmp_path / "both", net="i3d")
    with pytest.raises(
        ParamsError, match=r"i3d\.hdf5, resnet_pool5\.hdf5; set settings\.visual to one of them"
    ):
        read(tmp_path / "both")
    assert read(tmp_path / "both", visual="i3d.hdf5").modalities["visual"].columns[0] == "i3d_0000"


def test_maps_of_features_are_refused(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    with h5py.File(folder / "features" / "utterances_final" / "resnet_pool5.hdf5", "w") as file:
        file["1_60"] = np.zeros((2, 8, 7, 7))
    with pytest.raises(FormatError, match=r"\(2, 8, 7, 7\).*expected \(T, D\)"):
        read(folder)


def test_a_corpus_without_features_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "sarcasm_data.json").write_text("{}")
    assert "no features" in mustard_features.matches(Source(tmp_path))
