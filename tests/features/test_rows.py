"""Rows of clips: in batches as one by one, and what fails is a row. The device here is the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import AbsentError, ClipError
from pipeline.execution import gpu
from pipeline.execution.gpu import Prepared
from pipeline.execution.local import TaskFailure
from pipeline.features.encoder import BatchEncoder, Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, rows_in_batches
from pipeline.features.visual.facemesh import FaceMesh
from pipeline.features.visual.openface import OpenFace
from pipeline.params.encoders import FaceMeshParams, OpenFaceParams, TransformerText
from pipeline.params.params import MediaLimits
from pipeline.store.shard import FeatureRow

TEXTS = ["It was great.", "No.", "", "I would not go there again, not for all the money in the world.", "Hm"]


def tasks(texts: list[str]) -> list[EncodingTask]:
    return [EncodingTask(Clip(f"c{i}", text=text), f"s{i}") for i, text in enumerate(texts)]


def test_rows_are_those_of_one_by_one() -> None:
    build = partial(build_encoder, "text", "minilm", TransformerText(), MediaLimits(), "cpu")
    encoder = build()
    encoder.load()
    found = dict(rows_in_batches(build, tasks(TEXTS), workers=1, timeout_s=60))
    assert len(found) == len(TEXTS)
    for task, row in found.items():
        alone = encode_row(encoder, task)
        assert isinstance(row, FeatureRow)
        assert (row.clip_id, row.source_sha256, row.status, row.error) == (
            alone.clip_id,
            alone.source_sha256,
            alone.status,
            alone.error,
        )
        if alone.features is not None:
            np.testing.assert_allclose(row.features, alone.features, atol=1e-3)
            np.testing.assert_array_equal(row.token_ids, alone.token_ids)


class Lengths(BatchEncoder):
    """Says `n` of a clip of n characters."""

    modality, LIBRARIES = "text", ()
    dim, column_names = 1, ("n",)  # type: ignore[assignment]

    def load(self) -> None: ...

    def load_preparer(self) -> None: ...

    def prepare(self, clip: Clip) -> Prepared:
        assert clip.text is not None
        if clip.text == "absent":
            raise AbsentError("nothing said")
        return Prepared(len(clip.text), len(clip.text))

    def infer(self, prepared: list[Prepared]) -> list[Encoded | ClipError]:
        return [
            ClipError("unlucky") if one.steps == 13 else Encoded(np.full((1, 1), one.content, np.float32))
            for one in prepared
        ]


def test_a_clip_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(make: Any, items: list[Any], **_: Any) -> Iterator[tuple[Any, Any]]:
        work = make()
        yield from ((item, work(item)) for item in items[:-1])
        yield items[-1], TaskFailure("its worker was killed")

    monkeypatch.setattr(gpu.local, "run", in_this_process)
    build = partial(Lengths, "lengths", TransformerText(), MediaLimits())
    texts = ["xxx", "x" * 13, "absent", "y"]
    found = {
        task.clip.clip_id: row for task, row in rows_in_batches(build, tasks(texts), workers=1, timeout_s=9)
    }
    assert found.pop("c3") == TaskFailure("its worker was killed")
    rows = {clip_id: (row.status, row.error) for clip_id, row in found.items()}
    assert rows == {"c0": ("ok", ""), "c1": ("failed", "unlucky"), "c2": ("absent", "nothing said")}
    assert found["c0"].features.item() == 3


def test_missing_media_are_a_row() -> None:
    encoder = FaceMesh("mesh", FaceMeshParams(), MediaLimits())
    assert encode_row(encoder, tasks(["a"])[0]).error.startswith("missing media")
    tables = OpenFace("of", OpenFaceParams(csv="tables"), MediaLimits())
    assert not tables.needs_media
    elsewhere = EncodingTask(Clip("c", path=Path("/not/mounted/c.mp4")), "s")
    row = encode_row(encoder, elsewhere)
    assert row.transient and "c.mp4: no such file; is its folder mounted?" in row.error
