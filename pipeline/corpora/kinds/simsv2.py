"""CH-SIMS v2 in MMSA's layout, its label file called `meta.csv`: 4,403 labelled Mandarin clips, and others.

The unlabelled part (10,161 clips) is a folder of its own. Put it, or a link to it, below the corpus and name
it: `settings: {unlabeled: ch-simsv2u}`. In it lie `Raw/<video_id>/<clip_id>.mp4` (or the folders of videos
themselves) and perhaps a `meta.csv` with texts; its clips join with split `unlabeled`, whatever mode is
written there. A video of it that is called like a labelled one is another recording: it gets a `u_`.
Source: https://github.com/thuiar/ch-sims-v2
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.core.names import bad_id
from pipeline.core.section import Section
from pipeline.core.vocabulary import TEST, TRAIN, UNLABELED, VALID
from pipeline.corpora.kinds import mmsa, sims
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, Labelling, reject_repeated
from pipeline.corpora.tables.csv import read_table
from pipeline.corpora.tables.labels import label_file
from pipeline.corpora.tables.media_files import find_media, same_form
from pipeline.corpora.tables.values import without_zeros
from pipeline.formats.source import below
from pipeline.params.params import DatasetParams

LABELLING = Labelling(label_range=(-1.0, 1.0), language="zh", metrics="sims")
PUBLISHED = {TRAIN: 2722, VALID: 647, TEST: 1034}
TEXT_COLUMNS = ("video_id", "clip_id", "text")


class SimsV2Settings(Section):
    """Where the unlabelled part is."""

    unlabeled: str | None = None
    """its folder, relative to the corpus' folder; none = it is not used"""


SETTINGS = SimsV2Settings


def survey(name: str, dataset: DatasetParams, settings: SimsV2Settings) -> CorpusSurvey:
    """The labelled clips, and the unlabelled ones where their folder is named."""
    found = sims.survey(name, dataset, settings)
    if settings.unlabeled is not None:
        _add_unlabeled(found, Path(dataset.root), settings.unlabeled, f"datasets.{name}.settings.unlabeled")
    return found


def _add_unlabeled(found: CorpusSurvey, root: Path, folder: str, setting: str) -> None:
    place = below(root, folder)
    if place is None or not place.is_dir():
        message = f"{setting} is {folder!r}: no such folder in {str(root)!r}; give its path relative to it"
        found.reject("unlabeled", message)
        return
    raw = PurePosixPath(folder, mmsa.RAW if (place / mmsa.RAW).is_dir() else "")
    files = find_media(root, str(raw))
    texts = _texts(found, place)
    untold = "" if texts else None  # beside texts of others a clip without one has an empty one
    for file in files:
        video, clip = PurePosixPath(file).parent.name, PurePosixPath(file).stem
        if PurePosixPath(file).parent == raw or bad_id(video) or bad_id(clip):
            continue  # told of as a file without a row
        text = texts.pop(_key(video, clip), untold)
        found.clips.append(CorpusClip(video, clip, UNLABELED, text, path=file))
    if texts:
        message = f"{len(texts)} texts of unlabelled clips have no media file and are omitted"
        found.note("unlabeled", message, sorted("/".join(key) for key in texts), "warning")
    found.files = sorted({*found.files, *files})
    # both parts number their videos
    taken = {clip.video_id for clip in found.clips if clip.split != UNLABELED}
    found.clips = [
        replace(clip, video_id=f"u_{clip.video_id}")
        if clip.split == UNLABELED and clip.video_id in taken
        else clip
        for clip in found.clips
    ]
    reject_repeated(found)


def _texts(found: CorpusSurvey, folder: Path) -> dict[tuple[str, str], str]:
    """(video, clip) -> text of the unlabelled part's own label file; empty where it has none."""
    path = label_file(folder)
    if path is None:
        return {}
    own = CorpusSurvey(str(path))
    rows = read_table(path, own, TEXT_COLUMNS, TEXT_COLUMNS).rows
    texts = {_key(cells["video_id"], cells["clip_id"]): cells["text"] for _, cells in rows}
    found.reject_of(own)
    return texts


def _key(video: str, clip: str) -> tuple[str, str]:
    return same_form(video), without_zeros(same_form(clip))
