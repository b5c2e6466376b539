"""Checks of a corpus' clips: media, texts, what two splits share. They read rows of the clip table alone.

So they serve raw corpora, imports and training sets alike: what a row does not know (an import has no media)
is not checked. The split `context` (what was said before a clip) is of its clip's video by definition and
exempt from what splits share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from pipeline.core.names import escaped
from pipeline.core.vocabulary import ALL_SPLITS, CONTEXT, TEST, TEST_OOD
from pipeline.corpora.clips import AMBIGUOUS_MEDIA, EMPTY_TEXT, MISSING_MEDIA, UNREADABLE_MEDIA
from pipeline.corpora.findings import Finding, counted, percent
from pipeline.corpora.survey import TIMES_BEYOND
from pipeline.params.params import MediaLimits
from pipeline.transcripts.scripts import in_other_script, letters

SHORTEST_S = 0.5  # seconds; a clip that is shorter hardly holds a word
SHARED_S = 0.1  # seconds; where two clips of one file share less, they only touch
LONG_TEXT = 40  # letters; shorter texts ("I do not know") are said more than once
SHOWN_LETTERS = 40  # of a text that is named
WIDE = 3  # an ideograph says about as much as so many letters

Row = Mapping[str, Any]

WAYS_OUT = {
    MISSING_MEDIA: "have no media file; text alone can be used",
    AMBIGUOUS_MEDIA: "could belong to several files, or one file to several clips: remove or rename",
    UNREADABLE_MEDIA: "have a media file that cannot be read: fetch it again",
    TIMES_BEYOND: "end after their media file: is it truncated, or another recording?",
    EMPTY_TEXT: "have no text",
}


def clip_seconds(row: Row) -> float | None:
    """How long a clip lasts, seconds; None where neither its times nor its file say it."""
    start, end, whole = row.get("start_s"), row.get("end_s"), row.get("duration_s")
    if end is None:
        end = whole
    elif whole is not None:
        end = min(end, whole)
    return None if end is None else max(end - (start or 0.0), 0.0)


# --------------------------------------------------------------------------------------------------- media
def media(rows: Sequence[Row], files: Sequence[str], limits: MediaLimits) -> list[Finding]:
    """Media that are missing, broken, too short or too long, and files that belong to no clip.

    Parameters
    ----------
    files : all media files of the corpus, relative to its folder
    """
    timed = [(row["clip_id"], seconds) for row in rows if (seconds := clip_seconds(row)) is not None]
    read = [row for row in rows if row.get("duration_s") is not None]
    longest = limits.max_seconds
    remarks = {reason: (_with_reason(rows, reason), way_out) for reason, way_out in WAYS_OUT.items()} | {
        "short clip": (
            [clip for clip, seconds in timed if seconds < SHORTEST_S],
            f"last under {SHORTEST_S} s",
        ),
        "long clip": (
            [clip for clip, seconds in timed if seconds > longest],
            f"last over {longest:g} s (media.max_seconds): their features will fail",
        ),
        "no audio": ([row["clip_id"] for row in read if not row["has_audio"]], "have no audio track"),
        "no picture": ([row["clip_id"] for row in read if row["width"] is None], "have no video track"),
    }
    findings = []
    for check, (clips, what) in remarks.items():
        findings += counted("warning", check, clips, f"of {len(rows)} clips {what}")
    used = {row.get("path") for row in rows}
    claimed = " ".join(_with_reason(rows, AMBIGUOUS_MEDIA) + _with_reason(rows, UNREADABLE_MEDIA))
    # file names need not be UTF-8; messages are
    spare = [path for file in files if file not in used and (path := escaped(file)) not in claimed]
    what = "media file(s) belong to no row of the label file"
    return findings + counted("warning", "files without a row", spare, what)


def _with_reason(rows: Sequence[Row], reason: str) -> list[str]:
    """The clips whose status gives that reason, each with its details."""
    found = []
    for row in rows:
        parts = [part for part in row["status"].split("; ") if part.startswith(reason)]
        details = "; ".join(part.removeprefix(reason).removeprefix(": ") for part in parts)
        if parts:
            found.append(f"{row['clip_id']}: {details}" if details else row["clip_id"])
    return found


# --------------------------------------------------------------------------------------------------- texts
def texts(rows: Sequence[Row], declared: bool) -> list[Finding]:
    """Texts that lack, that were read in a wrong encoding, or are in another script than declared.

    Parameters
    ----------
    declared : the language of the rows was given by somebody, and is not only the default
    """
    said = [(row["clip_id"], row["text"], row["language"]) for row in rows if row["text"]]
    findings = []
    if silent := len(rows) - len(said):
        message = f"{silent} of {len(rows)} clips have no transcript"
        findings.append(Finding("info", "no transcript", message))
    broken = [f"{clip}: {text[:SHOWN_LETTERS]}" for clip, text, _ in said if _garbled(text)]
    what = "text(s) were once read with a wrong encoding; take them from the source again"
    findings += counted("warning", "garbled text", broken, what)
    other: dict[str, list[str]] = defaultdict(list)
    for clip, text, language in said if declared else ():
        if in_other_script(text, language):
            other[language].append(f"{clip}: {text[:SHOWN_LETTERS]}")
    for language, clips in other.items():
        what = f"text(s) are not in the script of language {language!r}"
        findings += counted("warning", "script", clips, what)
    return findings


def _garbled(text: str) -> bool:
    """Whether UTF-8 was read as another encoding: then writing it in that one gives UTF-8 again."""
    if "\ufffd" in text:
        return True
    for encoding in ("cp1252", "latin-1"):
        try:
            if text.encode(encoding).decode("utf-8") != text:
                return True
        except UnicodeError:
            continue
    return False


# ------------------------------------------------------------------------------------ what two splits share
def leaks(rows: Sequence[Row], digests: Mapping[str, Hashable] | None = None) -> list[Finding]:
    """Videos, speakers, times, media, texts and features that are in two splits or there twice.

    Parameters
    ----------
    digests : clip id -> what its features are known by; equal ones are the same clip under two names
    """
    own = [row for row in rows if row["split"] not in (None, CONTEXT)]
    known = digests or {}
    same_media = [
        group
        for group in _groups(own, lambda row: row.get("sha256")).values()
        if len({row["path"] for row in group}) > 1  # else one file: twice the same part of it
        or len({(row.get("start_s"), row.get("end_s")) for row in group}) < len(group)
    ]
    # word for word in several splits: copies of a clip whose media differ or lack
    same_texts = [group for group in _groups(own, _long_text).values() if len(_splits(group)) > 1]
    features = _groups(own, lambda row: known.get(row["clip_id"]))
    same_features = [group for group in features.values() if len(group) > 1]
    return [
        *_in_two_splits(own, "video_id", "videos", "the same speaker is seen"),
        *_in_two_splits(own, "speaker", "speakers", "results are not for unseen speakers"),
        *_shared_times(own),
        *_repeated(same_media, "duplicate media", "media file(s) occur more than once"),
        *_repeated(same_texts, "text in two splits", f"text(s) of {LONG_TEXT} letters or more occur again"),
        *_repeated(same_features, "duplicate features", "set(s) of features belong to more than one clip"),
        *_same_tests(own, known),
    ]


def _groups(rows: Sequence[Row], key: Callable[[Row], Hashable]) -> dict[Hashable, list[Row]]:
    """Rows by their key, without those whose key is None."""
    groups: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        if (value := key(row)) is not None:
            groups[value].append(row)
    return groups


def _splits(group: Sequence[Row]) -> list[str]:
    """Of these rows, each once, in their usual order."""
    found = {row["split"] for row in group}
    return [split for split in ALL_SPLITS if split in found]


def _named(row: Row) -> str:
    return f"{row['clip_id']} ({row['split']})"


def _in_two_splits(rows: Sequence[Row], column: str, noun: str, meaning: str) -> list[Finding]:
    splits = {one: _splits(group) for one, group in _groups(rows, lambda row: row.get(column)).items()}
    shared = [f"{one} ({', '.join(found)})" for one, found in splits.items() if len(found) > 1]
    what = f"of {len(splits)} {noun} have clips in several splits: {meaning}"
    return counted("warning", f"{noun} in two splits", shared, what)


def _shared_times(rows: Sequence[Row]) -> list[Finding]:
    """Clips of two splits that are cut from the same seconds of one file."""
    cut = [row for row in rows if row.get("start_s") is not None or row.get("end_s") is not None]
    shared = []
    for members in _groups(cut, lambda row: row.get("path")).values():
        open_clips: list[Row] = []
        for row in sorted(members, key=lambda row: (row["start_s"] or 0.0, row["clip_id"])):
            start = row["start_s"] or 0.0
            open_clips = [other for other in open_clips if _end(other) - start > SHARED_S]
            shared += [
                f"{_named(other)} and {_named(row)}"
                for other in open_clips
                if other["split"] != row["split"] and _end(row) - start > SHARED_S
            ]
            open_clips.append(row)
    what = "pair(s) of clips in different splits are cut from the same seconds of a file"
    return counted("warning", "times in two splits", shared, what)


def _end(row: Row) -> float:
    return math.inf if row["end_s"] is None else float(row["end_s"])


def _long_text(row: Row) -> str | None:
    """The letters of a text that is hardly said twice by chance."""
    said = letters(row.get("text") or "")
    length = sum(1 if ord(letter) < 0x2E80 else WIDE for letter in said)
    return "".join(said) if length >= LONG_TEXT else None


def _repeated(groups: Sequence[Sequence[Row]], check: str, what: str) -> list[Finding]:
    across = sum(len(_splits(group)) > 1 for group in groups)
    examples = [" = ".join(map(_named, group)) for group in groups]
    return counted("warning", check, examples, f"{what}, {across} of them in several splits")


def _same_tests(rows: Sequence[Row], digests: Mapping[str, Hashable]) -> list[Finding]:
    """A second test split that has clips of the first: the known defect of CLUE's files for MOSI."""
    sets: dict[str, dict[Hashable, str]] = {TEST: {}, TEST_OOD: {}}
    for row in rows:
        if row["split"] in sets:
            sets[row["split"]][_content(row, digests)] = row["clip_id"]
    both = [clip for content, clip in sets[TEST_OOD].items() if content in sets[TEST]]
    if not both:
        return []
    identical = sets[TEST].keys() == sets[TEST_OOD].keys()
    what = "are the same clips" if identical else f"share {len(both)} clips"
    message = (
        f"{TEST} and {TEST_OOD} {what} ({percent(len(both), len(sets[TEST_OOD]))} of {TEST_OOD}), as in "
        "CLUE's files for MOSI: out-of-distribution results would be in-distribution ones; use repaired lists"
    )
    return [Finding("warning", "test splits", message, tuple(both))]


def _content(row: Row, digests: Mapping[str, Hashable]) -> Hashable:
    """What a clip is, whatever its id: features, else media, else text, else only the id."""
    if row["clip_id"] in digests:
        return digests[row["clip_id"]]
    if row.get("sha256") is not None:
        return row["sha256"], row.get("start_s"), row.get("end_s")
    said = "".join(letters(row.get("text") or ""))
    return said if len(said) >= LONG_TEXT else row["clip_id"]
