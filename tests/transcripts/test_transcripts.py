"""Transcripts: the table, its bytes and hash; subtitle files against what a viewer would read."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import FormatError
from pipeline.media.subtitles import MAX_BYTES, read_text_file
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import TranscribeParams
from pipeline.transcripts.stage import transcribe_dataset
from pipeline.transcripts.table import TRANSCRIPTS, read_transcripts, text_hash, write_transcripts

CLIPS = pa.table(
    {
        "clip_id": ["b$_$2", "a$_$1", "b$_$1"],
        "text": ["cafe\u0301", "  ", None],
        "language": ["fr", "en", "en"],
        "label": [0.1, 0.2, 0.3],
        "path": pa.nulls(3, pa.string()),
        "start_s": pa.nulls(3, pa.float64()),
        "end_s": pa.nulls(3, pa.float64()),
        "sha256": pa.nulls(3, pa.string()),
    }
)
WORDS = [{"text": "hi", "start_s": 0.5, "end_s": 0.75, "score": 0.5}]


def transcribe(clips: pa.Table) -> pa.Table:
    """The stage, without models."""
    return transcribe_dataset(clips, Path(), "toy", TranscribeParams(), MediaLimits())[0]


# ---------------------------------------------------------------------------------------------------- table
def test_the_corpus_text_is_passed_through() -> None:
    table = transcribe(CLIPS)
    assert table.schema.equals(TRANSCRIPTS, check_metadata=True)
    assert table.drop_columns("words").to_pylist() == [
        {"clip_id": "a$_$1", "text": None, "language": "en", "source": None},
        {"clip_id": "b$_$1", "text": None, "language": "en", "source": None},
        {"clip_id": "b$_$2", "text": "caf\u00e9", "language": "fr", "source": "label"},
    ]
    assert table["words"].null_count == 3


def test_round_trip_and_same_bytes(tmp_path: Path) -> None:
    table = transcribe(CLIPS)
    words = pa.array([None, None, WORDS], type=TRANSCRIPTS.field("words").type)
    table = table.set_column(4, TRANSCRIPTS.field("words"), words)
    first, again = tmp_path / "new folder" / "a.parquet", tmp_path / "b.parquet"
    write_transcripts(table, first)
    assert read_transcripts(first).equals(table)
    assert read_transcripts(first)["words"].to_pylist()[2] == WORDS
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1)])  # other chunks, same rows
    write_transcripts(pieces, again)
    write_transcripts(pieces, again)
    assert first.read_bytes() == again.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.parquet", "new folder"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_transcripts(transcribe(CLIPS), path)
    before = path.read_bytes()
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        write_transcripts(CLIPS, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]


def test_files_that_are_no_transcripts(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(FormatError, match="run the transcribe stage"):
        read_transcripts(path)
    path.write_text("not Parquet")
    with pytest.raises(FormatError, match="run the transcribe stage"):
        read_transcripts(path)
    pq.write_table(CLIPS, path)
    with pytest.raises(FormatError, match="has none"):
        read_transcripts(path)


# ----------------------------------------------------------------------------------------------------- hash
def test_hash_is_of_nfc_text_language_and_word_times() -> None:
    assert text_hash("é", "fr", None) == hashlib.sha256(b'["\\u00e9", "fr", null]').hexdigest()
    assert text_hash("e\u0301", "fr", None) == text_hash("é", "fr", None)
    base = text_hash("hi", "en", WORDS)
    assert text_hash("hi", "en", [{**WORDS[0], "score": 0.1}]) == base
    others = [
        text_hash("hi!", "en", WORDS),
        text_hash("hi", "de", WORDS),
        text_hash("hi", "en", None),
        text_hash("hi", "en", []),
        text_hash("hi", "en", [{**WORDS[0], "end_s": 0.76}]),
        text_hash(None, "en", None),
        text_hash("", "en", None),
    ]
    assert len({base, *others}) == len(others) + 1


def test_hash_survives_the_file(tmp_path: Path) -> None:
    row = {"clip_id": "a", "text": "hi", "language": "en", "source": "asr:x"}
    times = [{"text": "hi", "start_s": 0.1, "end_s": 1 / 3, "score": 0.9}]
    table = pa.Table.from_pylist([{**row, "words": times}], schema=TRANSCRIPTS)
    write_transcripts(table, tmp_path / "a.parquet")
    (found,) = read_transcripts(tmp_path / "a.parquet").to_pylist()
    assert text_hash(found["text"], found["language"], found["words"]) == text_hash("hi", "en", times)


# ------------------------------------------------------------------------------------------------ text files
def read(tmp_path: Path, suffix: str, content: str | bytes) -> str:
    path = tmp_path / f"talk{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_text_file(path)


SRT = """1
00:00:01,000 --> 00:00:02,500
Hello, <i>my</i> friends

