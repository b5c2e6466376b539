"""Every kind of corpus, made small in its published layout -> clip table; MMSA's relatives value by value."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from made.made_corpora import HEADER, MOSI, clip, dataset, label_csv, made
from made.validated import validate

from pipeline.core.errors import LabelFileError, ParamsError
from pipeline.corpora.clips import facts_of, read_clips, write_clips
from pipeline.corpora.ingest import KINDS, ingest, reader, survey
from pipeline.corpora.kinds.mosi import PUBLISHED, VIDEOS
from pipeline.corpora.survey import CorpusSurvey
from pipeline.params.params import MediaLimits


def rows_of(kind: str, root: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    table, facts = ingest(kind, dataset(kind, root, **settings), MediaLimits())
    path = root.with_suffix(".parquet")
    write_clips(table, path, facts)
    back = read_clips(path)
    assert back.to_pylist() == table.to_pylist()
    assert facts_of(back) == facts
    return {row["clip_id"]: row for row in back.to_pylist()}


def notes_of(found: CorpusSurvey) -> dict[str, tuple[str, ...]]:
    return {note.check: note.rows for note in found.notes}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_clip_table_twice_and_passes_validate(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "corpus"
    made[kind](root)
    before = rows_of(kind, root)
    bytes_before = (tmp_path / "corpus.parquet").read_bytes()
    shutil.move(root, tmp_path / "moved")
    assert rows_of(kind, tmp_path / "moved") == before
    assert (tmp_path / "moved.parquet").read_bytes() == bytes_before
    assert str(tmp_path).encode() not in bytes_before
    for row in before.values():
        assert row["path"] is None or (row["sha256"] and (tmp_path / "moved" / row["path"]).is_file())
    findings = validate(dataset(kind, tmp_path / "moved"))
    assert not [finding for finding in findings if finding.level == "error"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_root_says_what_is_expected(tmp_path: Path, kind: str) -> None:
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(LabelFileError, match=r"datasets\.x\.root is") as caught:
            ingest("x", dataset(kind, root), MediaLimits())
        assert "expected" in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if hasattr(reader(kind), "SETTINGS")])
def test_unknown_settings_are_named(tmp_path: Path, kind: str) -> None:
    made[kind](tmp_path)
    with pytest.raises(ParamsError, match=r"datasets\.x\.settings\.colour"):
        survey("x", dataset(kind, tmp_path, colour="red"))


@pytest.mark.parametrize("kind", ["cherma", "urfunny", "mustard", "ravdess"])
def test_a_regression_is_refused_where_the_corpus_has_classes(tmp_path: Path, kind: str) -> None:
    made[kind](tmp_path)
    wrong = dataset(kind, tmp_path).model_copy(update={"task": "regression", "classes": []})
    with pytest.raises(LabelFileError, match="write `task: classification` and `classes: "):
        ingest("x", wrong, MediaLimits())


# ------------------------------------------------------------------------------------------------------- MOSI
def test_mosi(tmp_path: Path) -> None:
    made["mosi"](tmp_path / "m")
    rows = rows_of("mosi", tmp_path / "m")
    row = rows["tmZoasNr4rU$_$2"]
    assert (row["split"], row["label"], row["text"]) == ("test", 1.6, "Well, test 2")
    assert (row["path"], row["status"], row["position"]) == ("Raw/tmZoasNr4rU/2.mp4", "ok", 1)
    assert [row["label_text"], row["class_label"], row["speaker"]] == [None] * 3
    notes = survey("m", dataset("mosi", tmp_path / "m")).notes
    sizes = next(note for note in notes if note.check == "published sizes")
    assert "2 train (published: 1284), 2 valid (published: 229), 2 test (published: 686)" in sizes.message
    missing = next(note for note in notes if note.check == "videos missing")
    assert len(missing.rows) == 90
    assert not set(missing.rows) & {video for video, _ in MOSI}


def test_mosi_in_another_split_and_in_upper_case(tmp_path: Path) -> None:
    header = "video_id,clip_id,text,label,annotation,mode,label_by"
    rows = [
        ["03bSnISJMiM", "1", "IT WAS GOOD", 1, "Positive", "test", "0"],
        ["strange", "1", "I SEE", 0, "Neutral", "train", "0"],
    ]
    label_csv(tmp_path, rows, header=header)
    found = survey("m", dataset("mosi", tmp_path))
    notes = notes_of(found)
    assert notes["standard folds"] == ("03bSnISJMiM$_$1 (test, standard: train)",)
    assert notes["videos unknown"] == ("strange",)
    assert "upper case" in notes
    assert [one.text for one in found.clips] == ["IT WAS GOOD", "I SEE"]
    lower = survey("m", dataset("mosi", tmp_path, lower_case=True))
    assert [one.text for one in lower.clips] == ["it was good", "i see"]
    assert "upper case" not in notes_of(lower)


def test_edited_copies_are_named_and_not_used(tmp_path: Path) -> None:
    made["mosi"](tmp_path)
    shutil.copy(tmp_path / "Raw/03bSnISJMiM/1.mp4", tmp_path / "Raw/03bSnISJMiM/1-edited.mp4")
    clip(tmp_path / "Raw/03bSnISJMiM/99.mp4", number=50)
    found = survey("m", dataset("mosi", tmp_path))
    assert notes_of(found)["edited copies"] == ("Raw/03bSnISJMiM/1-edited.mp4",)
    spare = next(one for one in validate(dataset("mosi", tmp_path)) if one.check == "files without a row")
    assert spare.rows == ("Raw/03bSnISJMiM/1-edited.mp4", "Raw/03bSnISJMiM/99.mp4")


@pytest.mark.shared
def test_the_real_mosi_has_the_standard_folds_and_sizes(shared: Path) -> None:
    found = survey("mosi", dataset("mosi", shared / "datasets" / "mosi"))
    assert not found.problems
    assert not {"standard folds", "videos missing", "videos unknown", "published sizes"} & set(
        notes_of(found)
    )
    with open(shared / "datasets" / "mosi" / "label.csv", encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    for split, videos in VIDEOS.items():
        assert set(videos.split()) == {row["video_id"] for row in table if row["mode"] == split}
    assert Counter(row["mode"] for row in table) == PUBLISHED


# ------------------------------------------------------------------------------------------------ MOSEI, SIMS
def test_mosei(tmp_path: Path) -> None:
    made["mosei"](tmp_path / "m")
    rows = rows_of("mosei", tmp_path / "m")
    assert set(rows) == {"3aIQUQgawaI$_$12", "-3g5yACwYnA$_$10", "100178$_$3", "1e5$_$0"}
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows["1e5$_$0"]["label"] == 0.6666666865
    assert notes_of(survey("m", dataset("mosei", tmp_path / "m")))["broken sound"] == ("3aIQUQgawaI$_$12",)
    assert set(rows) - set(rows_of("mosei", tmp_path / "m", broken_sound="drop")) == {"3aIQUQgawaI$_$12"}


def test_sims(tmp_path: Path) -> None:
    made["sims"](tmp_path / "s")
    row = rows_of("sims", tmp_path / "s")["video_0001$_$2"]
    assert (row["path"], row["split"], row["language"]) == ("Raw/video_0001/0002.mp4", "valid", "zh")
    labels = ("label", "label_text", "label_audio", "label_visual")
    assert [row[name] for name in labels] == [0.4, 0.2, -0.6, 1.0]
    assert row["text"] == "我很喜欢，真的"


def test_sims_with_another_scale_and_language_and_a_thin_label_file(tmp_path: Path) -> None:
    label_csv(tmp_path, [["v", "1", "好", 1, "", 0, 0, "Positive", "train"]])
    wrong = dataset("sims", tmp_path).model_copy(update={"language": "en", "label_range": (-3.0, 3.0)})
    found = survey("s", wrong)
    notes = {note.check: note for note in found.notes}
    assert notes["label range"].message.startswith("datasets.s.label_range is [-3.0, 3.0]")
    assert notes["language"].message.endswith("this corpus is in 'zh'")
    assert notes["unimodal labels"].rows == ("v$_$1",)


def test_simsv2_and_its_unlabelled_part(tmp_path: Path) -> None:
    root = tmp_path / "s"
    made["simsv2"](root)
    labelled = rows_of("simsv2", root)
    assert len(labelled) == 6
    rows = rows_of("simsv2", root, unlabeled="u")
    assert {key: rows[key] for key in labelled} == labelled
    extra = {key: row for key, row in rows.items() if key not in labelled}
    assert {key: (row["split"], row["path"], row["text"], row["status"]) for key, row in extra.items()} == {
        "u_video_0000$_$0001": ("unlabeled", "u/Raw/video_0000/0001.mp4", "没有标签", "ok"),
        "x$_$0007": ("unlabeled", "u/Raw/x/0007.mp4", None, "empty text"),
    }
    assert all(row["label"] is None for row in extra.values())
    (root / "u" / "meta.csv").unlink()
    assert {row["status"] for key, row in rows_of("simsv2", root, unlabeled="u").items() if key in extra} == {
        "ok"
    }
    for place in ("nowhere", "../s/u", "/u"):
        with pytest.raises(LabelFileError, match=r"settings\.unlabeled is .*no such folder in"):
            rows_of("simsv2", root, unlabeled=place)


def test_unlabelled_clips_without_a_row_have_no_text_wherever_they_stand(tmp_path: Path) -> None:
    made["simsv2"](tmp_path)
    for video in ("a", "z"):  # before and behind all clips that have one
        clip(tmp_path / "u" / "Raw" / video / "0001.mp4")
    rows = rows_of("simsv2", tmp_path, unlabeled="u")
    assert rows["a$_$0001"]["status"] == rows["z$_$0001"]["status"] == "empty text"


def test_videos_of_the_unlabelled_part_whose_ids_are_taken_are_told_apart(tmp_path: Path) -> None:
    root = tmp_path / "s"
    made["simsv2"](root)
    label_csv(root, [["video_0000", "0001", "好", 0, 0, 0, 0, "Neutral", "train"]], "meta.csv", HEADER)
    rows = rows_of("simsv2", root, unlabeled="u")
    assert rows["video_0000$_$0001"]["path"] == "Raw/video_0000/0001.mp4"
    assert rows["u_video_0000$_$0001"]["path"] == "u/Raw/video_0000/0001.mp4"


@pytest.mark.parametrize(
    ("kind", "file", "settings"),
    [
        ("mosi_ood", "splits/dev.txt", {}),
        ("mosi_ood", "lists.csv", {"splits": "lists.csv"}),
        ("simsv2", "u/meta.csv", {"unlabeled": "u"}),
    ],
)
@pytest.mark.parametrize(
    "damage", [b"id,split\n\0", "id,split".encode("utf-16"), b"\n"], ids=["nul", "utf-16", "empty"]
)
def test_a_problem_of_a_second_file_names_that_file(
    tmp_path: Path, kind: str, file: str, settings: dict[str, str], damage: bytes
) -> None:
    made[kind](tmp_path)
    (tmp_path / file).write_bytes(damage)
    with pytest.raises(LabelFileError) as caught:
        ingest("x", dataset(kind, tmp_path, **settings), MediaLimits())
    assert all(str(tmp_path / file) in problem for problem in caught.value.problems), caught.value.problems


def test_a_clip_of_two_lists_is_told_with_where_the_lists_are(tmp_path: Path) -> None:
    made["mosi_ood"](tmp_path)
    dev = tmp_path / "splits" / "dev.txt"
    dev.write_text(dev.read_text() + (tmp_path / "splits" / "train.txt").read_text())
    with pytest.raises(LabelFileError) as caught:
        ingest("x", dataset("mosi_ood", tmp_path), MediaLimits())
    first, _ = caught.value.problems
    assert first == "splits: clip 03bSnISJMiM$_$1 is in both train and valid; keep it in one"
