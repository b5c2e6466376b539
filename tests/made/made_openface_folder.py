"""A folder of OpenFace's tables with label.csv, made up: four clips in four shapes of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from made.openface_tables import FULL, row, write

LABELS = """video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode
v1,1,"Well, yes.",1.5,,,,Positive,train
v1,2,No.,-2,,,,Negative,train
-v2,0001,Perhaps.,0,,,,Neutral,valid
v3,7,Fine.,0.75,,,,Positive,test
"""
FRAMES = {"v1$_$1": 5, "v1$_$2": 4, "-v2$_$0001": 3, "v3$_$7": 2}
FILES = {"v1$_$1": "v1/1.csv", "v1$_$2": "v1/0002.csv", "-v2$_$0001": "-v2_1.csv", "v3$_$7": "x/v3$_$7.csv"}
"""Names of every kind that is understood"""


def make(
    folder: Path,
    columns: Mapping[str, Sequence[str]] | None = None,
    separator: str = ", ",
    labels: str = LABELS,
) -> Path:
    """Write tables; `columns` gives those of some clips, all 714 otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "label.csv").write_text(labels, encoding="utf-8-sig")
    for clip, name in FILES.items():
        chosen = list((columns or {}).get(clip, FULL))
        write(folder / name, [row(frame) for frame in range(1, FRAMES[clip] + 1)], chosen, separator)
    return folder
