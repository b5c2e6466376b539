"""CMU-MOSI in MMSA's layout: 2,199 clips of 93 videos, scores in [-3, 3].

The older label file (`video_id,clip_id,text,label,annotation,mode,label_by`) has its texts in upper case;
`settings: {lower_case: true}` helps encoders that tell capitals apart.
The split is by video (`standard_folds` of https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK); a label
file with another one is used as it is, and said to be other.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.section import Section
from pipeline.core.vocabulary import TEST, TRAIN, VALID
from pipeline.corpora.kinds import mmsa
from pipeline.corpora.survey import CorpusSurvey, Labelling
from pipeline.params.params import DatasetParams

LABELLING = Labelling(label_range=(-3.0, 3.0), language="en", metrics="mmsa")
PUBLISHED = {TRAIN: 1284, VALID: 229, TEST: 686}
VIDEOS = {
    TRAIN: """03bSnISJMiM 0h-zjBukYpk 1DmNV9C1hbY 1iG0909rllw 2WGyTLYerpo 2iD-tVS8NPw 5W7Z1C_fDaE
        6Egk_28TtTM 6_0THN4chvY 73jzhE8R1TQ 7JsX8y1ysxY 8OtFthrtaJM 8d-gEyoeBzc 8qrpnFRGt2A 9J25DZhivz8
        9T9Hf74oK10 9c67fiY0wGQ 9qR7uwkblbs Af8D0E4ZXaw BI97DNYfe5I BXuRRbG0Ugk Bfr499ggo-0 BioHAh1qJAQ
        BvYR0L6f2Ig Ci-AH39fi3Y Clx4VXItLTE Dg_0XKD0Mf4 G-xst2euQUc G6GlGvlkxAQ GWuJjcEuzt8 HEsqda8_d0Q
        I5y0__X72p0 Iu2PFX3z_1s IumbAb8q2dM Jkswaaud0hk LSi-o-IrDMs MLal-t_vJPM Njd1F0vZSm4 Nzq88NnDkEk
        OQvJTdtJ2H4 OtBXNcAL_lE Oz06ZWiO20M POKffnXeBds PZ-lDQFboO8 QN9ZIUWUXsY Qr1Ca94K55A Sqr0AcuoNnk
        TvyZBvOMOTc VCslbP0mgZI VbQk4H8hgr0 Vj1wYRQjB-o W8NXH0Djyww""",
    VALID: """WKA5OygbEKI X3j2zQgwYgE ZAIRrfG22O0 ZUXBRvtny7o _dI--eQ6qVU aiEXnCPZubE atnd_PF-Lbs
        bOL9jKpeJRs bvLlb-M3UXU c5xsKMxpXnc""",
    TEST: """c7UH_rxdZv4 cM3Yna7AavY cW1FSBF59ik cXypl4FnoZo d3_k5Xpfmik d6hH302o4v8 dq3Nf_lMPnE etzxEpPuc6I
        f9O3YtZ2VfI f_pcplsH_V0 fvVhgmXxadc iiK8YX8oH1E jUzDDGyPkXU k5Y_838nuGo lXPQBPVc5Cw nbWiPyCm4g0
        nzpVDcQ0ywM ob23OKe5a9Q pLTX3ipuDJI phBUpBr1hSo rnaNMUZpvvg tIrG4oNLFzE tStelxIAHjw tmZoasNr4rU
        v0zCBqDeKcE vvZ4IcEtiZc vyB00TXsimI wMbj6ajWbic yDtzw_Y-7RU yvsjCA6Y5Fc zhpQhgha_KU""",
}
"""The standard split."""


class MosiSettings(Section):
    """What differs between copies of the label file."""

    lower_case: bool = False
    """write texts that have no lower-case letter in lower case"""


SETTINGS = MosiSettings


def survey(name: str, dataset: DatasetParams, settings: MosiSettings) -> CorpusSurvey:
    """The clips of label.csv with their media, and how they differ from the published corpus."""
    found = mmsa.survey(name, dataset, settings)
    shouted = [clip.id for clip in found.clips if (clip.text or "").isupper()]
    if shouted and settings.lower_case:
        found.clips = [
            replace(clip, text=clip.text.lower()) if clip.text and clip.text.isupper() else clip
            for clip in found.clips
        ]
    elif 2 * len(shouted) > len(found.clips):
        message = (
            f"{len(shouted)} of {len(found.clips)} texts are in upper case, as in the older file; set "
            f"datasets.{name}.settings.lower_case: true for case-sensitive encoders"
        )
        found.note("upper case", message)
    standard = {video: split for split, videos in VIDEOS.items() for video in videos.split()}
    there = {clip.video_id for clip in found.clips}
    moved = [
        f"{clip.id} ({clip.split}, standard: {standard[clip.video_id]})"
        for clip in found.clips
        if clip.split in VIDEOS and clip.split != standard.get(clip.video_id, clip.split)
    ]
    if moved:
        message = f"{len(moved)} clips are not in the split of their video in the standard folds"
        found.note("standard folds", message, moved, "warning")
    for check, what, videos in (
        ("videos missing", "of the corpus have no row", sorted(set(standard) - there)),
        ("videos unknown", "are not in the corpus", sorted(there - set(standard))),
    ):
        if videos and found.clips:
            found.note(check, f"{len(videos)} videos {what}", videos, "warning")
    return found
