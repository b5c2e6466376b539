"""CMU-MOSEI in MMSA's layout: 22,856 clips, scores in [-3, 3].

Six clips have broken sound. Some authors leave them out (https://github.com/zehuiwu/MMML), most do not:
`settings: {broken_sound: drop}` does, and the notes say which there are.
"""

from __future__ import annotations

from typing import Literal

from pipeline.core.section import Section
from pipeline.corpora import mmsa
from pipeline.corpora.clips import TEST, TRAIN, VALID, full_id
from pipeline.corpora.labelling import Labelling
from pipeline.corpora.survey import CorpusSurvey
from pipeline.corpora.tables.labels import LAYOUT
from pipeline.params.explain import settings_of
from pipeline.params.params import DatasetParams

__all__ = ["LABELLING", "LAYOUT", "PUBLISHED", "MoseiSettings", "survey"]
LABELLING = Labelling(label_range=(-3.0, 3.0), language="en", metrics="mmsa")
PUBLISHED = {TRAIN: 16326, VALID: 1871, TEST: 4659}
BROKEN_SOUND = {
    full_id(*place.split("/"))
    for place in (
        "3aIQUQgawaI/12",
        "94ULum9MYX0/2",
        "94ULum9MYX0/11",
        "mRnEJOLkhp8/24",
        "mRnEJOLkhp8/26",
        "aE-X_QdDaqQ/3",
    )
}


class MoseiSettings(Section):
    """What differs between users of the corpus."""

    broken_sound: Literal["keep", "drop"] = "keep"
    """the six clips whose sound is broken"""


def survey(name: str, dataset: DatasetParams) -> CorpusSurvey:
    """The clips of label.csv with their media; a word on those with broken sound."""
    settings = settings_of(MoseiSettings, dataset.settings, f"datasets.{name}.settings")
    found = mmsa.survey(name, dataset)
    broken = [clip.id for clip in found.clips if clip.id in BROKEN_SOUND]
    if broken and settings.broken_sound == "drop":
        found.clips = [clip for clip in found.clips if clip.id not in BROKEN_SOUND]
        found.note("broken sound", f"{len(broken)} clips with broken sound are left out", broken)
    elif broken:
        message = (
            f"{len(broken)} clips are known for broken sound; some authors leave them out "
            f"(datasets.{name}.settings.broken_sound: drop)"
        )
        found.note("broken sound", message, broken)
    return found
