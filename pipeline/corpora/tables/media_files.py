"""Media files below a corpus' folder, and which of them belongs to which clip.

A file belongs to a clip when its name without suffix equals the clip's id, or else when both are numbers of
equal value: CH-SIMS has files `0001.mp4` for the id 1. Any suffix of a video file will do.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.core.errors import MsaError
from pipeline.corpora.clips import AMBIGUOUS_MEDIA, MISSING_MEDIA
from pipeline.media.decode import VIDEO_SUFFIXES

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".m4a", ".mp3", ".aac", ".ogg", ".opus"})
MOST_FILES = 3_000_000  # below a folder; VoxCeleb 2 has 1.1 million clips


def find_media(root: Path, below: str = "", suffixes: Collection[str] = VIDEO_SUFFIXES) -> list[str]:
    """Media files below `<root>/<below>`, at any depth, relative to root, sorted; links are followed.

    Hidden files and folders are left out (macOS puts a `._x.mp4` beside each real file).

    Parameters
    ----------
    suffixes : lower-case endings that count

    Raises
    ------
    MsaError : a folder cannot be listed, or there are more files than a corpus can have
    """
    found: list[str] = []
    looked_at: set[str] = set()
    for folder, folders, names in os.walk(root / below, onerror=_not_listed, followlinks=True):
        real = os.path.realpath(folder)
        if real in looked_at:  # a link that leads back
            folders.clear()
            continue
        looked_at.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = Path(folder).relative_to(root)
        for name in names:
            path = os.path.join(folder, name)
            media = os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
            if media and os.path.isfile(path):
                found.append((place / name).as_posix())
        if len(found) > MOST_FILES:
            raise MsaError(f"{root}: over {MOST_FILES} media files; is it the folder that is meant?")
    return sorted(found)


def _not_listed(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise MsaError(
            f"{error.filename}: cannot be listed ({error.strerror}); check its permissions"
        ) from error


def by_folder(files: Iterable[str], below: str = "") -> dict[str, list[str]]:
    """Files by the path of their folder relative to `below`; the folder itself is ``."""
    folders: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folder = PurePosixPath(file).parent
        place = folder.relative_to(below).as_posix()
        folders[same_form("" if place == "." else place)].append(file)
    return folders


@dataclass(frozen=True)
class WantedMedia:
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


def match_media(
    wanted: Sequence[WantedMedia], files: Mapping[str, Sequence[str]]
) -> list[tuple[str | None, str | None]]:
    """The media file of each clip.

    Parameters
    ----------
    files : by folder, paths relative to the corpus

    Returns
    -------
    (path relative to the root, None), or (None, the reason why there is none)
    """
    by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
    for folder, paths in files.items():
        for path in paths:
            by_name[folder, same_form(PurePosixPath(path).stem)].append(path)
    keys = [(same_form(one.folder), same_form(one.name)) for one in wanted]
    exact = set(keys) & set(by_name)
    # what no clip names exactly may still be the same number, written with other leading zeros
    by_value: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in by_name.keys() - exact:
        by_value[key[0], _value(key[1])] += by_name[key]
    rivals: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in set(keys) - exact:
        rivals[key[0], _value(key[1])].append(key[1])
    found: list[tuple[str | None, str | None]] = []
    for one, key in zip(wanted, keys, strict=True):
        value = (key[0], _value(key[1]))
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


def _value(name: str) -> str:
    """A number without leading zeros; any other name as it is."""
    return (name.lstrip("0") or "0") if name.isascii() and name.isdigit() else name
