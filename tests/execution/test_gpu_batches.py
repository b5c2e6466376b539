"""Batches across clips: what is cut together, and rows as one by one. The device here is the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import AbsentError, ClipError, MissingModelError
from pipeline.execution.local import Lost
from pipeline.features import batches
from pipeline.features.batches import Budget, padded_steps, rows_in_batches
from pipeline.features.encoder import BatchEncoder, Clip, Encoded, Prepared
from pipeline.features.stage import RowMaker, Task, encode_row
from pipeline.features.visual.facemesh import FaceMesh
from pipeline.features.visual.openface import OpenFace
from pipeline.params.encoders import FaceMesh as FaceMeshParams
from pipeline.params.encoders import OpenFace as OpenFaceParams
from pipeline.params.encoders import TransformerText
from pipeline.params.params import MediaLimits
from pipeline.store.shard import Row

TEXTS = ["It was great.", "No.", "", "I would not go there again, not for all the money in the world.", "Hm"]


def tasks(texts: list[str]) -> list[Task]:
    return [Task(Clip(f"c{i}", text=text), f"s{i}") for i, text in enumerate(texts)]


def test_rows_are_those_of_one_by_one() -> None:
    maker = RowMaker("text", "minilm", TransformerText(), MediaLimits(), "cpu")
    encoder = maker.build()
    encoder.load()
    found = dict(rows_in_batches(maker, tasks(TEXTS), workers=1, timeout_s=60))
    assert len(found) == len(TEXTS)
    for task, row in found.items():
        alone = encode_row(encoder, task)
        assert isinstance(row, Row)
        assert (row.clip_id, row.source_sha256, row.status, row.error) == (
            alone.clip_id,
            alone.source_sha256,
            alone.status,
            alone.error,
        )
        if alone.features is not None:
            np.testing.assert_allclose(row.features, alone.features, atol=1e-3)
            np.testing.assert_array_equal(row.token_ids, alone.token_ids)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 4000))
def test_batches_keep_to_the_budget_and_lose_no_clip(lengths: list[int], steps: int) -> None:
    waiting = [(i, Prepared(None, n)) for i, n in enumerate(sorted(lengths))]
    budget = Budget("cpu")
    budget.steps = steps
    seen: list[int] = []
    while waiting:
        batch = budget.batch(waiting)
        assert len(batch) == 1 or padded_steps(batch) <= steps
        seen += [i for i, _ in batch]
        del waiting[-len(batch) :]
    assert sorted(seen) == list(range(len(lengths)))


class Small(BatchEncoder):
    """A model that has room for so many padded steps, and says `n` of a clip of n characters."""

    modality, VERSION, LIBRARIES = "text", 1, ()
    room = 40
    calls: list[list[int]]

    dim, column_names = 1, ("n",)  # type: ignore[assignment]

    def load(self) -> None:
        self.calls = []

    def load_preparer(self) -> None: ...

    def prepare(self, clip: Clip) -> Prepared:
        assert clip.text is not None
        if clip.text == "absent":
            raise AbsentError("nothing said")
        return Prepared(len(clip.text), len(clip.text))

    def infer(self, prepared: list[Prepared]) -> list[Encoded | ClipError]:
        self.calls.append([one.steps for one in prepared])
        if sum(one.pieces for one in prepared) * max(one.steps for one in prepared) > self.room:
            raise torch.OutOfMemoryError
        return [
            ClipError("unlucky") if one.steps == 13 else Encoded(np.full((1, 1), one.content, np.float32))
            for one in prepared
        ]


class SmallMaker:
    encoder = Small("small", TransformerText(), MediaLimits())

    def build(self) -> Small:
        return self.encoder


def in_this_process(make: Any, items: list[Any], **_: Any) -> Iterator[tuple[Any, Any]]:
    work = make()
    yield from ((item, work(item)) for item in items)


def test_what_does_not_fit_is_tried_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches.local, "run", in_this_process)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    texts = ["x" * n for n in (3, 13, 5, 8, 2, 41, 20)] + ["absent"]
    maker: Any = SmallMaker()
    rows = {
        task.clip.clip_id: row for task, row in rows_in_batches(maker, tasks(texts), workers=1, timeout_s=9)
    }
    values = {name: None if row.features is None else row.features.item() for name, row in rows.items()}
    assert values == {"c0": 3, "c1": None, "c2": 5, "c3": 8, "c4": 2, "c5": None, "c6": 20, "c7": None}
    assert rows["c1"].error == "unlucky" and rows["c7"].status == "absent"
    assert rows["c5"].transient and "fails on this clip alone" in rows["c5"].error
    fitted = [call for call in maker.encoder.calls if len(call) * max(call) <= Small.room]
    assert max(map(len, fitted)) > 1, "batches, not clip by clip"


def test_lost_workers_and_useless_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(make: Any, items: list[Any], **_: Any) -> Iterator[tuple[Any, Any]]:
        yield items[0], Lost("its worker was killed")
        raise MissingModelError("no weights")

    monkeypatch.setattr(batches.local, "run", lost)
    maker: Any = SmallMaker()
    found = rows_in_batches(maker, tasks(["a", "b"]), workers=1, timeout_s=9)
    assert next(found)[1] == Lost("its worker was killed")
    with pytest.raises(MissingModelError, match="no weights"):
        next(found)


def test_missing_media_are_a_row() -> None:
    encoder = FaceMesh("mesh", FaceMeshParams(), MediaLimits())
    assert encode_row(encoder, tasks(["a"])[0]).error.startswith("missing media")
    tables = OpenFace("of", OpenFaceParams(csv="tables"), MediaLimits())
    assert not tables.needs_media
    elsewhere = Task(Clip("c", path=Path("/not/mounted/c.mp4")), "s")
    row = encode_row(encoder, elsewhere)
    assert row.transient and "c.mp4: no such file; is its folder mounted?" in row.error


@pytest.mark.gpu
def test_the_budget_grows_with_what_the_device_has() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    budget = Budget("cuda")
    batch = [(i, Prepared(None, 1000)) for i in range(60)]
    block = torch.zeros(60_000 * 64, device="cuda")
    budget.learn(batch)
    assert budget.steps > batches.FIRST_STEPS
    del block


def test_the_module_needs_no_media_libraries() -> None:
    import subprocess
    import sys

    heavy = "[name for name in ('av', 'librosa', 'torch') if name in sys.modules]"
    code = f"import sys, pipeline.features.batches; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
