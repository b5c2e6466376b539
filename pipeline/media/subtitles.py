"""Text beside or inside a media file: .txt, .srt and .vtt files and embedded subtitle tracks, with times.

A subtitle is a row of cues, each with a time from and to. Its text is theirs on one line, in NFC, without
numbers, settings, notes, styles and tags. Cues that repeat one another are kept as they are, but for rolling
captions with word times (as YouTube's): a line that was on display already is left out.

Word times are known where the subtitle tells them for every word: by tags between words of WebVTT
(`Oh <00:00:01.500>really`), or because each cue is a single word. A longer cue's times are its own, not
its words', and are never spread over them: a guess would look like a measurement.

A clip that is a part of its file has the cues (or the words, where they have times) whose middle lies in it.
"""

from __future__ import annotations

import html
import itertools
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import ClipError, FormatError
from pipeline.media.words import joined, spans
from pipeline.params.params import MediaLimits

MAX_BYTES = 5_000_000  # of a text or subtitle file, and of the text of a track
SUFFIXES = frozenset({".txt", ".srt", ".vtt"})
TEXT_CODECS = frozenset({"ass", "mov_text", "srt", "ssa", "subrip", "text", "webvtt"})  # others are pictures

_CLOCK = r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_TIMING = rf"^[ \t]*(?P<start>{_CLOCK})[ \t]*-->[ \t]*(?P<end>{_CLOCK})[^\n]*(?:\n|\Z)"  # settings may follow
_SRT_CUE = re.compile(rf"(?:^[ \t]*\d+[ \t]*\n)?{_TIMING}", re.MULTILINE)  # with its number
_VTT_CUE = re.compile(_TIMING, re.MULTILINE)
_BLANK_LINE = re.compile(r"^$", re.MULTILINE)  # a line of spaces is none: YouTube begins cues with one
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")  # <i>, <v Ann>, <00:01.500>, {\an8}
_WORD_TIME = re.compile(r"<(\d{1,9}(?::\d{1,9}){0,2}(?:\.\d*)?)>")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_ASS_SPACE = re.compile(r"\\[Nnh]")  # breaks and hard spaces
# ISO 639-2 tags of tracks, where they are not the 639-1 code and a letter
_TRACK_TAGS = {
    "ar": "ara", "cs": "ces cze", "da": "dan", "de": "deu ger", "el": "ell gre", "es": "spa", "fa": "fas per",
    "fr": "fra fre", "ja": "jpn", "ko": "kor", "nl": "nld dut", "pl": "pol", "pt": "por", "sv": "swe",
    "tr": "tur", "uk": "ukr", "zh": "zho chi",
}  # fmt: skip


@dataclass(frozen=True)
class Cue:
    """One caption.

    Attributes
    ----------
    start_s, end_s : seconds from the file's start
    text : on one line, NFC, without markup
    words : {text, start_s, end_s, score} of each word, where the cue tells their times; else None
    """

    start_s: float
    end_s: float
    text: str
    words: list[dict[str, Any]] | None


# ------------------------------------------------------------------------------------------------------ files
def read_text_file(path: str | Path) -> str:
    """What a text or subtitle file says, on one line, in NFC; empty where it says nothing.

    `path` is a .txt, .srt or .vtt; UTF-8, or UTF-16 with a byte order mark; at most MAX_BYTES.

    Raises
    ------
    FormatError : another suffix, unreadable, too large, another encoding, or subtitles without a cue
    """
    path = Path(path)
    if path.suffix.lower() == ".txt":
        return _plain(_decoded(path))
    return " ".join(cue.text for cue in read_cues(path) if cue.text)


