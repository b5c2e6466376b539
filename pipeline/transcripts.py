"""What is said in each clip: the transcripts table, its hash, and text and subtitle files.

`data/transcripts/<dataset>.parquet` has one row a clip, sorted by clip_id. Text encoders and assembly read
it, never the clip table's text, so that another transcriber can take the place of the corpus' own labels.
Text is in Unicode NFC everywhere; character offsets of the text features count characters of it.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import FormatError

FORMAT_KEY = b"msa.transcripts"
FORMAT = b'{"format": 1}'
LABEL = "label"  # source: the corpus' own text

TRANSCRIPTS = pa.schema(
    [
        pa.field("clip_id", pa.string()),
        pa.field("text", pa.string()),  # NFC; null where nothing is known to be said
        pa.field("language", pa.string()),  # ISO 639-1
        pa.field("source", pa.string()),  # label, sidecar, subtitle, asr:<model>; null without text
        pa.field(
            "words",  # null where the times of the words are not known
            pa.list_(
                pa.struct(
                    [
                        pa.field("text", pa.string()),
                        pa.field("start_s", pa.float64()),  # seconds from the clip's start
                        pa.field("end_s", pa.float64()),
                        pa.field("score", pa.float32()),  # confidence, 0 to 1
                    ]
                )
            ),
        ),
    ],
    metadata={FORMAT_KEY: FORMAT},
)

MAX_BYTES = 5_000_000  # of a text or subtitle file
SUFFIXES = frozenset({".txt", ".srt", ".vtt"})

_CLOCK = r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_TIMING = rf"^[ \t]*{_CLOCK}[ \t]*-->[ \t]*{_CLOCK}[^\n]*(?:\n|\Z)"  # cue settings may follow the times
_SRT_CUE = re.compile(rf"(?:^[ \t]*\d+[ \t]*\n)?{_TIMING}", re.MULTILINE)  # with its number
_VTT_CUE = re.compile(_TIMING, re.MULTILINE)
_BLANK_LINE = re.compile(r"^[ \t]*$", re.MULTILINE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")  # <i>, <v Ann>, <00:01.500>, {\an8}
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def transcribe(clips: pa.Table) -> pa.Table:
    """The corpus' own text as transcripts.

    Parameters
    ----------
    clips : a clip table; clip_id, text and language are read

    Returns
    -------
    a table of schema TRANSCRIPTS, sorted by clip_id; text and source are null where the corpus has none
    """
    rows = []
    for clip in clips.select(["clip_id", "text", "language"]).to_pylist():
        text = unicodedata.normalize("NFC", clip["text"] or "")
        said = bool(text.strip())
        rows.append(
            {
                "clip_id": clip["clip_id"],
                "text": text if said else None,
                "language": clip["language"],
                "source": LABEL if said else None,
                "words": None,
            }
        )
    rows.sort(key=lambda row: row["clip_id"])
    return pa.Table.from_pylist(rows, schema=TRANSCRIPTS)


def write_transcripts(table: pa.Table, path: Path) -> None:
    """Write a table of schema TRANSCRIPTS under a temporary name, then rename it. Equal rows, equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(table.cast(TRANSCRIPTS).combine_chunks(), temporary, compression="zstd")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_transcripts(path: Path) -> pa.Table:
    """The transcripts of a dataset.

    Raises
    ------
    FormatError : not there, not Parquet, or not of this format
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise FormatError(f"{path}: no readable transcripts ({error}); run the transcribe stage") from error
    found = (table.schema.metadata or {}).get(FORMAT_KEY)
    if found != FORMAT or not table.schema.equals(TRANSCRIPTS):
        raise FormatError(
            f"{path}: not a transcripts table of format {FORMAT.decode()} "
            f"(has {found.decode() if found else 'none'}); run the transcribe stage again"
        )
    return table


def text_hash(text: str | None, language: str | None, words: Iterable[Mapping[str, Any]] | None) -> str:
    """SHA-256 (hex) of all that text features may depend on: the `source_sha256` of a text row.

    Parameters
    ----------
    text : the transcript; texts that are equal in NFC hash alike
    language : ISO 639-1
    words : the `words` of a transcripts row; only their times count
    """
    nfc = None if text is None else unicodedata.normalize("NFC", text)
    times = None if words is None else [[word["start_s"], word["end_s"]] for word in words]
    return hashlib.sha256(json.dumps([nfc, language, times]).encode()).hexdigest()


# ------------------------------------------------------------------------------------ text and subtitle files
def read_text_file(path: str | Path) -> str:
    """What a text or subtitle file says, on one line, in NFC; empty where it says nothing.

    Parameters
    ----------
    path : .txt, .srt or .vtt; UTF-8, or UTF-16 with a byte order mark; at most MAX_BYTES

    Returns
    -------
    lines and cues joined by single spaces. Of subtitles the numbers, times, settings, notes, styles and
    tags are left out; cues that repeat one another (rolling captions) are kept as they are.

    Raises
    ------
    FormatError : another suffix, unreadable, too large, another encoding, or subtitles without a cue
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FormatError(f"{path}: expected a text file that ends in {', '.join(sorted(SUFFIXES))}")
    content = _decoded(path)
    if suffix != ".txt":
        cues = _srt_cues(content) if suffix == ".srt" else _vtt_cues(content)
        no_cue_meant = content.startswith("WEBVTT") and "-->" not in content
        if not cues and content.strip() and not no_cue_meant:
            raise FormatError(
                f"{path}: no cue found (a line such as 00:00:01.000 --> 00:00:02.500); "
                "if it is plain text, name it .txt"
            )
        content = _TAG.sub("", _BREAK.sub(" ", "\n".join(cues)))
        if suffix == ".vtt":
            content = html.unescape(content)
    return unicodedata.normalize("NFC", " ".join(content.split()))


def _decoded(path: Path) -> str:
    """The file's characters without a byte order mark, lines ended by a single newline."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
    if len(data) > MAX_BYTES:
        raise FormatError(f"{path}: larger than {MAX_BYTES:,} bytes; give the text of one clip")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        content = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: byte {error.start} is not {encoding.removesuffix('-sig').upper()}; save the file as "
            f"UTF-8 (iconv -f WINDOWS-1252 -t UTF-8 {path.name})"
        ) from error
    if "\0" in content:
        raise FormatError(f"{path}: holds NUL characters, so it is no text; save it as UTF-8")
    return content.replace("\r\n", "\n").replace("\r", "\n")


def _srt_cues(content: str) -> list[str]:
    """Payloads of SubRip cues; a payload lasts to the next cue, blank lines in it included."""
    return _SRT_CUE.split(content)[1:]


def _vtt_cues(content: str) -> list[str]:
    """Payloads of WebVTT cues; a payload ends at a blank line, so notes, styles and identifiers fall away."""
    return [_BLANK_LINE.split(piece, maxsplit=1)[0] for piece in _VTT_CUE.split(content)[1:]]
