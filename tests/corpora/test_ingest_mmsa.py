"""MMSA's raw layout -> clip table: all that is wrong is said at once, by name, line, value and way out."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made.mmsa_corpus import GOOD, HEADER, corpus, problems_of, rows_of, tiny_clip

from pipeline.core.errors import ParamsError
from pipeline.corpora.clips import facts_of, full_id, read_clips, write_clips
from pipeline.corpora.ingest import ingest
from pipeline.corpora.tables.labels import read_labels
from pipeline.corpora.tables.media_files import WantedMedia, match_media
from pipeline.params.params import DatasetParams, MediaLimits


# ------------------------------------------------------------------------------------- what is wrong is said
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,1,again,1.0,,,,,train", ["line 3", "clip a$_$1 is already in line 2"]),
        ("a,1,again,1.0,,,,,test", ["line 3", "clip a$_$1 is in test, and in line 2 in train", "remove one"]),
        ("a,2,x,abc,,,,,train", ["line 3", "label of clip a$_$2 is 'abc'", "finite number in [-3, 3]"]),
        ("a,2,x,nan,,,,,train", ["line 3", "'nan'", "finite number"]),
        ("a,2,x,-inf,,,,,train", ["line 3", "'-inf'", "finite number"]),
        ("a,2,x,1_0,,,,,train", ["line 3", "'1_0'", "finite number"]),
        ("a,2,x,1e999,,,,,train", ["line 3", "'1e999'", "finite number"]),
        ('a,2,x,"0,5",,,,,train', ["line 3", "'0,5'", "with a decimal point"]),
        ("a,2,x,,,,,,train", ["line 3", "label of clip a$_$2 is empty", "only mode unlabeled"]),
        ("a,2,x,0.5,nan,,,,train", ["line 3", "label_T of clip a$_$2 is 'nan'"]),
        ("a,2,x,0.5,,zzz,,,train", ["line 3", "label_A of clip a$_$2 is 'zzz'"]),
        ("a,2,x,0.5,,,x,,train", ["line 3", "label_V of clip a$_$2 is 'x'"]),
        ("a,2,x,0.5,,,,,trained", ["line 3", "mode of clip a$_$2 is 'trained'", "train, valid, test"]),
        ("a,2,x,0.5,,,,,", ["line 3", "mode of clip a$_$2 is ''"]),
        ("../b,2,x,0.5,,,,,train", ["line 3", "video_id is '../b'", "without / or \\"]),
        ("a,..,x,0.5,,,,,train", ["line 3", "clip_id is '..'", "another folder"]),
        ("a,b\\c,x,0.5,,,,,train", ["line 3", "clip_id is", "another folder"]),
        ("/etc,2,x,0.5,,,,,train", ["line 3", "video_id is '/etc'"]),
        (",2,x,0.5,,,,,train", ["line 3", "video_id is ''", "must not be empty"]),
        ("a,,x,0.5,,,,,train", ["line 3", "clip_id is ''", "must not be empty"]),
        ("a$_$b,2,x,0.5,,,,,train", ["line 3", "video_id is 'a$_$b'", "separates video_id from clip_id"]),
        ("a\x07,2,x,0.5,,,,,train", ["line 3", "control characters"]),
        ("a,2,x\x00y,0.5,,,,,train", ["line 3", "NUL character", "UTF-8"]),
        ("a,2,well, I think,0.5,,,,,train", ["line 3", "10 values, the header has 9", "in quotes"]),
        ("a,2,x", ["line 3", "3 values, the header has 9", "no label, mode"]),
        ('a,2,"x" he said,0.5,,,,,train', ["line 3", "cannot be read as CSV", "double each quote"]),
        ("=1+1,2,x,0.5,,,,,train", ["line 3", "video_id is '=1+1'", "spreadsheet formula"]),
        ("@SUM(A1),2,x,0.5,,,,,train", ["line 3", "video_id is '@SUM(A1)'", "spreadsheet formula"]),
        ("a,-2+cmd|' /C calc'!A0,x,0.5,,,,,train", ["line 3", "clip_id is", "spreadsheet formula"]),
        ("a,2,x,=A1,,,,,train", ["line 3", "label is '=A1'", "spreadsheet formula"]),
        ("a,2,x,0.5,+SUM(A1),,,,train", ["line 3", "label_t is '+SUM(A1)'", "spreadsheet formula"]),
        ("a,2,=HYPERLINK(x),0.5,,,,,train", ["line 3", "text is", "a formula, not speech"]),
        ("a,2,@here,0.5,,,,,train", ["line 3", "text is '@here'", "a formula, not speech"]),
        ('a,2,"x,0.5,,,,,train', ["line 3", "cannot be read as CSV", "unexpected end"]),
    ],
)
def test_a_wrong_line_is_named_with_its_way_out(tmp_path: Path, line: str, expected: list[str]) -> None:
    (problem,) = problems_of(corpus(tmp_path, GOOD, line))
    for part in expected:
        assert part in problem


@pytest.mark.parametrize("line", ["a,2,x,3.2,,,,,train", "a,2,x,1,,,-3.01,,train"])
def test_a_label_out_of_range_names_the_setting(tmp_path: Path, line: str) -> None:
    row, setting = problems_of(corpus(tmp_path, GOOD, line))
    assert "line 3" in row
    assert "expected a number in [-3, 3]" in row
    assert "datasets.tiny.label_range" in setting


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    lines = ["a,1,x,zero,,,,,train", "a,1,x,1,,,,,nowhere", "../b,1,x,1,,,,,train", "b,1,x,1,,,,,train"]
    problems = problems_of(corpus(tmp_path, *lines, "b,1,x,1,,,,,test"))
    assert len(problems) == 5  # the label, the mode, the duplicate of the first, the path, the two splits
    assert [sum(word in problem for problem in problems) for word in ("'zero'", "nowhere", "../b")] == [
        1,
        1,
        1,
    ]


def test_many_problems_of_one_kind_keep_every_line_number(tmp_path: Path) -> None:
    problems = problems_of(corpus(tmp_path, *(f"a,{number},x,9,,,,,train" for number in range(100))))
    assert len(problems) == 20 + 1 + 1
    assert "80 more line(s): 22, 23," in problems[20]
    assert problems[20].endswith(", 101")
    assert "100 label(s)" in problems[21]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ["empty", "video_id, clip_id, text, label, mode"]),
        (b"\xef\xbb\xbf \n\n", ["empty"]),
        (HEADER.encode(), ["no row"]),
        (
            b"video_id,clip_id,text,label\na,1,x,1\n",
            ["missing column(s) mode", "there are: video_id, clip_id"],
        ),
        (b"a,1,hello,1.0,train\n", ["missing column(s) video_id", "there are: a, 1, hello", "first line"]),
        (HEADER.replace(",", ";").encode(), ["separated by ';'", "expected ','"]),
        (HEADER.replace(",", "\t").encode(), ["separated by a tab", "expected ','"]),
        (b"label," + HEADER.encode() + b"\n", ["column(s) label occur twice"]),
        ((HEADER + "\na,1,你好世界,1,,,,,train").encode("gb18030"), ["line 2", "not UTF-8", "GB18030"]),
        ((HEADER + "\n" + GOOD).encode("utf-16"), ["UTF-16", "expected UTF-8"]),
        ((HEADER + "\n" + GOOD).encode("utf-16-le"), ["NUL", "UTF-16"]),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    (tmp_path / "label.csv").write_bytes(data)
    (problem,) = problems_of(DatasetParams(root=str(tmp_path)))
    for part in expected:
        assert part in problem


def test_missing_files_say_what_layout_is_expected(tmp_path: Path) -> None:
    (problem,) = problems_of(DatasetParams(root=str(tmp_path / "nowhere")))
    assert "datasets.tiny.root is" in problem
    assert "no such folder" in problem
    assert "<root>/Raw/<video_id>/<clip_id>.mp4" in problem
    (tmp_path / "Labels.xlsx").touch()
    (problem,) = problems_of(DatasetParams(root=str(tmp_path)))
    assert "found Labels.xlsx: save it as label.csv" in problem
    assert "<root>/label.csv" in problem


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "label.csv", "wb") as file:
        file.truncate(200_000_001)
    (problem,) = problems_of(DatasetParams(root=str(tmp_path)))
    assert "200000001 bytes" in problem


def test_an_unknown_kind_names_the_known_ones() -> None:
    dataset = DatasetParams(root="x").model_copy(update={"kind": "zip"})
    with pytest.raises(ParamsError, match=r"'zip' is not known \(there are: mmsa, mosi, mosei, "):
        ingest("tiny", dataset, MediaLimits())


# -------------------------------------------------------------------------------------------- what is allowed
def test_columns_are_read_by_name_whatever_order_case_and_spaces(tmp_path: Path) -> None:
    header = " Mode ,TEXT,label_by, Label ,clip_id,Video_ID,label_a"
    (row,) = rows_of(corpus(tmp_path, "VAL,hi there,7,-0.0,0001,-3g5yACwYnA,0.4", header=header)).values()
    assert (row["clip_id"], row["video_id"]) == ("-3g5yACwYnA$_$0001", "-3g5yACwYnA")
    assert (row["split"], row["text"], row["label_audio"]) == ("valid", "hi there", 0.4)
    assert str(row["label"]) == "0.0"
    assert row["label_text"] is None


def test_byte_order_mark_crlf_blank_lines_quotes_and_chinese(tmp_path: Path) -> None:
    lines = [HEADER, 'a,1,"well, ""yes"", 她说：“好”",1,,,,,train', "", 'a,2,"two\r\nlines",0,,,,,dev', ""]
    (tmp_path / "meta.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    rows = rows_of(DatasetParams(root=str(tmp_path), language="zh"))
    assert rows["a$_$1"]["text"] == 'well, "yes", 她说：“好”'
    assert rows["a$_$2"]["text"] == "two\r\nlines"
    assert {row["language"] for row in rows.values()} == {"zh"}


def test_unlabeled_rows_need_no_label(tmp_path: Path) -> None:
    rows = rows_of(corpus(tmp_path, "a,1,x,,,,,,unlabeled", "a,2,x,0.25,,,,,Unlabeled"))
    assert [(row["split"], row["label"]) for row in rows.values()] == [
        ("unlabeled", None),
        ("unlabeled", 0.25),
    ]


IDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\$"), min_size=1, max_size=12
).filter(lambda text: text == text.strip() and text not in {".", ".."} and text[0] not in "=@+-")
NUMBERLIKE = st.sampled_from(
    ["0001", "1e5", "-3g5yACwYnA", "1.0", "007", "nan", "NULL", "TRUE", "2020-01-01"]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(IDS | NUMBERLIKE, IDS | NUMBERLIKE), min_size=1, max_size=8, unique=True))
def test_ids_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, ids: list[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("ids")
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(HEADER.split(","))
    writer.writerows([video, clip, "x", 0, "", "", "", "", "train"] for video, clip in ids)
    (root / "label.csv").write_text(written.getvalue(), encoding="utf-8", newline="")
    labels = read_labels(root, (-3.0, 3.0), "datasets.x")
    assert not labels.problems
    assert [(row.video_id, row.clip_id) for row in labels.clips] == ids
    table, facts = ingest("x", DatasetParams(root=str(root)), MediaLimits())
    write_clips(table, root / "x.parquet", facts)
    assert read_clips(root / "x.parquet")["clip_id"].to_pylist() == sorted(full_id(*pair) for pair in ids)


# ----------------------------------------------------------------------------------------------- media files
def test_a_real_tree(tmp_path: Path) -> None:
    lines = [
        "a,1,hello,1,,,,,train",
        "a,2,no sound,-1,,,,,valid",
        "a,3,gone,0,,,,,test",
        "a,4,not a video,0,,,,,test",
        "a,5, \u200b ,0,,,,,train",
        "b,0007,padded in the table,0,,,,,train",
        "b,8,padded in the file,0,,,,,train",
        "b,x,only an edited one is there,0,,,,,train",
    ]
    dataset = corpus(tmp_path, *lines)
    raw = tmp_path / "Raw"
    tiny_clip(raw / "a" / "1.mp4")
    tiny_clip(raw / "a" / "2.avi", audio=False)
    (raw / "a" / "4.mp4").write_text("hello")
    tiny_clip(raw / "a" / "5.mkv", shade=10)
    tiny_clip(raw / "b" / "7.MP4", shade=20)
    tiny_clip(raw / "b" / "0008.mov", shade=30)
    tiny_clip(raw / "b" / "x-edited.mp4")
    rows = rows_of(dataset)
    first = rows["a$_$1"]
    assert (first["path"], first["status"], first["has_audio"]) == ("Raw/a/1.mp4", "ok", True)
    assert first["sha256"] == hashlib.sha256((raw / "a" / "1.mp4").read_bytes()).hexdigest()
    assert (first["width"], first["height"], first["fps"], first["sample_rate"]) == (64, 48, 10.0, 16_000)
    assert first["duration_s"] == pytest.approx(1.0, abs=0.1)
    assert (rows["a$_$2"]["has_audio"], rows["a$_$2"]["sample_rate"]) == (False, None)
    assert rows["a$_$3"]["status"] == "missing media: Raw/a/3.mp4"
    assert rows["a$_$3"]["path"] is None
    assert rows["a$_$3"]["sha256"] is None
    broken = rows["a$_$4"]
    assert broken["status"].startswith("unreadable media: ")
    assert "\n" not in broken["status"]
    assert (broken["path"], broken["duration_s"]) == ("Raw/a/4.mp4", None)
    assert (rows["a$_$5"]["status"], rows["a$_$5"]["text"]) == ("empty text", None)
    assert rows["b$_$0007"]["path"] == "Raw/b/7.MP4"
    assert rows["b$_$8"]["path"] == "Raw/b/0008.mov"
    assert rows["b$_$x"]["status"] == "missing media: Raw/b/x.mp4"
    assert [rows[f"a$_${number}"]["position"] for number in range(1, 6)] == [0, 1, 2, 3, 4]


def test_a_file_that_breaks_the_library_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, limits: MediaLimits) -> None:
        raise OverflowError("timestamp; of\nthe first packet")

    monkeypatch.setattr("pipeline.corpora.clips.probe", broken)
    dataset = corpus(tmp_path, "a,1,x,0,,,,,train")
    (tmp_path / "Raw" / "a").mkdir(parents=True)
    (tmp_path / "Raw" / "a" / "1.mp4").write_bytes(b"x")
    (row,) = rows_of(dataset).values()
    assert row["status"] == "unreadable media: OverflowError: timestamp, of"
    assert row["sha256"] == hashlib.sha256(b"x").hexdigest()


def test_reasons_are_joined(tmp_path: Path) -> None:
    (row,) = rows_of(corpus(tmp_path, "a,1, ,0,,,,,train")).values()
    assert row["status"] == "missing media: Raw/a/1.mp4; empty text"


@pytest.mark.parametrize(
    ("ids", "files", "expected"),
    [
        (["1"], ["1.mp4", "01.mp4"], ["1.mp4"]),  # exact first
        (["1"], ["01.mp4"], ["01.mp4"]),
        (["0001"], ["1.webm"], ["1.webm"]),
        (["0"], ["000.mp4"], ["000.mp4"]),
        (["1", "01"], ["1.mp4", "01.mp4"], ["1.mp4", "01.mp4"]),
        (["1", "01"], ["1.mp4"], ["1.mp4", "missing media: Raw/v/01.mp4"]),  # the file is another row's
        (["1"], ["01.mp4", "001.mp4"], ["ambiguous media: 001.mp4, 01.mp4"]),
        (["1", "01"], ["001.mp4"], ["ambiguous media: 001.mp4 for 01, 1"] * 2),
        (["1"], ["1.avi", "1.mp4"], ["ambiguous media: 1.avi, 1.mp4"]),
        (["1"], ["1.0.mp4", "11.mp4", "1-edited.mp4"], ["missing media: Raw/v/1.mp4"]),
        (["1e5"], ["100000.mp4"], ["missing media: Raw/v/1e5.mp4"]),
        (["é"], ["e\u0301.mp4"], ["e\u0301.mp4"]),  # as a Mac's disk composes it
    ],
)
def test_matching_of_ids_and_files(
    tmp_path: Path, ids: list[str], files: list[str], expected: list[str]
) -> None:
    corpus(tmp_path, *(f"v,{clip},x,0,,,,,train" for clip in ids))
    labels = read_labels(tmp_path, (-3.0, 3.0), "datasets.x")
    wanted = [WantedMedia(row.video_id, row.clip_id, f"Raw/v/{row.clip_id}.mp4") for row in labels.clips]
    found = match_media(wanted, {"v": files, "w": ["1.mp4", "01.mp4", "é.mp4"]})
    assert [path or reason for path, reason in found] == expected


def test_workers_change_no_byte(tmp_path: Path) -> None:
    dataset = corpus(tmp_path, *(f"v,{number},x,0,,,,,train" for number in range(6)))
    for number in range(5):
        tiny_clip(tmp_path / "Raw" / "v" / f"{number}.mp4", shade=number)
    for workers in (1, 4):
        table, facts = ingest("tiny", dataset, MediaLimits(), workers)
        write_clips(table, tmp_path / f"{workers}.parquet", facts)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "4.parquet").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "1.parquet").read_bytes()


@pytest.mark.shared
def test_the_label_file_of_cmu_mosi(shared: Path, tmp_path: Path) -> None:
    dataset = DatasetParams(root=str(shared / "datasets" / "mosi"))
    table, facts = ingest("mosi", dataset, MediaLimits())
    write_clips(table, tmp_path / "mosi.parquet", facts)
    table = read_clips(tmp_path / "mosi.parquet")
    assert table.num_rows == 2199
    assert Counter(table["split"].to_pylist()) == {"train": 1284, "valid": 229, "test": 686}
    assert all(status.startswith("missing media: Raw/") for status in table["status"].to_pylist())
    assert all(text == text.upper() for text in table["text"].to_pylist())
    assert facts_of(table).label_range == (-3.0, 3.0)
    # published: 93 videos; of the test labels 379 are negative, 277 positive, 30 zero
    test = [row["label"] for row in table.to_pylist() if row["split"] == "test"]
    assert Counter((label > 0) - (label < 0) for label in test) == {-1: 379, 1: 277, 0: 30}
    assert len(set(table["video_id"].to_pylist())) == 93
