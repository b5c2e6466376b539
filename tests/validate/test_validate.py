"""validate: each check fires on what it is for, names the rows, and stays silent on a sound corpus."""

from __future__ import annotations

import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made.mmsa_corpus import GOOD, corpus, tiny_clip
from made.validated import validate

from pipeline.corpora.findings import Finding
from pipeline.params.params import DatasetParams, MediaLimits
from pipeline.validate.labels import BINS

SOUND = ["a,1,hello,1,,,,Positive,train", "b,1,no,-1,,,,Negative,valid", "c,1,well,0,,,,Neutral,test"]


def sound_media(root: Path) -> None:
    for number, video in enumerate("abc"):
        tiny_clip(root / "Raw" / video / "1.mp4", shade=number * 50)


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, number * 1024, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def found(findings: list[Finding], check: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def test_a_sound_corpus_gives_counts_and_nothing_else(tmp_path: Path) -> None:
    dataset = corpus(tmp_path, *SOUND, language="en")
    sound_media(tmp_path)
    findings = validate(dataset)
    assert {finding.check for finding in findings if finding.level != "info"} == {"few clips"}
    messages = [finding.message for finding in findings]
    assert "train: 1 clips of 1 videos, 1 without a warning, 0.0 min of media" in messages
    assert (
        f"valid: 0 0 1 0 0 0 0 labels in {BINS} equal bins of [-3, 3], 100% in the middle third" in messages
    )
    assert validate(tmp_path, MediaLimits(), workers=2) == findings  # a folder does as well


def test_fatal_problems_of_the_label_file_are_collected(tmp_path: Path) -> None:
    bad = ["a,2,x,9,,,,,train", "a,3,x,one,,,,,train", "a,1,x,1,,,,,test", "a,1,x,1,,,,,train"]
    findings = validate(corpus(tmp_path, GOOD, *bad))
    errors = {finding.check: finding for finding in findings if finding.level == "error"}
    assert set(errors) == {"label range", "label", "id in two splits", "duplicate ids", "range setting"}
    assert "line 3" in errors["label range"].message
    assert "line 5: clip a$_$1 is in test, and in line 2 in train" in errors["id in two splits"].message
    assert [finding.level for finding in findings[: len(errors)]] == ["error"] * len(errors)  # worst first
    missing = found(findings, "missing media")  # the media of readable rows are checked all the same
    assert missing.rows[0] == "a$_$1: Raw/a/1.mp4"


def test_several_lines_with_one_problem_are_one_finding(tmp_path: Path) -> None:
    findings = validate(corpus(tmp_path, *(f"a,{number},x,?,,,,,train" for number in range(30))))
    error = found(findings, "label")
    assert error.message.endswith("label.csv: 30 lines")
    assert len(error.rows) == 30
    assert error.rows[29].startswith("line 31: label of clip a$_$29 is '?'")


def test_without_a_label_file_only_that_is_said(tmp_path: Path) -> None:
    sound_media(tmp_path)
    (finding,) = validate(tmp_path)
    assert (finding.level, finding.check) == ("error", "file")
    assert "Raw/<video_id>/<clip_id>.mp4" in finding.message


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    header = "video_id,clip_id,text,label,mode,label_text"
    findings = validate(corpus(tmp_path, "a,1,x,1,train,0.5", header=header))
    assert found(findings, "columns").message.endswith("unused columns: label_text")
    assert found(findings, "columns").level == "info"


def test_splits_without_rows_are_warned_of(tmp_path: Path) -> None:
    findings = validate(corpus(tmp_path, GOOD))
    warnings = [finding.message for finding in findings if finding.check == "counts"][:2]
    assert warnings == [
        "no clip has mode valid: no epoch can be chosen",
        "no clip has mode test: nothing is evaluated",
    ]


def test_media_that_cannot_be_used(tmp_path: Path) -> None:
    lines = [
        "a,1,fine,1,,,,,train",
        "a,2,gone,1,,,,,train",
        "a,3,broken,1,,,,,valid",
        "a,4,,1,,,,,test",
        "a,5,twice,1,,,,,test",
        "a,6,short and silent,1,,,,,test",
        "a,7,long,1,,,,,test",
        "a,8,only sound,1,,,,,test",
    ]
    raw = tmp_path / "Raw" / "a"
    dataset = corpus(tmp_path, *lines)
    tiny_clip(raw / "1.mp4", shade=1)
    (raw / "3.mp4").write_bytes(b"")
    tiny_clip(raw / "4.mp4", shade=4)
    tiny_clip(raw / "5.mp4", shade=5)
    tiny_clip(raw / "5.avi", shade=55)
    tiny_clip(raw / "6.mp4", shade=6, seconds=0.3, audio=False)
    tiny_clip(raw / "7.mp4", shade=7, seconds=2.5)
    only_sound(raw / "8.mp4")
    tiny_clip(raw / "1-edited.mp4", shade=9)
    tiny_clip(tmp_path / "Raw" / "loose.mp4", shade=8)
    (raw / "._1.mp4").write_bytes(b"a Mac's note")
    (raw / "notes.txt").write_text("not a video")
    findings = validate(dataset, MediaLimits(max_seconds=2.0))
    assert found(findings, "missing media").rows == ("a$_$2: Raw/a/2.mp4",)
    assert found(findings, "unreadable media").rows[0].startswith("a$_$3: ")
    assert found(findings, "ambiguous media").rows == ("a$_$5: Raw/a/5.avi, Raw/a/5.mp4",)
    assert found(findings, "empty text").rows == ("a$_$4",)
    assert found(findings, "short clip").rows == ("a$_$6",)
    assert found(findings, "long clip").rows == ("a$_$7",)
    assert "over 2 s (media.max_seconds)" in found(findings, "long clip").message
    assert found(findings, "no audio").rows == ("a$_$6",)
    assert found(findings, "no picture").rows == ("a$_$8",)
    assert found(findings, "files without a row").rows == ("Raw/a/1-edited.mp4", "Raw/loose.mp4")
    assert {finding.level for finding in findings} == {"warning", "info"}


def test_what_two_splits_share(tmp_path: Path) -> None:
    dataset = corpus(tmp_path, "a,1,x,1,,,,,train", "a,2,x,1,,,,,test", "b,1,x,1,,,,,valid")
    tiny_clip(tmp_path / "Raw" / "a" / "1.mp4")
    for copy in ("a/2.mp4", "b/1.mp4"):
        (tmp_path / "Raw" / copy).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "Raw" / "a" / "1.mp4", tmp_path / "Raw" / copy)
    findings = validate(dataset)
    overlap = found(findings, "videos in two splits")
    assert overlap.rows == ("a (train, test)",)
    assert overlap.message.startswith("1 of 2 videos")
    same = found(findings, "duplicate media")
    assert same.rows == ("a$_$1 (train) = a$_$2 (test) = b$_$1 (valid)",)
    assert same.message == "1 media file(s) occur more than once, 1 of them in several splits"


