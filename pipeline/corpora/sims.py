"""CH-SIMS in MMSA's layout: 2,281 Mandarin clips of 60 videos, scores in [-1, 1] for all and each modality.

Files are called `0001.mp4` where the label file says 1 in many copies; media_files.py matches them.
Source: https://github.com/thuiar/MMSA
"""

from __future__ import annotations

from pipeline.corpora import mmsa
from pipeline.corpora.clips import LABELS, TEST, TRAIN, VALID
from pipeline.corpora.labelling import Labelling
from pipeline.corpora.survey import CorpusSurvey
from pipeline.corpora.tables.labels import LAYOUT
from pipeline.params.params import DatasetParams

__all__ = ["LABELLING", "LAYOUT", "PUBLISHED", "note_unimodal", "survey"]
LABELLING = Labelling(label_range=(-1.0, 1.0), language="zh", metrics="sims")
PUBLISHED = {TRAIN: 1368, VALID: 456, TEST: 457}


def survey(name: str, dataset: DatasetParams) -> CorpusSurvey:
    """The clips of label.csv with their media, and which of them lack a label of one modality."""
    found = mmsa.survey(name, dataset)
    note_unimodal(found)
    return found


def note_unimodal(found: CorpusSurvey) -> None:
    """A warning where labelled clips lack the label of a modality: the corpus has them all."""
    lacking = [
        clip.id
        for clip in found.clips
        if clip.labels.get("label") is not None and any(clip.labels.get(column) is None for column in LABELS)
    ]
    if lacking:
        message = (
            f"{len(lacking)} of {len(found.clips)} clips lack label_T, label_A or label_V; this corpus has "
            "them for every clip: is it the whole label file?"
        )
        found.note("unimodal labels", message, lacking, "warning")
