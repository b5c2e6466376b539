"""CMU-MOSEI in MMSA's layout: 22,856 clips, scores in [-3, 3].

Six clips have broken sound. Some authors leave them out (https://github.com/zehuiwu/MMML), most do not:
`settings: {broken_sound: drop}` does, and the notes say which there are.
"""

from __future__ import annotations

from typing import Literal

from pipeline.core.section import Section
from pipeline.core.vocabulary import TEST, TRAIN, VALID
from pipeline.corpora.kinds import mmsa
from pipeline.corpora.survey import CorpusSurvey, Labelling
from pipeline.params.params import DatasetParams

LABELLING = Labelling(label_range=(-3.0, 3.0), language="en", metrics="mmsa")
PUBLISHED = {TRAIN: 16326, VALID: 1871, TEST: 4659}
BROKEN_SOUND = {
    *("3aIQUQgawaI$_$12", "94ULum9MYX0$_$2", "94ULum9MYX0$_$11", "mRnEJOLkhp8$_$24"),
    *("mRnEJOLkhp8$_$26", "aE-X_QdDaqQ$_$3"),
}


class MoseiSettings(Section):
    """What differs between users of the corpus."""

    broken_sound: Literal["keep", "drop"] = "keep"
    """the six clips whose sound is broken"""


SETTINGS = MoseiSettings


def survey(name: str, dataset: DatasetParams, settings: MoseiSettings) -> CorpusSurvey:
    """The clips of label.csv with their media, and a note on those with broken sound."""
    found = mmsa.survey(name, dataset, settings)
    broken = [clip.id for clip in found.clips if clip.id in BROKEN_SOUND]
    if broken and settings.broken_sound == "drop":
        found.clips = [clip for clip in found.clips if clip.id not in BROKEN_SOUND]
        found.note("broken sound", f"{len(broken)} clips with broken sound are omitted", broken)
    elif broken:
        message = (
            f"{len(broken)} clips are known to have broken sound; some authors omit them "
            f"(datasets.{name}.settings.broken_sound: drop)"
        )
        found.note("broken sound", message, broken)
    return found