@pytest.mark.parametrize(
    ("language", "text", "other"),
    [
        ("en", "I LIKE IT", False),
        ("en", "我很喜欢这部电影", True),
        ("en", "123 ... !", False),
        ("en", "Ｉ ｌｉｋｅ ｉｔ", False),  # full-width Latin
        ("zh", "我很喜欢这部电影", False),
        ("zh", "我喜欢 Titanic", False),
        ("zh", "I like this film", True),
        ("zh", "Мне нравится", True),
        ("ja", "ありがとう", False),
        ("xx", "我很喜欢", False),  # a language whose script is not known here
    ],
)
def test_script_of_the_declared_language(tmp_path: Path, language: str, text: str, other: bool) -> None:
    dataset = corpus(tmp_path, f'a,1,"{text}",1,,,,,train', language=language)
    findings = [finding for finding in validate(dataset) if finding.check == "script"]
    assert bool(findings) == other
    if other:
        assert findings[0].rows == (f"a$_$1: {text}",)
        assert repr(language) in findings[0].message
    undeclared = DatasetParams(root=str(tmp_path))
    assert not [finding for finding in validate(undeclared) if finding.check == "script"]


@pytest.mark.parametrize(
    ("text", "garbled"),
    [
        ("你好世界".encode().decode("latin-1"), True),
        ("café".encode().decode("cp1252"), True),
        ("bro\ufffdken", True),
        ("café, naïve, 20 °C", False),
        ("我很喜欢这部电影，真的很好看", False),
    ],
)
def test_garbled_texts(tmp_path: Path, text: str, garbled: bool) -> None:
    # latin-1 leaves control characters, which are no reason to reject a text
    findings = validate(corpus(tmp_path, f'a,1,"{text}",1,,,,,train'))
    assert bool([finding for finding in findings if finding.check == "garbled text"]) == garbled


