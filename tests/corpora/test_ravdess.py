"""RAVDESS: names of files as clips, what the settings take, what is wrong, and the published folds."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from made.made_corpora import dataset, made, voice

from pipeline.core.errors import LabelFileError, MsaError
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table, facts_of, read_clips, write_clips
from pipeline.corpora.ingest import ingest, survey
from pipeline.corpora.kinds.ravdess import ACTORS, EMOTIONS, PUBLISHED_FOLDS
from pipeline.datasets.assembly.protocol import apply
from pipeline.params.assemble import ProtocolParams
from pipeline.params.params import MediaLimits

SPEECH = [
    f"01-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}"
    for emotion, intensity, statement, repetition in product(range(1, 9), (1, 2), (1, 2), (1, 2))
    if (emotion, intensity) != (1, 2)
]
"""vocal channel to repetition of what an actor speaks"""


def empty_files(folder: Path, names: list[str]) -> Path:
    """A corpus whose files have names and nothing else, which is all that a survey looks at."""
    for name in names:
        place = folder / f"Actor_{name[-6:-4]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    return folder


def told(root: Path, **settings: Any) -> str:
    with pytest.raises(LabelFileError) as caught:
        ingest("x", dataset("ravdess", root, **settings), MediaLimits())
    return str(caught.value)


def test_names_become_clips(tmp_path: Path) -> None:
    made["ravdess"](tmp_path)
    table, facts = ingest("r", dataset("ravdess", tmp_path), MediaLimits())
    rows = {row["clip_id"]: row for row in table.to_pylist()}
    row = rows["08-02-01-02-10$_$0"]
    assert (row["class_label"], row["speaker"], row["language"]) == (7, "10", "en")
    assert (
        row["text"] == "Kids are talking by the door." and row["path"] == "Actor_10/01-01-08-02-01-02-10.mp4"
    )
    assert row["status"] == "ok" and row["has_audio"]
    assert rows["01-01-02-01-03$_$0"]["text"] == "Dogs are sitting by the door."
    splits = {row["speaker"]: row["split"] for row in rows.values()}
    assert splits == {"02": "test", "03": "valid", "10": "train", "08": "train", "01": "train"}
    write_clips(table, tmp_path / "clips.parquet", facts)
    assert facts_of(read_clips(tmp_path / "clips.parquet")).published_folds == PUBLISHED_FOLDS


@pytest.mark.parametrize(
    ("settings", "speech", "songs"),
    [
        ({}, 5, 0),
        ({"vocal": "song"}, 0, 1),
        ({"vocal": "both"}, 5, 1),
        ({"modality": "audio"}, 1, 0),
        ({"modality": "visual"}, 1, 0),
    ],
)
def test_settings_say_what_is_taken(
    tmp_path: Path, settings: dict[str, str], speech: int, songs: int
) -> None:
    made["ravdess"](tmp_path)
    found = survey("r", dataset("ravdess", tmp_path, **settings))
    assert not found.problems and len(found.clips) == speech + songs == len(found.files)
    assert sum(clip.video_id.startswith("song-") for clip in found.clips) == songs


def test_what_there_is_is_said_where_nothing_is_taken(tmp_path: Path) -> None:
    voice(tmp_path / "03-01-08-02-01-02-10.wav")
    said = (
        "no file has modality: audio_visual, vocal: speech; write modality: audio, vocal: speech in datasets"
    )
    assert said in told(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("clip.wav", "expected seven two-digit numbers"),
        ("03-01-01-01-01-01.wav", "expected seven two-digit numbers"),
        ("04-01-01-01-01-01-01.wav", "modality is 04, expected 01 to 03"),
        ("03-03-01-01-01-01-01.wav", "vocal channel is 03, expected 01 to 02"),
        ("03-01-09-01-01-01-01.wav", "emotion is 09, expected 01 to 08"),
        ("03-02-07-01-01-01-01.wav", "emotion is 07, expected 01 to 06"),  # nobody sings disgust
        ("03-01-01-02-01-01-01.wav", "intensity is 02, expected 01 to 01"),  # of neutral
        ("03-01-02-01-03-01-01.wav", "statement is 03, expected 01 to 02"),
        ("03-01-02-01-01-00-01.wav", "repetition is 00, expected 01 to 02"),
        ("03-01-02-01-01-01-25.wav", "actor is 25, expected 01 to 24"),
        ("Actor_02/03-01-02-01-01-01-01.wav", "actor is 01, but the file is in Actor_02"),
    ],
)
def test_wrong_names_are_problems(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    empty_files(tmp_path, ["03-01-02-01-01-01-01.wav"])
    assert f"{name}: {reason}" in told(tmp_path, modality="audio")


def test_the_same_recording_twice_is_a_problem(tmp_path: Path) -> None:
    """As in a copy of the corpus that has all folders a second time below one of them."""
    empty_files(tmp_path, ["03-01-02-01-01-01-01.wav"])
    empty_files(tmp_path / "again", ["03-01-02-01-01-01-01.wav"])
    said = told(tmp_path, modality="audio")
    assert "Actor_01/03-01-02-01-01-01-01.wav, again/Actor_01/03-01-02-01-01-01-01.wav: one recording" in said


def test_clips_without_a_file_are_listed(tmp_path: Path) -> None:
    names = [f"03-{name}-{actor}.wav" for name in SPEECH for actor in ACTORS]
    assert len(names) == 1440
    empty_files(tmp_path, names[1:-1])
    notes = {note.check: note for note in survey("r", dataset("ravdess", tmp_path, modality="audio")).notes}
    assert notes["clips missing"].rows == ("01-01-01-01-01", "08-02-02-02-24")
    assert notes["clips missing"].level == "warning"
    empty_files(tmp_path, names)
    found = survey("r", dataset("ravdess", tmp_path, modality="audio"))
    assert not found.problems and "clips missing" not in {note.check for note in found.notes}
    counts = Counter(clip.labels["class_label"] for clip in found.clips)
    assert counts == {0: 96, **dict.fromkeys(range(1, 8), 192)}


def test_songs_are_1012(tmp_path: Path) -> None:
    songs = {f"02{name[2:]}" for name in SPEECH if name[3:5] < "07"}
    empty_files(tmp_path, [f"03-{name}-{actor}.wav" for name in songs for actor in ACTORS if actor != "18"])
    found = survey("r", dataset("ravdess", tmp_path, modality="audio", vocal="song"))
    assert len(found.clips) == 1012 and "clips missing" not in {note.check for note in found.notes}


def test_classes_may_be_in_another_order(tmp_path: Path) -> None:
    made["ravdess"](tmp_path)
    turned = dataset("ravdess", tmp_path).model_copy(update={"classes": ["Surprised", *EMOTIONS[:7]]})
    labels = {clip.video_id: clip.labels["class_label"] for clip in survey("r", turned).clips}
    assert (labels["08-02-01-02-10"], labels["01-01-02-01-03"]) == (0, 1)
    other = turned.model_copy(update={"classes": ["angst", *EMOTIONS[1:]]})
    with pytest.raises(LabelFileError, match="classes has no neutral; expected neutral, calm"):
        ingest("x", other, MediaLimits())


# -------------------------------------------------------------------------------------------------- the folds
def actors(number: int = 24, folds: Any = PUBLISHED_FOLDS) -> Any:
    """A clip table of two clips an actor."""
    rows = [
        {"clip_id": f"{a}-{i}$_$0", "video_id": f"{a}-{i}", "speaker": a, "split": "train", "class_label": i}
        | {"language": "en", "status": "ok"}
        for a in ACTORS[:number]
        for i in range(2)
    ]
    facts = ClipFacts("r", "en", (-3.0, 3.0), "classification", EMOTIONS, published_folds=folds)
    return clip_table(rows).replace_schema_metadata({METADATA_KEY: facts.to_json()})


def dealt(table: Any, **folds: Any) -> dict[str, set[str]]:
    """Split -> its speakers."""
    params = ProtocolParams.model_validate({"folds": {"by": "published", **folds}})
    done, _ = apply(table, params, "assemble.r")
    found: dict[str, set[str]] = {}
    for row in done.to_pylist():
        found.setdefault(row["split"], set()).add(row["speaker"])
    return found


@pytest.mark.parametrize("fold", range(5))
def test_the_published_fold_tests_and_two_other_speakers_validate(fold: int) -> None:
    found = dealt(actors(), fold=fold)
    assert found["test"] == set(PUBLISHED_FOLDS[fold])
    assert len(found["valid"]) == 2 and not found["valid"] & (found["train"] | found["test"])
    assert set.union(*found.values()) == set(ACTORS)


def test_every_actor_is_in_one_fold() -> None:
    assert sorted(actor for fold in PUBLISHED_FOLDS for actor in fold) == list(ACTORS)


def test_folds_that_are_not_published() -> None:
    with pytest.raises(MsaError, match=r"assemble\.r\.protocol\.folds\.by is 'published', but r has no pub"):
        dealt(actors(folds=()), fold=0)
    with pytest.raises(MsaError, match="number is 4, but 5 folds are published"):
        dealt(actors(), fold=0, number=4)
    with pytest.raises(MsaError, match="speakers 01, 04 are in none of the published folds"):
        dealt(actors(5, [["02"], ["03", "05"]]), fold=0, number=2)
    with pytest.raises(MsaError, match=r"fold is 2, which has 0 clips to test with.*ingest the clips of all"):
        dealt(actors(9), fold=2)


def test_a_table_without_published_folds_says_nothing_of_them() -> None:
    assert b"published" not in ClipFacts("r", "en", (-3.0, 3.0)).to_json()


@pytest.mark.shared
def test_the_real_clips(shared: Path) -> None:
    root = shared / "datasets" / "ravdess"
    found = survey("r", dataset("ravdess", root, modality="audio"))
    assert not found.problems and [note.check for note in found.notes] == ["split"]
    with open(root / "label.csv", encoding="utf-8", newline="") as file:
        table = {row["clip"]: row for row in csv.DictReader(file)}
    assert len(found.clips) == len(table) == 1440
    for clip in found.clips:
        row = table[clip.video_id]
        label = EMOTIONS[int(clip.labels["class_label"] or 0)]
        assert (clip.path, label, clip.text) == (row["file"], row["emotion"], row["text"])
        assert clip.speaker == row["speaker"] and clip.speaker in PUBLISHED_FOLDS[int(row["fold"])]
    counts = Counter(row["fold"] for row in table.values())
    assert counts == {"0": 300, "1": 300, "2": 300, "3": 300, "4": 240}
