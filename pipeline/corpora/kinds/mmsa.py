"""Corpora in MMSA's layout: `label.csv` and `Raw/<video_id>/<clip_id>.mp4`. Known ones have own kinds.

Source of the layout: the wiki of MMSA-FeatureExtractionTool, https://github.com/thuiar/MMSA-FET
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pipeline.core.section import Section
from pipeline.corpora.survey import CorpusSurvey, Labelling
from pipeline.corpora.tables.labels import read_labels
from pipeline.corpora.tables.media_files import WantedMedia, by_folder, find_media, same_form, with_media
from pipeline.params.params import DatasetParams

LABELLING = Labelling()
RAW = "Raw"
EDITED = "-edited"  # MMML writes x-edited.mp4 beside x.mp4: the same without the bad frames at its end


def survey(name: str, dataset: DatasetParams, settings: Section) -> CorpusSurvey:
    """The clips of label.csv with their media files."""
    root = Path(dataset.root)
    found = read_labels(root, dataset.label_range, f"datasets.{name}", dataset.classes)
    found.files = find_media(root, RAW)
    wanted = [
        WantedMedia(clip.video_id, clip.clip_id, f"{RAW}/{clip.video_id}/{clip.clip_id}.mp4")
        for clip in found.clips
    ]
    found.clips = with_media(found.clips, wanted, by_folder(found.files, RAW))
    # edited copies of clips that are not used themselves
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
            "used; to use one, put it in its clip's place"
        )
        found.note("edited copies", message, copies)
    return found
