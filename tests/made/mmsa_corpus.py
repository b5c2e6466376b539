"""A raw corpus in MMSA's layout, line by line, and what ingesting it says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import LabelFileError
from pipeline.corpora.ingest import ingest
from pipeline.params.params import DatasetParams, MediaLimits

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"


GOOD = "a,1,hello,1.0,,,,Positive,train"


def tiny_clip(path: Path, *, seconds: float = 1.0, audio: bool = True, shade: int = 128) -> None:
    """Write a grey 64 x 48 video at 10 frames a second, with silence where `audio`."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono") if audio else None
        for _ in range(round(seconds * 10)):
            image = np.full((48, 64, 3), shade, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        if sound is not None:
            samples = np.zeros((1, 1024), dtype=np.float32)
            for number in range(round(seconds * 16_000 / 1024)):
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 16_000, number * 1024, Fraction(1, 16_000)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))


def corpus(root: Path, *lines: str, header: str = HEADER, **settings: Any) -> DatasetParams:
    root.mkdir(parents=True, exist_ok=True)
    (root / "label.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return DatasetParams(root=str(root), **settings)


def rows_of(dataset: DatasetParams) -> dict[str, dict[str, Any]]:
    table, _ = ingest("tiny", dataset, MediaLimits())
    return {row["clip_id"]: row for row in table.to_pylist()}


def problems_of(dataset: DatasetParams) -> list[str]:
    with pytest.raises(LabelFileError) as caught:
        ingest("tiny", dataset, MediaLimits())
    assert caught.value.exit_code == 2
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems
