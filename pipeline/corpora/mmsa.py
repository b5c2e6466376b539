"""Corpora in MMSA's layout (CMU-MOSI, CMU-MOSEI, CH-SIMS): `label.csv`, `Raw/<video_id>/<clip_id>.mp4`.

A media file belongs to a row when its name without suffix equals clip_id, or else when both are numbers of
equal value: CH-SIMS has files `0001.mp4` for the id 1. Any suffix of a video file will do.

Source of the layout: the wiki of MMSA-FeatureExtractionTool, https://github.com/thuiar/MMSA-FET
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.clips import AMBIGUOUS_MEDIA, EMPTY_TEXT, MISSING_MEDIA, OK, measure_all
from pipeline.corpora.label_csv import LabelRow, read_labels, shortened
from pipeline.errors import LabelFileError, MsaError
from pipeline.media import VIDEO_SUFFIXES
from pipeline.params import DatasetParams, MediaLimits


def read(name: str, dataset: DatasetParams, limits: MediaLimits, workers: int = 1) -> list[dict[str, Any]]:
    """The rows of the clip table.

    Raises
    ------
    LabelFileError : the label file cannot be used; lists all its problems
    """
    labels = read_labels(Path(dataset.root), dataset.label_range, f"datasets.{name}", dataset.classes)
    if labels.problems:
        raise LabelFileError(str(labels.path), shortened(labels.problems))
    return clip_rows(labels.rows, dataset, limits, workers)


def clip_rows(
    rows: Sequence[LabelRow], dataset: DatasetParams, limits: MediaLimits, workers: int = 1
) -> list[dict[str, Any]]:
    """Rows of the clip table: each label row with its media file, the file's facts and a status."""
    root = Path(dataset.root)
    media = match_media(rows, media_files(root))
    measured = measure_all(root, [path for path, _ in media], limits, workers)
    table = []
    for row, (path, unmatched), (facts, unreadable) in zip(rows, media, measured, strict=True):
        reasons = [unmatched, unreadable, None if _has_text(row.text) else EMPTY_TEXT]
        table.append(
            {
                "clip_id": row.id,
                "video_id": row.video_id,
                "split": row.split,
                "path": path,
                "text": row.text if _has_text(row.text) else None,
                "language": dataset.language,
                "status": "; ".join(reason for reason in reasons if reason) or OK,
                **row.labels,
                **facts,
            }
        )
    return table


def _has_text(text: str) -> bool:
    """Whether anything can be seen of it: not only spaces, zero-width and control characters."""
    return any(unicodedata.category(char) not in {"Zs", "Zl", "Zp", "Cc", "Cf"} for char in text)


def media_files(root: Path) -> dict[str, list[str]]:
    """Video files of `<root>/Raw` relative to root, by their folder (none: ``).

    Raises
    ------
    MsaError : a folder cannot be listed
    """
    raw = root / "Raw"
    files: dict[str, list[str]] = defaultdict(list)
    if not raw.is_dir():
        return files
    for entry in _listed(raw):
        for file in _listed(entry) if entry.is_dir() else [entry]:
            hidden = file.name.startswith("._")  # macOS puts such a file beside each real one
            if file.suffix.lower() in VIDEO_SUFFIXES and not hidden and file.is_file():
                folder = entry.name if entry.is_dir() else ""
                files[_same_form(folder)].append(file.relative_to(root).as_posix())
    return files


def match_media(rows: Sequence[LabelRow], files: dict[str, list[str]]) -> list[tuple[str | None, str | None]]:
    """The media file of each row.

    Returns
    -------
    (path relative to the root, None), or (None, the reason why there is none)
    """
    by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
    for folder, paths in files.items():
        for path in paths:
            by_name[folder, _same_form(Path(path).stem)].append(path)
    wanted = [(_same_form(row.video_id), _same_form(row.clip_id)) for row in rows]
    exact = set(wanted) & set(by_name)
    # what no row names exactly may still be the same number, written with other leading zeros
    by_value: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in by_name.keys() - exact:
        by_value[key[0], _value(key[1])] += by_name[key]
    rivals: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in set(wanted) - exact:
        rivals[key[0], _value(key[1])].append(key[1])
    found: list[tuple[str | None, str | None]] = []
    for row, key in zip(rows, wanted, strict=True):
        value = (key[0], _value(key[1]))
        candidates = sorted(by_name[key] if key in exact else by_value.get(value, []))
        if not candidates:
            found.append((None, f"{MISSING_MEDIA}: Raw/{row.video_id}/{row.clip_id}.mp4"))
        elif len(candidates) > 1:
            found.append((None, f"{AMBIGUOUS_MEDIA}: {', '.join(candidates)}"))
        elif key not in exact and len(rivals[value]) > 1:
            found.append((None, f"{AMBIGUOUS_MEDIA}: {candidates[0]} for {', '.join(sorted(rivals[value]))}"))
        else:
            found.append((candidates[0], None))
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise MsaError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def _same_form(name: str) -> str:
    """File systems differ in how they compose accents; names are compared in one form."""
    return unicodedata.normalize("NFC", name)


def _value(name: str) -> str:
    """A number without leading zeros; any other name as it is."""
    return (name.lstrip("0") or "0") if name.isascii() and name.isdigit() else name
