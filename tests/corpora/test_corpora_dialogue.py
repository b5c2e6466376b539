"""UR-FUNNY, MUStARD, CHERMA and VoxCeleb, made small as they were published -> clip table, value by value."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.made_corpora import CHERMA_WORDS, dataset, made, voice

from pipeline.core.errors import FormatError, LabelFileError, ParamsError
from pipeline.corpora.ingest import ingest, survey
from pipeline.corpora.kinds.cherma import ENGLISH
from pipeline.params.params import MediaLimits


def rows_of(kind: str, root: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    table, _ = ingest(kind, dataset(kind, root, **settings), MediaLimits())
    return {row["clip_id"]: row for row in table.to_pylist()}


def problems_of(kind: str, root: Path, **settings: Any) -> list[str]:
    with pytest.raises(LabelFileError) as caught:
        ingest("x", dataset(kind, root, **settings), MediaLimits())
    return caught.value.problems


def change(path: Path, **entries: Any) -> None:
    """Change a pickled dict."""
    tree = pickle.loads(path.read_bytes())  # made by the test itself
    path.write_bytes(pickle.dumps(tree | entries))


# --------------------------------------------------------------------------------------------------- UR-FUNNY
def test_urfunny(tmp_path: Path) -> None:
    made["urfunny"](tmp_path)
    rows = rows_of("urfunny", tmp_path)
    assert set(rows) == {"7$_$punchline", "7$_$c0", "7$_$c1", "8$_$punchline", "8$_$c0", "9$_$punchline"}
    last, first = rows["7$_$punchline"], rows["7$_$c0"]
    assert (last["split"], last["class_label"], last["position"]) == ("train", 1, 2)
    assert (first["split"], first["class_label"], first["position"]) == ("context", None, 0)
    assert (last["start_s"], last["end_s"]) == pytest.approx((0.5, 0.65))
    assert (first["start_s"], first["end_s"]) == pytest.approx((0.1, 0.25))
    assert last["path"] == first["path"] == "urfunny2_videos/7.mp4"
    assert [rows[name]["text"] for name in ("7$_$c1", "7$_$punchline")] == ["before 1", "laugh at 7"]
    assert {key: rows[f"{key}$_$punchline"]["split"] for key in "789"} == {
        "7": "train",
        "8": "valid",
        "9": "test",
    }
    assert {row["status"] for row in rows.values()} == {"ok"}


def test_urfunny_times_of_the_talk(tmp_path: Path) -> None:
    made["urfunny"](tmp_path)
    talk = {
        "punchline_sentence": ["laugh", "now"],
        "context_sentences": [["well", "then"]],
        "punchline_intervals": [[301.0, 301.2], [301.3, 301.6]],
        "context_intervals": [[[300.5, 300.7], [300.7, 300.9]]],
    }
    language = pickle.loads((tmp_path / "language_sdk.pkl").read_bytes())
    (tmp_path / "language_sdk.pkl").write_bytes(pickle.dumps({**language, 8: talk}))
    assert rows_of("urfunny", tmp_path)["8$_$punchline"]["status"].startswith(
        "times beyond the media: ends at 301.60 s"
    )
    row = rows_of("urfunny", tmp_path, times="first_word")["8$_$punchline"]
    assert (row["start_s"], row["end_s"]) == pytest.approx((0.5, 1.1))
    assert (row["text"], row["status"]) == ("laugh now", "ok")


def test_urfunny_with_gaps_is_told_and_with_wrong_labels_refused(tmp_path: Path) -> None:
    made["urfunny"](tmp_path)
    (tmp_path / "urfunny2_videos" / "9.mp4").unlink()
    (tmp_path / "data_folds.pkl").write_bytes(pickle.dumps({"train": [7, 99], "dev": [8], "test": [9]}))
    assert rows_of("urfunny", tmp_path)["9$_$punchline"]["status"] == "missing media: 9.mp4"
    notes = {note.check: note.rows for note in survey("u", dataset("urfunny", tmp_path)).notes}
    assert notes["ids without text"] == ("99",)
    (tmp_path / "humor_label_sdk.pkl").write_bytes(pickle.dumps({7: 2, 8: 0, 9: 1}))
    (tmp_path / "data_folds.pkl").write_bytes(pickle.dumps({"train": [7], "dev": [8, 7], "held_out": [9]}))
    problems = problems_of("urfunny", tmp_path)
    assert any("label of 7 is 2, expected 0 or 1" in problem for problem in problems)
    assert any("fold 'held_out'" in problem for problem in problems)
    assert any("clip 7$_$punchline is in both train and valid" in problem for problem in problems)


def test_a_pickle_that_is_more_than_data_is_not_run(tmp_path: Path) -> None:
    made["urfunny"](tmp_path)
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (mark,))

    (tmp_path / "humor_label_sdk.pkl").write_bytes(pickle.dumps({7: Evil()}))
    (problem,) = problems_of("urfunny", tmp_path)
    assert "humor_label_sdk.pkl" in problem
    assert not mark.exists()


# ---------------------------------------------------------------------------------------------------- MUStARD
def test_mustard(tmp_path: Path) -> None:
    made["mustard"](tmp_path)
    rows = rows_of("mustard", tmp_path)
    assert len(rows) == 60
    said = rows["1_0$_$utterance"]
    assert (said["speaker"], said["class_label"], said["position"]) == ("CHANDLER", 1, 2)
    assert (said["text"], said["path"]) == ("- Now?! - No, said 0", "utterances_final/1_0.mp4")
    first, then = rows["1_0$_$c0"], rows["1_0$_$c1"]
    assert [first["split"], first["text"], first["speaker"]] == ["context", "first 0", "PENNY"]
    assert [first["path"], first["status"]] == [None, "ok"]  # one video has all, and is with the last
    assert [then["path"], then["status"], then["position"]] == ["context_final/1_0_c.mp4", "ok", 1]
    assert rows["2_19$_$c1"]["status"] == "missing media: context_final/2_19_c.mp4"
    assert rows["2_19$_$utterance"]["status"] == "missing media: utterances_final/2_19.mp4"


@pytest.mark.parametrize("fold", [0, 3])
def test_mustard_folds(tmp_path: Path, fold: int) -> None:
    made["mustard"](tmp_path)
    keys = list(json.loads((tmp_path / "data" / "sarcasm_data.json").read_text()))
    rows = rows_of("mustard", tmp_path, fold=fold, valid=0.25)
    split = {key: rows[f"{key}$_$utterance"]["split"] for key in keys}
    assert [key for key in keys if split[key] == "test"] == keys[fold::5]
    # the rule, by hand: of each class the quarter with the smallest SHA-256 of the id
    for label in (0, 1):
        rest = [
            key for key in keys if split[key] != "test" and rows[f"{key}$_$utterance"]["class_label"] == label
        ]
        rest.sort(key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        assert {key for key in rest if split[key] == "valid"} == set(rest[: round(len(rest) / 4)])


def test_mustard_speaker_independent(tmp_path: Path) -> None:
    made["mustard"](tmp_path)
    (tmp_path / "data" / "split_indices.p").unlink()
    rows = rows_of("mustard", tmp_path, split="speaker_independent", valid=0.2)
    counts = Counter((row["split"], row["speaker"]) for row in rows.values() if row["split"] != "context")
    assert counts == {("test", "CHANDLER"): 10, ("train", "SHELDON"): 8, ("valid", "SHELDON"): 2}
    assert "speaker_independent" in problems_of("mustard", tmp_path)[0]  # the way out of a missing file
    with pytest.raises(ParamsError, match=r"settings\.fold is 5"):
        rows_of("mustard", tmp_path, fold=5)


def test_mustard_problems_are_listed_at_once(tmp_path: Path) -> None:
    made["mustard"](tmp_path)
    path = tmp_path / "data" / "sarcasm_data.json"
    good = json.loads(path.read_text())
    bad = {key: dict(entry) for key, entry in good.items()}
    bad["1_0"]["sarcasm"] = "yes"
    bad["2_1"]["context_speakers"] = ["PENNY"]
    bad["a/b"] = bad["1_2"]
    del bad["2_3"]["utterance"]
    path.write_text(json.dumps(bad))
    problems = problems_of("mustard", tmp_path)
    assert len(problems) == 4
    assert [
        any(problem.startswith(f"{key}: ") for problem in problems) for key in ("1_0", "2_1", "a/b", "2_3")
    ] == [True] * 4
    path.write_text(json.dumps({key: good[key] for key in list(good)[:19]}))
    assert "do not cover the 19 entries" in problems_of("mustard", tmp_path)[0]
    for entry in good.values():
        del entry["show"]
    path.write_text(json.dumps(good))
    assert "20 entries have no show" in problems_of("mustard", tmp_path, split="speaker_independent")[0]


@pytest.mark.parametrize("name", [1, 2.5, True, ["x"], {}])
@pytest.mark.parametrize("key", ["speaker", "context_speakers"])
def test_mustard_speakers_are_names(tmp_path: Path, key: str, name: Any) -> None:
    made["mustard"](tmp_path)
    path = tmp_path / "data" / "sarcasm_data.json"
    entries = json.loads(path.read_text())
    entries["1_0"][key] = name if key == "speaker" else ["PENNY", name]
    path.write_text(json.dumps(entries))
    assert problems_of("mustard", tmp_path) == [
        "1_0: speaker or context_speakers has items that are not names"
    ]


# ----------------------------------------------------------------------------------------------------- CHERMA
def test_cherma(tmp_path: Path) -> None:
    made["cherma"](tmp_path)
    rows = rows_of("cherma", tmp_path)
    row = rows["valid_0$_$0"]  # number 2: 恐惧 高兴 平静 悲伤
    columns = ("class_label", "class_text", "class_audio", "class_visual")
    assert [ENGLISH[row[name]] for name in columns] == ["fear", "happy", "neutral", "sad"]
    assert (row["split"], row["language"], row["path"]) == ("valid", "zh", "visual/valid/valid_0.mp4")
    assert (row["text"], row["status"], row["label"]) == (None, "ok", None)
    sound = rows["test_1$_$0"]
    assert (sound["path"], sound["status"], sound["width"]) == ("audio/test/test_1.wav", "ok", None)


def test_cherma_with_classes_in_another_order_and_in_chinese(tmp_path: Path) -> None:
    made["cherma"](tmp_path)
    turned = dataset("cherma", tmp_path).model_copy(update={"classes": list(CHERMA_WORDS[::-1])})
    table, facts = ingest("c", turned, MediaLimits())
    row = next(row for row in table.to_pylist() if row["clip_id"] == "valid_0$_$0")
    assert facts.class_names[row["class_label"]] == "恐惧"
    other = dataset("cherma", tmp_path).model_copy(update={"classes": ["bored", *ENGLISH[1:]]})
    with pytest.raises(LabelFileError, match=r"datasets\.c\.classes has no anger"):
        ingest("c", other, MediaLimits())


def test_cherma_problems_are_listed_at_once(tmp_path: Path) -> None:
    made["cherma"](tmp_path)
    entries = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    good = entries[0]
    wrong = [
        good,
        {**good, "video_file": "../x.mp4"},
        {**good, "video_file": "z.mp4", "txt_label": "bored"},
        {"txt_label": "高兴"},
        {**good, "video_file": "test_0.mp4"},
        {**good, "video_file": "y.mp4", "video_label": None},
    ]
    (tmp_path / "train.json").write_text(json.dumps(wrong), encoding="utf-8")
    problems = problems_of("cherma", tmp_path)
    for part in (
        "entry 1: file '../x.mp4'",
        "entry 2: txt_label is 'bored'",
        "entry 3: no video_file",
        "clip test_0$_$0 is in both train and test",
        "entry 5: video_label is None",
    ):
        assert any(part in problem for problem in problems), part
    (tmp_path / "valid.json").write_text("{", encoding="utf-8")
    (tmp_path / "test.json").write_text("{}", encoding="utf-8")
    text = "\n".join(problems_of("cherma", tmp_path))
    assert "valid.json: cannot be read as JSON" in text
    assert "test.json: holds a dict" in text


# --------------------------------------------------------------------------------------------------- VoxCeleb
def test_voxceleb(tmp_path: Path) -> None:
    made["voxceleb"](tmp_path)
    rows = rows_of("voxceleb", tmp_path)
    assert {
        key: (row["split"], row["speaker"], row["path"], row["text"], row["status"])
        for key, row in rows.items()
    } == {
        "id00012_21Uxsk56VDQ$_$00001": (
            "unlabeled",
            "id00012",
            "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4",
            "what a day",
            "ok",
        ),
        "id00012_21Uxsk56VDQ$_$00002": (
            "unlabeled",
            "id00012",
            "dev/mp4/id00012/21Uxsk56VDQ/00002.mp4",
            None,
            "ok",
        ),
        "id10001_1zcIwhmdeo4$_$00001": (
            "unlabeled",
            "id10001",
            "wav/id10001/1zcIwhmdeo4/00001.wav",
            None,
            "ok",
        ),
    }  # the .txt of face tracks is no text
    assert all(row["label"] is None for row in rows.values())
    notes = {note.check: note.message for note in survey("v", dataset("voxceleb", tmp_path)).notes}
    assert "1 clips have their sound in a separate file" in notes["separate files"]


def test_voxceleb_sound_and_speakers(tmp_path: Path) -> None:
    made["voxceleb"](tmp_path)
    rows = rows_of("voxceleb", tmp_path, media="sound")
    assert rows["id00012_21Uxsk56VDQ$_$00001"]["path"] == "dev/aac/id00012/21Uxsk56VDQ/00001.m4a"
    assert rows["id00012_21Uxsk56VDQ$_$00001"]["text"] == "what a day"
    assert set(rows_of("voxceleb", tmp_path, speakers=["id10001"])) == {"id10001_1zcIwhmdeo4$_$00001"}
    assert "settings.speakers" in problems_of("voxceleb", tmp_path, speakers=["id3"])[0]
    voice(tmp_path / "more" / "id10001" / "1zcIwhmdeo4" / "00001.wav")
    assert "one clip, several files" in problems_of("voxceleb", tmp_path)[0]
    assert np.array_equal(sorted(rows), sorted(set(rows)))


def test_values_of_no_expected_shape_are_one_line(tmp_path: Path) -> None:
    made["urfunny"](tmp_path)
    change(tmp_path / "data_folds.pkl", test=-1)
    with pytest.raises(FormatError, match=r"kind urfunny\): the contents are not laid out as expected"):
        rows_of("urfunny", tmp_path)


@pytest.mark.parametrize("kind", ["cherma", "mustard", "urfunny"])
def test_a_bug_of_ours_is_not_told_as_damage(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made[kind](tmp_path)

    def wrong(*_: object, **__: object) -> None:
        len(1.5)  # type: ignore[arg-type]

    monkeypatch.setattr(f"pipeline.corpora.kinds.{kind}.find_media", wrong)
    with pytest.raises(TypeError):
        rows_of(kind, tmp_path)
