"""CH-SIMS in MMSA's layout: 2,281 Mandarin clips of 60 videos, scores in [-1, 1] for all and each modality.

Files are called `0001.mp4` where the label file says 1 in many copies; media_files.py matches them.
Source: https://github.com/thuiar/MMSA
"""

from __future__ import annotations

from pipeline.core.section import Section
from pipeline.core.vocabulary import LABELS, TEST, TRAIN, VALID
from pipeline.corpora.kinds import mmsa
from pipeline.corpora.survey import CorpusSurvey, Labelling
from pipeline.params.params import DatasetParams

LABELLING = Labelling(label_range=(-1.0, 1.0), language="zh", metrics="sims")
PUBLISHED = {TRAIN: 1368, VALID: 456, TEST: 457}


def survey(name: str, dataset: DatasetParams, settings: Section) -> CorpusSurvey:
    """The clips of label.csv with their media; a warning where labelled ones lack the label of a modality."""
    found = mmsa.survey(name, dataset, settings)
    lacking = [
        clip.id
        for clip in found.clips
        if clip.labels.get("label") is not None and any(clip.labels.get(column) is None for column in LABELS)
    ]
    if lacking:
        message = (
            f"{len(lacking)} of {len(found.clips)} clips lack label_T, label_A or label_V; this corpus has "
            "them for every clip: is the label file complete?"
        )
        found.note("unimodal labels", message, lacking, "warning")
    return found
