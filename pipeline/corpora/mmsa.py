"""Corpora in MMSA's layout: `label.csv` and `Raw/<video_id>/<clip_id>.mp4`. Known ones have own kinds.

Source of the layout: the wiki of MMSA-FeatureExtractionTool, https://github.com/thuiar/MMSA-FET
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pipeline.corpora.labelling import Labelling
from pipeline.corpora.survey import CorpusClip, CorpusSurvey
from pipeline.corpora.tables.labels import LAYOUT, LabelRow, read_labels
from pipeline.corpora.tables.media_files import WantedMedia, by_folder, find_media, match_media, same_form
from pipeline.params.params import DatasetParams

__all__ = ["LABELLING", "LAYOUT", "survey", "with_media"]
LABELLING = Labelling()
RAW = "Raw"
EDITED = "-edited"  # MMML writes x-edited.mp4 beside x.mp4: the same without the bad frames at its end


def survey(name: str, dataset: DatasetParams) -> CorpusSurvey:
    """The clips of label.csv with their media files."""
    root = Path(dataset.root)
    labels = read_labels(root, dataset.label_range, f"datasets.{name}", dataset.classes)
    found = CorpusSurvey(str(labels.path), problems=labels.problems, files=find_media(root, RAW))
    if labels.ignored:
        found.note("columns", f"{labels.path}: columns that are not used: {', '.join(labels.ignored)}")
    found.clips = with_media(labels.rows, found.files, RAW)
    _note_edited(found)
    return found


def with_media(rows: list[LabelRow], files: list[str], raw: str) -> list[CorpusClip]:
    """Rows of a label file as clips with the files of `<raw>/<video_id>`."""
    wanted = [
        WantedMedia(row.video_id, row.clip_id, f"{raw}/{row.video_id}/{row.clip_id}.mp4") for row in rows
    ]
    return [
        CorpusClip(
            row.video_id,
            row.clip_id,
            row.split,
            row.text,
            row.labels,
            path,
            unmatched,
            annotation=row.annotation,
            line=row.line,
        )
        for row, (path, unmatched) in zip(rows, match_media(wanted, by_folder(files, raw)), strict=True)
    ]


def _note_edited(found: CorpusSurvey) -> None:
    """Name edited copies of clips that are not used themselves."""
    used = {clip.path for clip in found.clips}
    originals = {same_form(f"{RAW}/{clip.video_id}/{clip.clip_id}") for clip in found.clips}
    copies = [
        file
        for file in found.files
        if file not in used
        and PurePosixPath(file).stem.endswith(EDITED)
        and same_form(str(PurePosixPath(file).with_suffix(""))).removesuffix(EDITED) in originals
    ]
    if copies:
        message = (
            f"{len(copies)} edited cop(ies) of clips (x{EDITED}.mp4, left by MMML's preparation) are not "
            "used; put one in its clip's place where you want it"
        )
        found.note("edited copies", message, copies)