def read_cues(path: Path) -> list[Cue]:
    """The cues of an .srt or .vtt file, in its order; errors as `read_text_file` has them."""
    suffix = path.suffix.lower()
    content = _decoded(path)
    pattern = _SRT_CUE if suffix == ".srt" else _VTT_CUE
    found = list(pattern.finditer(content))
    no_cue_meant = content.startswith("WEBVTT") and "-->" not in content
    if not found and content.strip() and not no_cue_meant:
        raise FormatError(
            f"{path}: no cue found (a line such as 00:00:01.000 --> 00:00:02.500); "
            "if it is plain text, name it .txt"
        )
    cues = []
    rolling = suffix == ".vtt" and _WORD_TIME.search(content) is not None
    shown: list[str] = []
    ends = [*(match.start() for match in found[1:]), len(content)]
    for match, end in zip(found, ends, strict=False):
        payload = content[match.end() : end]
        if suffix == ".vtt":  # ends at a blank line, so that notes, styles and identifiers fall away
            payload = _BLANK_LINE.split(payload, maxsplit=1)[0]
        if rolling:
            payload, shown = _new_lines(payload, shown)
        start_s, end_s = _seconds(match["start"]), _seconds(match["end"])
        cues.append(_cue(payload, start_s, end_s, unescape=suffix == ".vtt"))
    return cues


def _new_lines(payload: str, shown: list[str]) -> tuple[str, list[str]]:
    """A rolling cue without the lines that the cue before showed last; and the lines that it shows itself."""
    lines = [line for line in payload.split("\n") if _plain(line, markup=True)]
    plain = [_plain(line, markup=True) for line in lines]
    for count in range(min(len(lines), len(shown)), 0, -1):
        if plain[:count] == shown[-count:] and not any(map(_WORD_TIME.search, lines[:count])):
            return "\n".join(lines[count:]), plain
    return "\n".join(lines), plain


def sidecar(path: Path, language: str | None) -> Path | None:
    """The text or subtitle file beside a media file, or None.

    `talk.vtt`, `talk.srt`, `talk.txt`, then the same with the clip's language (`talk.en.vtt`), in this order:
    a .vtt may have word times, a .txt has no times at all. Capitals in the suffix do not matter.
    """
    suffixes = [".vtt", ".srt", ".txt"]
    for ending in [*suffixes, *(f".{language}{suffix}" for suffix in suffixes if language)]:
        for name in (path.stem + ending, path.stem + ending.upper()):
            if os.path.lexists(beside := path.with_name(name)):  # False, too, of names that are too long
                return beside
    return None


# ----------------------------------------------------------------------------------------------------- tracks
def embedded_cues(path: Path, language: str | None) -> list[Cue]:
    """The cues of a media file's subtitle track; empty where it has none of text.

    Of several the first in the clip's language is taken, else the first. Reads the file from end to end.

    Raises
    ------
    ClipError : not a media file, no decoder for its subtitles, or they hold more than MAX_BYTES
    """
    from pipeline.media.containers import open_media, origin_s, undecodable
    from pipeline.media.decoding import Health, decoded_packets

    limits = MediaLimits()  # of pictures, which are not decoded here
    with open_media(path, limits) as container:
        streams = container.streams.subtitles
        known = [stream for stream in streams if stream.codec_context is not None]
        if streams and not known:
            raise undecodable(container, streams[0], limits)
        tracks = [stream for stream in known if stream.codec_context.name in TEXT_CODECS]
        if not tracks:
            return []
        track = next((stream for stream in tracks if _speaks(stream.language, language)), tracks[0])
        origin, size = origin_s(container), 0
        cues: list[Cue] = []
        for packet, subtitles in decoded_packets(container, track, Health()):
            payload = "\n".join(_dialogues(subtitles)) if packet.pts is not None else ""
            size += len(payload)
            if size > MAX_BYTES:
                raise ClipError(f"{path.name}: its subtitles have more than {MAX_BYTES:,} characters")
            if payload:
                start_s = float(packet.pts * packet.time_base) - origin
                cues.append(
                    _cue(payload, start_s, start_s + float((packet.duration or 0) * packet.time_base))
                )
        return cues


def _dialogues(decoded: Any) -> Iterator[str]:
    """Texts of a decoded packet; libav gives every text codec as the fields of an ASS event."""
    for subtitle in decoded:
        event = getattr(subtitle, "ass", b"")
        fields = event.decode("utf-8", errors="replace").split(",", 8)
        if len(fields) == 9:
            yield _ASS_SPACE.sub(" ", fields[8])


def _speaks(tag: str | None, language: str | None) -> bool:
    """Whether a track's tag (`eng`, `zho`, `en` ...) is of a language, given by its ISO 639-1 code."""
    if not tag or not language:
        return False
    known = _TRACK_TAGS.get(language, "").split() or [tag.lower() if tag.lower()[:2] == language else ""]
    return tag.lower() in (language, *known)