2
00:00:02,500 --> 00:00:04,000  X1:100 X2:200 Y1:10 Y2:20
{\\an8}two lines
<font color="#ffffff">of text</font>

3
00:00:04,000 --> 00:00:05,000

4
00:00:05,000 --> 00:00:06,000
42

43
00:01:05,000 --> 00:01:06,000
after a blank

line, 3 < 5 & 6 > 4
"""
SRT_TEXT = "Hello, my friends two lines of text 42 after a blank line, 3 < 5 & 6 > 4"

VTT = """WEBVTT - a talk
Kind: captions

STYLE
::cue { color: lime }

REGION
id:bill

NOTE a comment
over two lines

1
00:01.000 --> 00:02.500 align:start position:0% line:90%
<v Ann>Hello,<00:00:01.500><c.loud> my</c> friends</v>

intro - part 2
00:00:02.500 --> 00:00:04.000
- two lines &amp; one entity
- of text&nbsp;&lt;b&gt;

00:00:04.000 --> 00:00:05.000

01:00:04.000 --> 01:00:05.000
of text
NOTE is text here
"""
VTT_TEXT = "Hello, my friends - two lines & one entity - of text <b> of text NOTE is text here"


@pytest.mark.parametrize(("suffix", "content", "text"), [(".srt", SRT, SRT_TEXT), (".vtt", VTT, VTT_TEXT)])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_subtitles(tmp_path: Path, suffix: str, content: str, text: str, newline: str, encoding: str) -> None:
    assert read(tmp_path, suffix, content.replace("\n", newline).encode(encoding)) == text
    assert read(tmp_path, suffix.upper(), content.rstrip("\n").encode(encoding)) == text


def test_subtitle_oddities(tmp_path: Path) -> None:
    rolling = "1\n0:00:01,0 --> 0:00:02,0\nso I\n2\n0:00:02,0 --> 0:00:03,0\nso I said\n"  # no blank line
    assert read(tmp_path, ".srt", rolling) == "so I so I said"
    assert read(tmp_path, ".srt", "00:00:01.000 --> 00:00:02.000\nno number\n") == "no number"
    assert read(tmp_path, ".srt", "1\n00:00:01,000 --> 00:00:02,000") == ""
    assert read(tmp_path, ".srt", "1\n00:00:01,000 --> 00:00:02,000\na<br>b\n") == "a b"
    assert read(tmp_path, ".srt", "1\n00:00:01,000 --> 00:00:02,000\n1 <b>\n2 &amp; <3\n") == "1 2 &amp; <3"
    assert (
        read(tmp_path, ".vtt", "00:01.000 --> 00:02.000\nno header\n00:02.000 --> 00:03.000\nb")
        == "no header b"
    )
    for suffix, content in ((".vtt", "WEBVTT\n\nNOTE nothing said\n"), (".srt", "\n"), (".txt", "")):
        assert read(tmp_path, suffix, content) == ""


def test_plain_text(tmp_path: Path) -> None:
    assert read(tmp_path, ".txt", "\ufeffone\r\n two\tcafe\u0301 <i>\n\n") == "one two caf\u00e9 <i>"


@given(st.lists(st.text("ab 12<>{}\\-:,.&;é", min_size=1, max_size=20), max_size=5))
def test_cues_without_markup_come_back(tmp_path_factory: pytest.TempPathFactory, cues: list[str]) -> None:
    plain = [cue.translate(str.maketrans("", "", "<>{}&-")) for cue in cues]
    written = "".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},500\n{cue}\n\n" for n, cue in enumerate(plain, 1))
    expected = unicodedata.normalize("NFC", " ".join(" ".join(plain).split()))
    for suffix, header in ((".srt", ""), (".vtt", "WEBVTT\n\n")):
        assert read(tmp_path_factory.getbasetemp(), suffix, header + written) == expected


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for suffix, content, message in [
        (".doc", b"x", r"expected a text file ending in \.srt, \.txt, \.vtt"),
        (".txt", "café".encode("latin-1"), r"byte 3 is not valid UTF-8; save the file as UTF-8 \(iconv"),
        (".txt", b"a\0b", "NUL characters"),
        (".txt", b"a" * (MAX_BYTES + 1), "larger than 5,000,000 bytes"),
        (".srt", b"just text\n", r"no cue found .* name it \.txt"),
        (".vtt", b"WEBVTT\n\n00:01 --> 00:02\nno milliseconds\n", "no cue found"),
    ]:
        with pytest.raises(FormatError, match=message):
            read(tmp_path, suffix, content)
    with pytest.raises(FormatError, match="cannot be read"):
        read_text_file(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(FormatError, match="cannot be read"):
        read_text_file(tmp_path / "folder.txt")
