"""The table of labels of a folder of videos (folder.py says its columns): each row found its video, typed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from pipeline.corpora.clips import AMBIGUOUS_MEDIA, MISSING_MEDIA, TEST_OOD, UNLABELED
from pipeline.corpora.survey import CorpusClip, CorpusSurvey
from pipeline.corpora.tables.csv import read_table
from pipeline.corpora.tables.labels import CLASS_COLUMNS, LABEL_COLUMNS, name_settings
from pipeline.corpora.tables.media_files import same_form
from pipeline.corpora.tables.values import MODES, bad_id, label_value, number_of
from pipeline.params.params import DatasetParams

FILES = ("file", "path", "clip_id")  # the first that is there names the video
SPLITS = ("split", "mode")
OTHERS = ("text", "speaker", "video_id", "start_s", "end_s")
KNOWN = {*FILES, *SPLITS, *OTHERS, *(name.lower() for name in LABEL_COLUMNS)}
MODES_OOD = {**MODES, TEST_OOD: TEST_OOD}


def default_id(file: str) -> tuple[str, str]:
    """(video_id, clip_id) of a video by where it lies."""
    path = PurePosixPath(file)
    return ".".join(path.parent.parts) or path.stem, path.stem


def read_clips(found: CorpusSurvey, path: Path, dataset: DatasetParams, setting: str) -> bool:
    """Add the clips of a table to a survey that knows the files; whether the table has a column of splits.

    Parameters
    ----------
    setting : the dataset's section of params.yaml, for messages
    """
    table = read_table(path, found.problems, (), KNOWN, either=FILES)
    if not table.columns:
        return False
    key = next(name for name in FILES if name in table.columns)
    ignored = [name for name in table.header if name and name.lower() not in KNOWN]
    if ignored:
        found.note("columns", f"{path.name}: columns that are not used: {', '.join(ignored)}")
    if "label" not in table.columns:
        found.note("columns", f"{path.name}: no column label: all clips are unlabeled", level="warning")
    split = next((name for name in SPLITS if name in table.columns), None)
    videos = _videos(found.files)
    before = len(found.problems)
    for line, cells in table.rows:
        _add(found, line, cells, key, split, videos, dataset)
    wrong = found.problems[before:]
    name_settings(wrong, dataset.label_range, dataset.classes, setting)
    found.problems[before:] = wrong
    return split is not None


def _videos(files: list[str]) -> dict[str, list[str]]:
    """Every way to name a video -> the videos: its path or its name, with suffix or without."""
    videos: dict[str, list[str]] = defaultdict(list)
    for file in files:
        path = PurePosixPath(file)
        for name in {file, str(path.with_suffix("")), path.name, path.stem}:
            videos[same_form(name)].append(file)
    return videos


def _add(
    found: CorpusSurvey,
    line: int,
    cells: Mapping[str, str],
    key: str,
    split: str | None,
    videos: Mapping[str, list[str]],
    dataset: DatasetParams,
) -> None:
    given = cells[key].replace("\\", "/").removeprefix("./")
    if not given:
        found.reject("ids", f"{key} is empty; expected the name of a video", line)
        return
    candidates = videos.get(same_form(given), [])
    # `a.mp4` at the top is that file, though `talk/a.mp4` has the name, too
    exact = [file for file in candidates if given in (file, str(PurePosixPath(file).with_suffix("")))]
    candidates = exact or candidates
    path = candidates[0] if len(candidates) == 1 else None
    unmatched = None if path else f"{MISSING_MEDIA}: {given}"
    if len(candidates) > 1:
        unmatched = f"{AMBIGUOUS_MEDIA}: {', '.join(candidates)}"
    start_s, end_s = _times(found, line, cells)
    video, clip = default_id(path or given)
    video = cells.get("video_id") or video
    if key != "clip_id" and start_s is not None:
        clip = f"{clip}@{start_s:g}"
    reason = bad_id(video) or bad_id(clip)
    if reason:
        found.reject("ids", f"{given}: its id would be {video!r}, {clip!r}: {reason}", line)
        return
    labels = _labels(found, line, cells, given, dataset)
    target = labels["class_label" if dataset.classes else "label"]
    called = cells.get(split, "") if split else ""
    place = MODES_OOD.get(called.lower()) if called else UNLABELED if target is None else None
    if split and place is None:
        message = f"{split} of {given} is {called!r}, expected {', '.join(MODES_OOD)}"
        found.reject("mode", message, line)
    elif split and target is None and place != UNLABELED and not cells.get("label"):
        found.reject("label", f"label of {given} is empty; only split unlabeled may have none", line)
    found.clips.append(
        CorpusClip(
            video,
            clip,
            place,
            cells.get("text"),
            labels,
            path,
            unmatched,
            start_s,
            end_s,
            cells.get("speaker") or None,
            line=line,
        )
    )


def _times(found: CorpusSurvey, line: int, cells: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Begin and end of the part that is the clip, seconds."""
    times: list[float | None] = []
    for name in ("start_s", "end_s"):
        value = cells.get(name, "")
        number = number_of(value) if value else None
        if value and (number is None or number < 0):
            found.reject("times", f"{name} is {value!r}, expected seconds from 0", line)
            number = None
        times.append(number)
    start_s, end_s = times
    if end_s is not None and start_s is None:
        start_s = 0.0
    if start_s is not None and end_s is not None and end_s <= start_s:
        found.reject("times", f"the clip ends at {end_s:g} s and begins at {start_s:g} s", line)
    return start_s, end_s


def _labels(
    found: CorpusSurvey, line: int, cells: Mapping[str, str], given: str, dataset: DatasetParams
) -> dict[str, float | None]:
    labels: dict[str, float | None] = {}
    for name, column in (CLASS_COLUMNS if dataset.classes else LABEL_COLUMNS).items():
        value = cells.get(name.lower(), "")
        labels[column] = None
        if value:
            labels[column], check, expected = label_value(value, dataset.label_range, dataset.classes)
            if check:
                found.reject(check, f"{name} of {given} is {value!r}, expected {expected}", line)
    return labels