# ----------------------------------------------------------------------------------------- text of a part
def text_and_words(
    cues: Sequence[Cue], start_s: float | None = None, end_s: float | None = None
) -> tuple[str, list[dict[str, Any]] | None]:
    """Text and words of a part of the file, their times from the part's start.

    Parameters
    ----------
    cues : of the whole file
    start_s, end_s : the part, seconds; None = from the beginning, to the end

    Returns
    -------
    text : on one line, empty where nothing is said
    words : None unless every word of the part has times
    """
    begin, end = start_s or 0.0, math.inf if end_s is None else end_s
    whole = start_s is None and end_s is None
    texts, words, timed = [], [], True
    for cue in cues:
        if not cue.text:
            continue
        if cue.words is None:
            if whole or begin <= (cue.start_s + cue.end_s) / 2 < end:
                texts.append(cue.text)
                timed = False
            continue
        inside = [w for w in cue.words if whole or begin <= (w["start_s"] + w["end_s"]) / 2 < end]
        texts.append(cue.text if len(inside) == len(cue.words) else " ".join(w["text"] for w in inside))
        words += [
            {**w, "start_s": max(w["start_s"] - begin, 0.0), "end_s": min(w["end_s"], end) - begin}
            for w in inside
        ]
    return " ".join(filter(None, texts)), words if words and timed else None


# ------------------------------------------------------------------------------------------------- characters
def _cue(payload: str, start_s: float, end_s: float, unescape: bool = False) -> Cue:
    text = _plain(payload, markup=True, unescape=unescape)
    return Cue(start_s, end_s, text, _timed_words(payload, text, start_s, end_s, unescape))


def _timed_words(
    payload: str, text: str, start_s: float, end_s: float, unescape: bool
) -> list[dict[str, Any]] | None:
    """The words of a cue where it tells their times: one word, or a time tag between any two."""
    pieces = _WORD_TIME.split(payload)  # text, time, text, time, text ...
    edges = [start_s, *(_seconds(clock) for clock in pieces[1::2]), end_s]
    if any(later < earlier for earlier, later in itertools.pairwise(edges)):
        return None
    words: list[dict[str, Any]] = []
    before = ""
    for raw, begin, end in zip(pieces[::2], edges, edges[1:], strict=False):
        bare = _TAG.sub("", _BREAK.sub(" ", raw))
        piece = _plain(raw, markup=True, unescape=unescape)
        if piece and len(spans(piece)) > 1:
            return None
        if piece and words and joined(before, bare):
            words[-1] |= {"text": words[-1]["text"] + piece, "end_s": end}
        elif piece:
            words.append({"text": piece, "start_s": begin, "end_s": end, "score": None})
        before = bare or before
    return words or None


def _plain(content: str, markup: bool = False, unescape: bool = False) -> str:
    """On one line, in NFC; `markup` = without tags, `unescape` = with entities resolved."""
    if markup:
        content = _TAG.sub("", _BREAK.sub(" ", content))
    if unescape:
        content = html.unescape(content)
    return unicodedata.normalize("NFC", " ".join(content.split()))


def _seconds(clock: str) -> float:
    """Seconds of [hours:]minutes:seconds with a comma or a point."""
    total = 0.0
    for part in clock.strip(".").replace(",", ".").split(":"):
        total = 60 * total + float(part or 0)
    return total


def _decoded(path: Path) -> str:
    """The file's characters without a byte order mark, lines ended by a single newline."""
    if path.suffix.lower() not in SUFFIXES:
        raise FormatError(f"{path}: expected a text file ending in {', '.join(sorted(SUFFIXES))}")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise FormatError(f"{path}: cannot be read: not a regular file")
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
            f"{path}: byte {error.start} is not valid {encoding.removesuffix('-sig').upper()}; save the "
            f"file as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8 {path.name})"
        ) from error
    if "\0" in content:
        raise FormatError(f"{path}: has NUL characters, so it is not text; save it as UTF-8")
    return content.replace("\r\n", "\n").replace("\r", "\n")
