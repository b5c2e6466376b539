"""Any folder of videos, and MOSI with lists of out-of-distribution splits -> clip table, value by value."""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from made.made_corpora import clip, dataset, made

from pipeline.core.errors import LabelFileError
from pipeline.corpora.ingest import ingest, survey
from pipeline.corpora.survey import CorpusSurvey
from pipeline.params.params import DatasetParams, MediaLimits


def rows_of(source: DatasetParams) -> dict[str, dict[str, Any]]:
    table, _ = ingest("x", source, MediaLimits())
    return {row["clip_id"]: row for row in table.to_pylist()}


def problems_of(source: DatasetParams) -> list[str]:
    with pytest.raises(LabelFileError) as caught:
        ingest("x", source, MediaLimits())
    return caught.value.problems


def notes_of(found: CorpusSurvey) -> dict[str, Any]:
    return {note.check: note for note in found.notes}


def table(root: Path, *lines: str, name: str = "labels.csv") -> None:
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def empty(root: Path, *names: str) -> None:
    """Files that no test here opens."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def by_hand(group: str, seed: int = 0) -> str:
    """The documented rule, from the hexadecimal digest."""
    place = int(hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()[:13], 16) / 16**13
    return "train" if place < 0.7 else "valid" if place < 0.8 else "test"


# ----------------------------------------------------------------------------------------------------- folder
def test_a_folder_with_a_table(tmp_path: Path) -> None:
    made["folder"](tmp_path)
    rows = rows_of(dataset("folder", tmp_path))
    assert set(rows) == {"talk$_$3", "talk$_$4@0.1", "other.deep$_$a", "top$_$top", "spare$_$spare"}
    whole, part, deep = rows["talk$_$3"], rows["talk$_$4@0.1"], rows["other.deep$_$a"]
    assert (whole["label"], whole["label_text"], whole["text"], whole["speaker"]) == (
        1.5,
        2.0,
        "hello",
        "ann",
    )
    assert (part["path"], part["start_s"], part["end_s"], part["label"]) == ("talk/4.mp4", 0.1, 0.5, -0.5)
    assert part["status"] == "empty text"
    assert (deep["split"], deep["label"], deep["path"]) == ("unlabeled", None, "other/deep/a.mov")
    assert (rows["spare$_$spare"]["split"], rows["spare$_$spare"]["status"]) == ("unlabeled", "ok")
    assert whole["split"] == part["split"] == by_hand("ann")
    assert rows["top$_$top"]["split"] == by_hand("bob")
    notes = notes_of(survey("x", dataset("folder", tmp_path)))
    assert notes["unlabeled"].rows == ("spare.mp4",)
    assert "split by speaker with the SHA-256 of `0:<name>`" in notes["split"].message


def test_a_folder_without_a_table_is_unlabeled(tmp_path: Path) -> None:
    clip(tmp_path / "a" / "1.mp4")
    clip(tmp_path / "2.webm.mkv", number=1)
    rows = rows_of(dataset("folder", tmp_path))
    assert {key: row["split"] for key, row in rows.items()} == {
        "a$_$1": "unlabeled",
        "2.webm$_$2.webm": "unlabeled",
    }


def test_the_split_does_not_move_when_clips_are_added(tmp_path: Path) -> None:
    names = [f"v{number}" for number in range(300)]
    empty(tmp_path, *(f"{name}/{part}.mp4" for name in names for part in (1, 2)))
    few = ["file,label", *(f"{name}/1.mp4,0" for name in names[:100])]
    many = ["file,label", *(f"{name}/{part}.mp4,0" for name in names for part in (1, 2))]
    table(tmp_path, *few)
    before = {one.id: one.split for one in survey("x", dataset("folder", tmp_path)).clips}
    table(tmp_path, *many)
    after = {one.id: one.split for one in survey("x", dataset("folder", tmp_path)).clips}
    assert all(after[f"{name}$_${part}"] == by_hand(name) for name in names for part in (1, 2))
    assert all(before[f"{name}$_$1"] == after[f"{name}$_$1"] for name in names[:100])
    shares = [sum(split == wanted for split in after.values()) / 600 for wanted in ("train", "valid", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.06)
    other = survey("x", dataset("folder", tmp_path, seed=3)).clips
    assert all(one.split == by_hand(one.video_id, 3) for one in other)
    assert {one.split for one in survey("x", dataset("folder", tmp_path, shares=[0, 0, 1])).clips} == {"test"}


def test_own_splits_ids_and_classes(tmp_path: Path) -> None:
    empty(tmp_path, "a/1.mp4", "a/2.mp4", "b/3.mp4", "c/4.mp4")
    table(
        tmp_path,
        "clip_id,Label,MODE,video_id",
        "1,Happy,train,ann",
        "2,1,dev,",
        "3,,unlabeled,",
        "4,sad,test_ood,",
    )
    source = dataset("folder", tmp_path).model_copy(
        update={"task": "classification", "classes": ["sad", "happy"]}
    )
    clips = {one.id: one for one in survey("x", source).clips}
    assert {key: (one.split, one.labels["class_label"]) for key, one in clips.items()} == {
        "ann$_$1": ("train", 1),
        "a$_$2": ("valid", 1),
        "b$_$3": ("unlabeled", None),
        "c$_$4": ("test_ood", 0),
    }
    assert not survey("x", source).problems


def test_what_is_wrong_with_a_table_is_said_at_once(tmp_path: Path) -> None:
    empty(tmp_path, "a/1.mp4", "b/1.mp4", "a/2.mp4", "a/3.mp4")
    table(
        tmp_path,
        "file,label,split,start_s,end_s",
        "a/1.mp4,9,train,,",
        "a/2.mp4,x,nowhere,,",
        "a/3.mp4,,test,3,2",
        ",1,train,,",
        "=1+1,1,train,,",
        "../../etc/x.mp4,1,train,,",
        "a/1.mp4,1,train,,",
        "b/1.mp4,1,train,soon,",
    )
    text = "\n".join(problems_of(dataset("folder", tmp_path)))
    for part in (
        "line 2: label of a/1.mp4 is '9', expected a number in [-3, 3]",
        "datasets.x.label_range",
        "line 3: label of a/2.mp4 is 'x'",
        "line 3: split of a/2.mp4 is 'nowhere'",
        "line 4: label of a/3.mp4 is empty",
        "line 4: the clip begins at 3 s but ends at 2 s",
        "line 5: file is empty",
        "line 6: file is '=1+1': a spreadsheet formula",
        "line 8: clip a$_$1 occurs twice",
        "line 9: start_s is 'soon', expected seconds",
    ):
        assert part in text, part


def test_media_that_are_missing_or_could_be_several(tmp_path: Path) -> None:
    clip(tmp_path / "a" / "1.mp4")
    clip(tmp_path / "b" / "1.mp4", number=1)
    table(tmp_path, "file,label", "1,0", "gone.mp4,1", "b\\1.mp4,2")
    found = survey("x", dataset("folder", tmp_path))
    assert not found.problems
    states = {one.id: (one.path, one.unmatched) for one in found.clips}
    assert states["1$_$1"] == (None, "ambiguous media: a/1.mp4, b/1.mp4")
    assert states["gone$_$gone"] == (None, "missing media: gone.mp4")
    assert states["b$_$1"] == ("b/1.mp4", None)


@pytest.mark.parametrize(
    ("files", "lines", "states"),
    [
        (["a.mkv", "a.mp4"], [], {"a$_$a": (None, "ambiguous media: a.mkv, a.mp4")}),
        (["x/a.mkv", "x/a.mp4"], [], {"x$_$a": (None, "ambiguous media: x/a.mkv, x/a.mp4")}),
        (["v.mp4", "v/v.mp4"], [], {"v$_$v": (None, "ambiguous media: v.mp4, v/v.mp4")}),
        (["x.y/a.mp4", "x/y/a.mp4"], [], {"x.y$_$a": (None, "ambiguous media: x.y/a.mp4, x/y/a.mp4")}),
        (["a.mkv", "a.mp4"], ["a,1"], {"a$_$a": (None, "ambiguous media: a.mkv, a.mp4")}),
        (["a.mkv", "a.mp4"], ["a.mp4,1"], {"a$_$a": ("a.mp4", None)}),
    ],
)
def test_files_of_one_id_cost_that_clip_alone(
    tmp_path: Path, files: list[str], lines: list[str], states: dict[str, Any]
) -> None:
    empty(tmp_path, "other.mp4", *files)
    if lines:
        table(tmp_path, "file,label", *lines)
    found = survey("x", dataset("folder", tmp_path))
    assert not found.problems
    expected = states | {"other$_$other": ("other.mp4", None)}
    assert {one.id: (one.path, one.unmatched) for one in found.clips} == expected
    note = notes_of(found)["one id"]
    assert note.level == "warning" and "rename or remove" in note.message and len(note.rows) == 1
    assert all(file in note.message for file in set(files) - {path for path, _ in states.values()})


def test_which_table(tmp_path: Path) -> None:
    empty(tmp_path, "1.mp4")
    table(tmp_path, "file,label", "1,1")
    table(tmp_path, "file,label", "1,2", name="more.csv")
    (problem,) = problems_of(dataset("folder", tmp_path))
    assert "2 CSV files (labels.csv, more.csv)" in problem
    assert "datasets.x.settings.labels: FILE" in problem
    (one,) = survey("x", dataset("folder", tmp_path, labels="more.csv")).clips
    assert one.labels["label"] == 2.0
    for wrong in ("gone.csv", "../labels.csv", "/labels.csv"):
        assert "no such file in" in problems_of(dataset("folder", tmp_path, labels=wrong))[0]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    empty(tmp_path, "a/1.mp4")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert [one.id for one in survey("x", dataset("folder", tmp_path)).clips] == ["a$_$1"]


# --------------------------------------------------------------------------------------------------- MOSI OOD
EXPECTED = {
    "03bSnISJMiM$_$1": "train",
    "WKA5OygbEKI$_$1": "train",
    "tmZoasNr4rU$_$1": "valid",
    "03bSnISJMiM$_$2": "test",
    "tmZoasNr4rU$_$2": "test_ood",
}
LISTS = {
    "train": ["03bSnISJMiM[0]", "WKA5OygbEKI$_$1"],
    "valid": ["tmZoasNr4rU_1"],
    "test": ["03bSnISJMiM_2"],
    "test_OOD": ["tmZoasNr4rU[1]"],
}


def test_lists_in_a_folder(tmp_path: Path) -> None:
    made["mosi_ood"](tmp_path)
    source = dataset("mosi_ood", tmp_path)
    rows = rows_of(source)
    assert {key: row["split"] for key, row in rows.items()} == EXPECTED
    assert rows["tmZoasNr4rU$_$2"]["label"] == 1.6
    notes = notes_of(survey("x", source))
    assert notes["clips in no list"].rows == ("WKA5OygbEKI$_$2",)
    assert not {"test lists", "standard folds", "published sizes"} & set(notes)


@pytest.mark.parametrize("form", ["json", "csv", "pickle", "clue"])
def test_lists_in_other_forms(tmp_path: Path, form: str) -> None:
    made["mosi"](tmp_path)
    name = {"json": "lists.json", "csv": "lists.csv", "pickle": "lists.pkl", "clue": "split_dataset_2"}[form]
    if form == "json":
        (tmp_path / name).write_text(json.dumps(LISTS))
    elif form == "csv":
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows(
                [["split", "id"], *([split, one] for split, ids in LISTS.items() for one in ids)]
            )
    elif form == "pickle":
        tree = {split: {"id": ids, "regression_labels": [0.0] * len(ids)} for split, ids in LISTS.items()}
        (tmp_path / name).write_bytes(pickle.dumps({**tree, "config": {"a": 1}}))
    else:
        (tmp_path / name).mkdir()
        files = {"train": "train", "valid": "dev", "test": "test_IID", "test_OOD": "test_OOD"}
        for split, file in files.items():
            items = [((["w"], [[0.0]], [[0.0]]), [[0.5]], one) for one in LISTS[split]]
            (tmp_path / name / f"{file}.pkl").write_bytes(pickle.dumps(items))
    rows = rows_of(dataset("mosi_ood", tmp_path, splits=name))
    assert {key: row["split"] for key, row in rows.items()} == EXPECTED


def test_identical_test_lists_are_reported(tmp_path: Path) -> None:
    made["mosi_ood"](tmp_path)
    (tmp_path / "splits" / "test_OOD.txt").write_text("03bSnISJMiM$_$2\n")
    source = dataset("mosi_ood", tmp_path)
    note = notes_of(survey("x", source))["test lists"]
    assert (note.level, note.rows) == ("warning", ("03bSnISJMiM$_$2",))
    assert "test_IID and test_OOD are identical" in note.message
    assert rows_of(source)["03bSnISJMiM$_$2"]["split"] == "test"


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    made["mosi_ood"](tmp_path)
    source = dataset("mosi_ood", tmp_path)
    (tmp_path / "splits" / "dev.txt").write_text("03bSnISJMiM_1\nunknown_7\n")
    (problem,) = problems_of(source)
    assert "clip 03bSnISJMiM$_$1 is in both train and valid" in problem
    (tmp_path / "splits" / "dev.txt").write_text("unknown_7\n")
    assert notes_of(survey("x", source))["ids without a row"].rows == ("unknown_7 (valid)",)
    (tmp_path / "splits" / "odd.txt").write_text("x\n")
    assert "split 'odd', expected train" in problems_of(source)[0]
    for place in ("nowhere", "../splits"):
        assert "settings.splits is" in problems_of(dataset("mosi_ood", tmp_path, splits=place))[0]
    (tmp_path / "empty").mkdir()
    assert "no id list in it" in problems_of(dataset("mosi_ood", tmp_path, splits="empty"))[0]
    (tmp_path / "one.json").write_text('{"train": ["strange"]}')
    assert (
        "no id of the lists is in label.csv"
        in problems_of(dataset("mosi_ood", tmp_path, splits="one.json"))[0]
    )
