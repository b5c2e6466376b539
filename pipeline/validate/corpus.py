"""Checks of a corpus' clips: their media, and what two splits share. They read rows of the clip table alone.

So they serve raw corpora, imports and training sets alike: what a row does not know (an import has no media)
is not checked. The split `context` (what was said before a clip) is of its clip's video by definition and
exempt from what splits share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.core.vocabulary import ALL_SPLITS, CONTEXT, TEST, TEST_OOD
from pipeline.corpora.clips import AMBIGUOUS_MEDIA, EMPTY_TEXT, MISSING_MEDIA, UNREADABLE_MEDIA
from pipeline.corpora.findings import Finding, percent
from pipeline.corpora.survey import TIMES_BEYOND
from pipeline.params.params import MediaLimits
from pipeline.transcripts.scripts import letters

SHORTEST_S = 0.5  # seconds; a clip that is shorter hardly holds a word
SHARED_S = 0.1  # seconds; where two clips of one file share less, they only touch
LONG_TEXT = 40  # letters; shorter texts ("I do not know") are said more than once
WIDE = 3  # an ideograph says about as much as so many letters

Row = Mapping[str, Any]

WAYS_OUT = {
    MISSING_MEDIA: "have no media file; text alone can be used",
    AMBIGUOUS_MEDIA: "could belong to several files, or one file to several clips: remove or rename",
    UNREADABLE_MEDIA: "have a media file that cannot be read: fetch it again",
    TIMES_BEYOND: "end after their media file does: is it cut, or another recording?",
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
    findings = []
    for reason, way_out in WAYS_OUT.items():
        if found := _with_reason(rows, reason):
            findings.append(Finding("warning", reason, f"{len(found)} of {len(rows)} clips {way_out}", found))
    timed = [(row["clip_id"], seconds) for row in rows if (seconds := clip_seconds(row)) is not None]
    read = [row for row in rows if row.get("duration_s") is not None]
    longest = limits.max_seconds
    remarks = {
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
    for check, (clips, what) in remarks.items():
        if clips:
            message = f"{len(clips)} of {len(rows)} clips {what}"
            findings.append(Finding("warning", check, message, tuple(clips)))
    return findings + _spare(rows, files)


def _spare(rows: Sequence[Row], files: Sequence[str]) -> list[Finding]:
    used = {row.get("path") for row in rows}
    claimed = " ".join(_with_reason(rows, AMBIGUOUS_MEDIA))
    spare = tuple(_printable(path) for path in files if path not in used and path not in claimed)
    if not spare:
        return []
    message = f"{len(spare)} media file(s) belong to no row of the label file"
    return [Finding("warning", "files without a row", message, spare)]


def _with_reason(rows: Sequence[Row], reason: str) -> tuple[str, ...]:
    """The clips whose status gives that reason, each with its details."""
    found = []
    for row in rows:
        parts = [part for part in row["status"].split("; ") if part.startswith(reason)]
        details = "; ".join(part.removeprefix(reason).removeprefix(": ") for part in parts)
        if parts:
            found.append(f"{row['clip_id']}: {details}" if details else row["clip_id"])
    return tuple(found)


def _printable(path: str) -> str:
    """File names need not be UTF-8; messages are."""
    return path.encode("utf-8", "backslashreplace").decode()


# ------------------------------------------------------------------------------------ what two splits share
def leaks(rows: Sequence[Row], digests: Mapping[str, Hashable] | None = None) -> list[Finding]:
    """Videos, speakers, times, media, texts and features that are in two splits or there twice.

    Parameters
    ----------
    digests : clip id -> what its features are known by; equal ones are the same clip under two names
    """
    own = [row for row in rows if row["split"] not in (None, CONTEXT)]
    groups = {
        "videos": ("video_id", "the same speaker is seen"),
        "speakers": ("speaker", "results are not those of unknown speakers"),
    }
    findings = []
    for noun, (column, meaning) in groups.items():
        findings += _in_two_splits(own, column, noun, meaning)
    findings += _shared_times(own)
    findings += _same_media(own)
    findings += _same_texts(own)
    findings += _same_features(own, digests or {})
    findings += _same_tests(own, digests or {})
    return findings


def _in_two_splits(rows: Sequence[Row], column: str, noun: str, meaning: str) -> list[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get(column) is not None:
            splits[row[column]].add(row["split"])
    shared = tuple(f"{one} ({', '.join(_ordered(found))})" for one, found in splits.items() if len(found) > 1)
    if not shared:
        return []
    message = f"{len(shared)} of {len(splits)} {noun} have clips in several splits: {meaning}"
    return [Finding("warning", f"{noun} in two splits", message, shared)]


def _shared_times(rows: Sequence[Row]) -> list[Finding]:
    """Clips of two splits that are cut from the same seconds of one file."""
    files: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.get("path") is not None and (row.get("start_s") is not None or row.get("end_s") is not None):
            files[row["path"]].append(row)
    shared = []
    for members in files.values():
        open_clips: list[Row] = []
        for row in sorted(members, key=lambda row: (row["start_s"] or 0.0, row["clip_id"])):
            start = row["start_s"] or 0.0
            open_clips = [other for other in open_clips if _end(other) - start > SHARED_S]
            shared += [
                f"{other['clip_id']} ({other['split']}) and {row['clip_id']} ({row['split']})"
                for other in open_clips
                if other["split"] != row["split"] and _end(row) - start > SHARED_S
            ]
            open_clips.append(row)
    if not shared:
        return []
    message = f"{len(shared)} pair(s) of clips in different splits are cut from the same seconds of a file"
    return [Finding("warning", "times in two splits", message, tuple(shared))]


def _end(row: Row) -> float:
    return math.inf if row["end_s"] is None else float(row["end_s"])


def _same_media(rows: Sequence[Row]) -> list[Finding]:
    """Files of the same bytes, and clips that are the same part of one file."""
    same: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.get("sha256") is not None:
            same[row["sha256"]].append(row)
    twice = []
    for group in same.values():
        parts = [(row.get("start_s"), row.get("end_s")) for row in group]
        if len({row["path"] for row in group}) > 1 or len(set(parts)) < len(parts):
            twice.append(group)
    what = "media file(s) occur more than once"
    return _repeated(twice, "duplicate media", what)


def _same_texts(rows: Sequence[Row]) -> list[Finding]:
    """Long texts that are word for word in several splits: copies of a clip whose media differ or lack."""
    same: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        said = letters(row.get("text") or "")
        if sum(1 if ord(letter) < 0x2E80 else WIDE for letter in said) >= LONG_TEXT:
            same["".join(said)].append(row)
    across = [group for group in same.values() if len({row["split"] for row in group}) > 1]
    return _repeated(across, "text in two splits", f"text(s) of {LONG_TEXT} letters or more occur again")


def _same_features(rows: Sequence[Row], digests: Mapping[str, Hashable]) -> list[Finding]:
    same: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        if row["clip_id"] in digests:
            same[digests[row["clip_id"]]].append(row)
    twice = [group for group in same.values() if len(group) > 1]
    return _repeated(twice, "duplicate features", "set(s) of features are those of more than one clip")


def _repeated(groups: Sequence[Sequence[Row]], check: str, what: str) -> list[Finding]:
    if not groups:
        return []
    across = sum(len({row["split"] for row in group}) > 1 for group in groups)
    examples = tuple(" = ".join(f"{row['clip_id']} ({row['split']})" for row in group) for group in groups)
    message = f"{len(groups)} {what}, {across} of them in several splits"
    return [Finding("warning", check, message, examples)]


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
        "CLUE's files for MOSI: results out of distribution would be those within it; use repaired lists"
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


def _ordered(splits: Iterable[str]) -> list[str]:
    found = set(splits)
    return [split for split in ALL_SPLITS if split in found]
