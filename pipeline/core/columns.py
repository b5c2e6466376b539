"""Names of the columns of ready-made features, by modality and width.

| columns | what | where that is said |
|---|---|---|
| text 768 | BERT-base's hidden states | MMSA's README |
| text 300 | GloVe 840B | MultiBench's `get_raw_data.py` |
| audio 74 | COVAREP | "dimension names" of CMU_MOSEI_COVAREP.csd |
| audio 5 | five of them, chosen for CMU-MOSI | CMU-MultimodalSDK, issue 172 |
| audio 33 | zero-crossing rate, 20 MFCC, 12 chroma (CH-SIMS, MIRD) | SKESL's code, MMSA-FET issue 2 |
| visual 35 | FACET 4.2 | "dimension names" of CMU_MOSEI_VisualFacet42.csd |
| visual 20 | twenty columns of FACET 4.1's output, chosen for CMU-MOSI | CMU-MultimodalSDK, issue 172 |
| visual 47 | FACET 4.1's output without the frame's time: inferred from the count | the same |
| visual 709 | OpenFace 2's CSV without its five index columns | OpenFace's wiki |

Other widths are numbered: `audio_000`, `audio_001`, ... What is evidence of an emotion (FACET) is so seen in
the name: such columns hold the output of somebody else's emotion classifier.
"""

from __future__ import annotations

from pipeline.core.openface_layout import OPENFACE_709


def numbered(prefix: str, width: int) -> list[str]:
    """`prefix_000`, `prefix_001`, ..., one a column."""
    digits = max(3, len(str(width - 1)))
    return [f"{prefix}_{column:0{digits}d}" for column in range(width)]


COVAREP = [
    *("F0", "VUV", "NAQ", "QOQ", "H1H2", "PSP", "MDQ", "peakSlope", "Rd", "Rd_conf", "creak"),
    *(f"MCEP_{i}" for i in range(25)),
    *(f"HMPDM_{i}" for i in range(25)),
    *(f"HMPDD_{i}" for i in range(13)),
]
COVAREP_MOSI = (1, 3, 6, 25, 60)

_FACET_41_EMOTIONS = (
    *("anger", "contempt", "disgust", "joy", "fear", "negative", "neutral", "positive", "sadness"),
    *("surprise", "confusion", "frustration"),
)
_FACET_41_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 28)
FACET_41 = [
    *("frame_time", "face_x", "face_y", "face_width", "face_height"),
    *(f"{emotion}_evidence" for emotion in _FACET_41_EMOTIONS),
    *(f"{emotion}_intensity" for emotion in _FACET_41_EMOTIONS),
    *(f"AU{unit:02d}_evidence" for unit in _FACET_41_UNITS),
]
FACET_41_MOSI = (0, 2, 5, 10, 11, 12, 14, 17, 20, 21, 22, 24, 25, 29, 30, 31, 32, 36, 37, 40)

_FACET_42_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 28, 43)
FACET_42 = [
    *("anger", "contempt", "disgust", "joy", "fear", "baseline", "sadness", "surprise"),
    *("confusion", "frustration"),
    *(f"AU{unit:02d}" for unit in _FACET_42_UNITS),
    *("has_glasses", "is_male", "pitch", "yaw", "roll"),
]

LIBROSA_33 = ["zero_crossing_rate", *(f"mfcc_{i}" for i in range(20)), *(f"chroma_{i}" for i in range(12))]

NAMES = {
    ("text", 768): numbered("bert", 768),
    ("text", 300): numbered("glove", 300),
    ("audio", 74): COVAREP,
    ("audio", 5): [COVAREP[index] for index in COVAREP_MOSI],
    ("audio", 33): LIBROSA_33,
    ("visual", 35): FACET_42,
    ("visual", 20): [FACET_41[index] for index in FACET_41_MOSI],
    ("visual", 47): FACET_41[1:],
    ("visual", 709): OPENFACE_709,
}


def columns_of(modality: str, width: int) -> list[str]:
    """The names of `width` columns of `text`, `audio` or `visual`."""
    return list(NAMES.get((modality, width)) or numbered(modality, width))
