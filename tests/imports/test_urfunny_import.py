"""UR-FUNNY's pickles read back value by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_urfunny as made

from pipeline.core.errors import FormatError, ParamsError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.kinds import urfunny_pickles
from pipeline.imports.registry import read as read_kind
from pipeline.params.params import ImportParams


def read(folder: Path, **settings: Any) -> Imported:
    source = Source(folder)
    assert not urfunny_pickles.matches(source)
    params = ImportParams(kind="urfunny_pickles", root=str(folder), settings=settings)
    return read_kind("urfunny_pickles", source, params)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return read(made.make(tmp_path_factory.mktemp("urfunny")))


def test_rows(found: Imported) -> None:
    rows = {row["clip_id"]: row for row in found.rows}
    assert list(rows)[:3] == ["101$_$c0", "101$_$c1", "101$_$punchline"]
    assert len(rows) == 8 and {row["video_id"] for row in found.rows} == {"101", "102", "103", "104"}
    assert rows["101$_$punchline"] == {
        "clip_id": "101$_$punchline",
        "video_id": "101",
        "split": "train",
        "text": "it broke",
        "class_label": 1,
        "position": 2,
    }
    assert rows["101$_$c1"]["split"] == "context" and rows["101$_$c1"].get("class_label") is None
    assert [rows[f"101$_${part}"]["position"] for part in ("c0", "c1", "punchline")] == [0, 1, 2]
    assert {key: rows[f"{key}$_$punchline"]["split"] for key in made.LABELS} == {
        101: "train",
        102: "train",
        103: "valid",
        104: "test",
    }
    assert {key: rows[f"{key}$_$punchline"]["class_label"] for key in made.LABELS} == made.LABELS
    assert found.labelling.task == "classification" and len(found.labelling.classes) == 2
    assert found.aligned and not found.notes


@pytest.mark.parametrize(("modality", "width"), [("audio", 81), ("visual", 371)])
def test_features(found: Imported, modality: str, width: int) -> None:
    sequences = found.modalities[modality]
    assert len(sequences.columns) == width == len(set(sequences.columns)) and not sequences.padded
    np.testing.assert_array_equal(sequences.read("101$_$c1"), made.features(101, 1, width))
    np.testing.assert_array_equal(sequences.read("104$_$punchline"), made.features(104, 1, width))


def test_column_names_are_those_of_extracted_features_txt(found: Imported) -> None:
    audio, visual = found.modalities["audio"].columns, found.modalities["visual"].columns
    assert audio[:3] == ["f0", "VUV", "NAQ"] and audio[11] == "MCEP_0" and audio[73] == "HMPDD_12"
    assert audio[74:] == ["vowelSpace", "F1", "F2", "F3", "F4", "F5", "VAD"]
    assert visual[:3] == ["confidence", "success", "gaze_0_x"] and visual[290] == "pose_Tx"
    assert visual[296] == "p_scale" and visual[335] == "p_33" and visual[336] == "AU01_r"
    assert visual[-1] == "AU45_c"


def test_text_is_the_vectors_of_the_words(found: Imported) -> None:
    table, words = made.glove(), made.WORDS[101][1]
    expected = np.stack([table[made.VOCABULARY.index(word)] for word in words]).astype(np.float32)
    np.testing.assert_array_equal(found.modalities["text"].read("101$_$c1"), expected)


def test_word_times_count_from_the_sentence(found: Imported) -> None:
    assert found.words["101$_$punchline"] == [
        {"text": "it", "start_s": 0.0, "end_s": 0.5, "score": 1.0},
        {"text": "broke", "start_s": 0.5, "end_s": 1.0, "score": 1.0},
    ]


def test_text_ids_and_labels_of_other_types(tmp_path: Path) -> None:
    language = {str(key): made.language(key) for key in made.WORDS}
    language["101"]["punchline_sentence"] = ["it", "broke"]
    language["101"]["context_sentences"] = [["hello all"], ["so I said"]]
    labels = {str(key).encode(): np.array([[label]]) for key, label in made.LABELS.items()}
    found = read(made.make(tmp_path, protocol=2, language_sdk=language, humor_label_sdk=labels))
    rows = {row["clip_id"]: row for row in found.rows}
    assert rows["101$_$punchline"]["text"] == "it broke" and rows["101$_$c0"]["text"] == "hello all"
    assert rows["103$_$punchline"]["class_label"] == 1


def test_without_sentences_and_features(tmp_path: Path) -> None:
    indexes = {
        key: {name: value for name, value in made.language(key).items() if name.endswith("indexes")}
        for key in made.WORDS
    }
    changed = {"language_sdk": None, "word_embedding_indexes_sdk": indexes, "openface_features_sdk": None}
    found = read(made.make(tmp_path, **changed))
    assert set(found.modalities) == {"text", "audio"} and not found.words
    assert {row["text"] for row in found.rows} == {None}
    changed |= {"covarep_features_sdk": None, "word_embedding_list": None}
    with pytest.raises(FormatError, match="no features"):
        read(made.make(tmp_path / "bare", **changed))


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    uneven = {key: made.record(key, 81) for key in made.WORDS}
    uneven[103]["punchline_features"].pop()
    folds = {**made.FOLDS, "test": [104, 999]}
    language = {key: made.language(key) for key in made.WORDS}
    language[102]["punchline_intervals"].pop()
    found = read(made.make(tmp_path, covarep_features_sdk=uneven, data_folds=folds, language_sdk=language))
    notes = " ".join(found.notes)
    assert not found.aligned and "103$_$punchline (2, 3)" in notes
    assert "1 ids" in notes and "999" in notes and "1 clips have no word times" in notes
    assert "102$_$punchline" not in found.words


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"in two splits: .*101\$_\$punchline \(train and test\)"):
        read(made.make(tmp_path / "two", data_folds={**made.FOLDS, "test": [104, 101]}))
    with pytest.raises(FormatError, match="twice in a split"):
        read(made.make(tmp_path / "twice", data_folds={**made.FOLDS, "dev": [103, 103]}))
    with pytest.raises(FormatError, match="label is 2; expected a whole number from 0 to 1"):
        read(made.make(tmp_path / "label", humor_label_sdk={**made.LABELS, 101: 2}))
    with pytest.raises(FormatError, match="split 'holdout' is not known"):
        read(made.make(tmp_path / "split", data_folds={"holdout": [101]}))
    with pytest.raises(ParamsError, match="fold"):
        read(made.make(tmp_path / "setting"), fold=1)
    ragged = {key: made.record(key, 81) for key in made.WORDS}
    ragged[104]["punchline_features"][0].pop()
    found = read(made.make(tmp_path / "ragged", covarep_features_sdk=ragged))
    with pytest.raises(FormatError, match=r"104\$_\$punchline.*\(1, 80\).*81 columns"):
        found.modalities["audio"].read("104$_$punchline")
    language = {key: made.language(key) for key in made.WORDS}
    language[104]["punchline_embedding_indexes"] = [len(made.VOCABULARY)]
    found = read(made.make(tmp_path / "word", language_sdk=language))
    with pytest.raises(FormatError, match="the list has 16 words"):
        found.modalities["text"].read("104$_$punchline")


def test_other_folders_are_not_taken(tmp_path: Path) -> None:
    folder = made.make(tmp_path, humor_label_sdk=None)
    assert "humor_label_sdk.pkl" in urfunny_pickles.matches(Source(folder))
    assert urfunny_pickles.matches(Source(folder / "data_folds.pkl"))