def test_annotations_that_contradict_the_label(tmp_path: Path) -> None:
    lines = ["a,1,x,0.4,,,,Negative,train", "a,2,x,0,,,,positive,train", "a,3,x,-0.2,,,,Neutral,valid"]
    agreeing = ["a,4,x,1,,,,Positive,test", "a,5,x,0,,,,Neutral,test", "a,6,x,1,,,,whatever,test"]
    finding = found(validate(corpus(tmp_path, *lines, *agreeing)), "annotation")
    assert finding.message.startswith("3 annotation(s) contradict")
    assert finding.rows[0] == "line 2: a$_$1 is Negative with label 0.4"
    assert len(finding.rows) == 3


MOODS = {"task": "classification", "classes": ["sad", "calm", "glad"]}


def test_clips_of_each_class(tmp_path: Path) -> None:
    lines = ["a,1,x,sad,,,,Positive,train", "a,2,x,glad,,,,,train", "b,1,x,2,,,,,valid", "c,1,x,1,,,,,test"]
    findings = validate(corpus(tmp_path, *lines, **MOODS))
    labels = [finding.message for finding in findings if finding.check == "labels"]
    assert labels == [
        "train: labels: 1 sad, 0 calm, 1 glad",
        "valid: labels: 0 sad, 0 calm, 1 glad",
        "test: labels: 0 sad, 1 calm, 0 glad",
    ]
    unseen = found(findings, "classes")
    assert (unseen.level, unseen.rows) == ("warning", ("calm",))
    assert unseen.message == "1 of 3 classes have no train clip: never learnt"
    assert not [finding for finding in findings if finding.check == "annotation"]  # a class has no sign


def test_unknown_classes_are_errors(tmp_path: Path) -> None:
    lines = ["a,1,x,sad,,,,,train", "a,2,x,sda,,,,,train", "a,3,x,7,,,,,test"]
    findings = validate(corpus(tmp_path, *lines, **MOODS))
    error = found(findings, "class")
    assert (error.level, len(error.rows)) == ("error", 2)
    assert error.rows[0].startswith("line 3: label of clip a$_$2 is 'sda', expected one of sad, calm, glad")
    assert found(findings, "class setting").level == "error"


@pytest.mark.shared
def test_cmu_mosi_is_split_by_video_and_its_annotations_agree(shared: Path) -> None:
    findings = validate(DatasetParams(root=str(shared / "datasets" / "mosi"), language="en"))
    assert Counter(finding.check for finding in findings if finding.level == "warning") == {
        "missing media": 1
    }
    counts = [finding.message for finding in findings if finding.check == "counts"]
    assert [message.split(",")[0] for message in counts] == [
        "train: 1284 clips of 52 videos",
        "valid: 229 clips of 10 videos",
        "test: 686 clips of 31 videos",
    ]
    # its standard test videos are more negative than those of train: 379 of 686 against 552 of 1284
    assert found(findings, "label shift").rows[0].startswith("test: negative 55% (train 43%)")
