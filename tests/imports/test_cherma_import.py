"""CHERMA's features read back value by value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made import made_cherma as made

from pipeline.core.errors import ClipError, FormatError
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.kinds import cherma_features
from pipeline.imports.registry import read as read_kind
from pipeline.imports.survey import survey
from pipeline.params.params import ImportParams


def read(folder: Path) -> Imported:
    source = Source(folder)
    assert not cherma_features.matches(source)
    return read_kind("cherma_features", source, ImportParams(kind="cherma_features", root=str(folder)))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return read(made.make(tmp_path_factory.mktemp("cherma")))


def test_rows(found: Imported) -> None:
    rows = {row["clip_id"]: row for row in found.rows}
    assert {row["video_id"]: row["split"] for row in found.rows} == {
        made.name(i): split for split, indices in made.SPLITS.items() for i in indices
    }
    for i in range(6):
        row = rows[f"{made.name(i)}$_$0"]
        labels = [row[column] for column in ("class_label", "class_text", "class_audio", "class_visual")]
        assert labels == [(i + k) % 7 for k in range(4)]
    assert found.labelling.language == "zh" and found.labelling.classes[6] == "surprise"


@pytest.mark.parametrize("modality", ["text", "audio", "visual"])
def test_features(found: Imported, modality: str) -> None:
    sequences = found.modalities[modality]
    assert len(sequences.columns) == made.WIDTHS[modality] == len(set(sequences.columns))
    for i in (0, 3, 5):
        np.testing.assert_array_equal(sequences.read(f"{made.name(i)}$_$0"), made.values(modality, i))
    assert not sequences.padded


def test_a_clip_without_sound(found: Imported) -> None:
    assert found.modalities["audio"].read(f"{made.name(made.SILENT)}$_$0") is None
    assert found.notes == ["1 clips have no audio file: 102_2$_$0"]


def test_english_words_and_indices(tmp_path: Path) -> None:
    entries = [
        {**made.entry(0), "video_label": "Suprise"},
        {**made.entry(1), "video_label": 5},
        {**made.entry(2), "video_label": ""},
    ]
    found = read(made.make(tmp_path, train=entries))
    assert [row["class_label"] for row in found.rows[:3]] == [6, 5, None]


def test_other_shapes(tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    vector = made.values("text", 1)[0].astype(np.float64)
    np.save(folder / "text" / "train" / f"{made.name(1)}.npy", vector)
    np.save(folder / "text" / "test" / f"{made.name(4)}.npy", made.values("text", 4)[None])
    np.save(folder / "text" / "test" / f"{made.name(5)}.npy", np.zeros((3, 768), np.float32))
    np.save(folder / "audio" / "test" / "stranger.npy", np.zeros((3, 1024), np.float32))
    found = read(folder)
    text = found.modalities["text"]
    np.testing.assert_array_equal(text.read(f"{made.name(1)}$_$0"), vector[None])
    np.testing.assert_array_equal(text.read(f"{made.name(4)}$_$0"), made.values("text", 4))
    with pytest.raises(FormatError, match=r"\(3, 768\); the other clips have 1024 columns"):
        text.read(f"{made.name(5)}$_$0")
    assert any("stranger.npy" in note for note in found.notes)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"video_label of 101_1 is '开心'.*高兴.*happy"):
        read(made.make(tmp_path / "word", train=[made.entry(0), {**made.entry(1), "video_label": "开心"}]))
    with pytest.raises(FormatError, match=r"in two splits: 100_0\$_\$0 \(train and test\)"):
        read(made.make(tmp_path / "two", test=[made.entry(4), made.entry(0)]))
    with pytest.raises(FormatError, match="twice in a split"):
        read(made.make(tmp_path / "twice", train=[made.entry(0)] * 2))
    with pytest.raises(FormatError, match="no audio_file"):
        read(made.make(tmp_path / "entry", valid=[{"video_file": "x.mp4"}]))
    folder = made.make(tmp_path / "width")
    np.save(folder / "text" / "train" / f"{made.name(1)}.npy", np.ones((2, 1023), np.float32))
    with pytest.raises(FormatError, match=r"100_0|101_1.*\(2, 1023\).*1024 columns"):
        read(folder).modalities["text"].read("101_1$_$0")


@pytest.mark.parametrize("content", [b"", b"<html>gone</html>", None])
def test_a_damaged_file_is_that_clip_alone(content: bytes | None, tmp_path: Path) -> None:
    folder = made.make(tmp_path)
    place = folder / "text" / "train" / f"{made.name(0)}.npy"  # the first, which does not tell the width
    place.write_bytes(place.read_bytes()[:200] if content is None else content)
    found = read(folder)
    with pytest.raises(ClipError, match=r"^100_0\.npy: "):
        found.modalities["text"].read("100_0$_$0")
    looked = survey(found, str(folder)).modalities["text"]
    assert list(looked.failed) == ["100_0$_$0"] and len(looked.real) == 5 and looked.missing == 0
    np.testing.assert_array_equal(found.modalities["text"].read("101_1$_$0"), made.values("text", 1))


def test_other_folders_are_not_taken(tmp_path: Path) -> None:
    assert "train.json" in cherma_features.matches(Source(tmp_path))
    (tmp_path / "train.json").write_text("[]")
    assert ".npy" in cherma_features.matches(Source(tmp_path))
