"""Media files below a corpus' folder, and which of them belongs to which clip.

A file belongs to a clip when its name without suffix equals the clip's id, or else when both are numbers of
equal value: CH-SIMS has files `0001.mp4` for the id 1. Any suffix of a video file will do.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline.core.errors import MsaError
from pipeline.corpora.clips import AMBIGUOUS_MEDIA, MISSING_MEDIA
from pipeline.corpora.survey import CorpusClip
from pipeline.corpora.tables.values import without_zeros
from pipeline.formats.source import walk
from pipeline.media.decode import VIDEO_SUFFIXES

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".m4a", ".mp3", ".aac", ".ogg", ".opus"})
MOST_FILES = 3_000_000  # below a folder; VoxCeleb 2 has 1.1 million clips


def find_media(
    root: Path,
    below: str = "",
    suffixes: Collection[str] = VIDEO_SUFFIXES,
    passed_over: dict[str, str] | None = None,
) -> list[str]:
    """Media files below `<root>/<below>`, at any depth, relative to root, sorted; links are followed.

    Hidden files and folders are left out (macOS puts a `._x.mp4` beside each real file); of `passed_over` see
    `walk`. MsaError: there are more files than a corpus can have.
    """
    found: list[str] = []
    for folder, names in walk(root / below, passed_over):
        place = Path(folder).relative_to(root)
        media = (name for name in names if os.path.splitext(name)[1].lower() in suffixes)
        found += [(place / name).as_posix() for name in media]
        if len(found) > MOST_FILES:
            raise MsaError(f"{root}: over {MOST_FILES} media files; is it the right folder?")
    return sorted(found)


def by_folder(files: Iterable[str], below: str) -> dict[str, list[str]]:
    """Files by the path of their folder relative to `below`; the folder itself is ``."""
    folders: dict[str, list[str]] = defaultdict(list)
    for file in files:
        place = PurePosixPath(file).parent.relative_to(below).as_posix()
        folders["" if place == "." else place].append(file)
    return folders


class WantedMedia(NamedTuple):
    """The media file that a clip should have.

    Attributes
    ----------
    folder : key of the folder in which it lies
    name : its name without suffix
    expected : where it should be, for messages
    """

    folder: str
    name: str
    expected: str


def with_media(
    clips: Iterable[CorpusClip], wanted: Sequence[WantedMedia], files: Mapping[str, Sequence[str]]
) -> list[CorpusClip]:
    """Clips with the files that each should have; see `match_media`."""
    return [
        replace(clip, path=path, unmatched=unmatched)
        for clip, (path, unmatched) in zip(clips, match_media(wanted, files), strict=True)
    ]


def match_media(
    wanted: Sequence[WantedMedia], files: Mapping[str, Sequence[str]]
) -> list[tuple[str | None, str | None]]:
    """The media file of each clip: (path, None), or (None, the reason why there is none).

    Parameters
    ----------
    files : by folder, paths relative to the corpus
    """
    by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
    for folder, paths in files.items():
        for path in paths:
            by_name[same_form(folder), same_form(PurePosixPath(path).stem)].append(path)
    keys = [(same_form(one.folder), same_form(one.name)) for one in wanted]
    exact = set(keys) & set(by_name)
    # what no clip names exactly may still be the same number, written with other leading zeros
    by_value: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in by_name.keys() - exact:
        by_value[key[0], without_zeros(key[1])] += by_name[key]
    rivals: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in set(keys) - exact:
        rivals[key[0], without_zeros(key[1])].append(key[1])
    found: list[tuple[str | None, str | None]] = []
    for one, key in zip(wanted, keys, strict=True):
        value = (key[0], without_zeros(key[1]))
        candidates = sorted(by_name[key] if key in exact else by_value.get(value, []))
        if not candidates:
            found.append((None, f"{MISSING_MEDIA}: {one.expected}"))
        elif len(candidates) > 1:
            found.append((None, f"{AMBIGUOUS_MEDIA}: {', '.join(candidates)}"))
        elif key not in exact and len(rivals[value]) > 1:
            found.append((None, f"{AMBIGUOUS_MEDIA}: {candidates[0]} for {', '.join(sorted(rivals[value]))}"))
        else:
            found.append((candidates[0], None))
    return found


def same_form(name: str) -> str:
    """File systems differ in how they compose accents; names are compared in one form."""
    return unicodedata.normalize("NFC", name)
