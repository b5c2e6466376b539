"""Rows on the disk against the same rows in memory: batches, context, runs, to the last bit."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made.tiny_set import write_tiny_set

from pipeline.datasets.rows import RowCollector, StoredRagged
from pipeline.datasets.splits import Ragged, shuffled_batches
from pipeline.datasets.training_set import TrainingSet

LIMIT = "pipeline.datasets.training_set.IN_MEMORY"


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=2, max_size=12),
    limit=st.integers(1, 20),
    keep=st.sampled_from(["first", "last"]),
    seed=st.integers(0, 99),
)
def test_streams_are_the_same_in_memory_and_on_the_disk(
    lengths: list[int],
    limit: int,
    keep: Literal["first", "last"],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    random = np.random.default_rng(seed)
    padding = random.normal(size=(1, 3)).astype(np.float32)
    collectors = [RowCollector(padding, folder, "cpu") for folder in (None, tmp_path_factory.getbasetemp())]
    for part in np.array_split(np.array(lengths), 2):
        rows = random.normal(size=(part.sum(), 3)).astype(np.float32)
        for collector in collectors:
            collector.add(rows, part.tolist())
    places = [random.integers(0, len(lengths), random.integers(0, 4)).tolist() for _ in lengths]
    own = [collector.ragged() for collector in collectors]
    context = [collector.chained(places, limit, keep) for collector in collectors]
    picked = torch.from_numpy(random.integers(0, len(lengths), 5))
    taken = [part.take(picked) for part in own]
    joined = [part.joined(other) for part, other in zip(own, taken, strict=True)]  # type: ignore[arg-type]
    for memory, disk in (own, context, taken, joined):
        assert isinstance(memory, Ragged) and isinstance(disk, StoredRagged)
        clips = torch.randperm(len(memory.lengths), generator=torch.Generator().manual_seed(seed))
        for rows in (clips, clips[:1]):
            width = int(memory.lengths[rows].max()) + 1
            for one, other in zip(memory.pad(rows, rows, width), disk.pad(rows, rows, width), strict=True):
                assert torch.equal(one, other) and one.dtype == other.dtype
        assert torch.equal(memory.lengths, disk.lengths)
    assert torch.equal(own[0].flat, own[1].flat)


def test_batches_come_in_order_while_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_set(tmp_path / "set")
    memory = TrainingSet.load(folder).splits["train"]
    assert all(isinstance(part, Ragged) for part in memory.streams.values())
    monkeypatch.setattr(LIMIT, 10_000)  # bytes
    disk = TrainingSet.load(folder).splits["train"]
    assert all(isinstance(part, StoredRagged) for part in disk.streams.values())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    orders = shuffled_batches(memory.lengths, 8, 2, torch.Generator().manual_seed(0))
    found = [list(split.batches(orders)) for split in (memory, disk)]
    assert [batch.clip_ids for batch in found[0]] == [[memory.clip_ids[i] for i in rows] for rows in orders]
    for one, other in zip(*found, strict=True):
        for part in fields(one):
            a, b = getattr(one, part.name), getattr(other, part.name)
            assert same(a, b), part.name


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    if hasattr(a, "mask"):
        return all(same(getattr(a, part.name), getattr(b, part.name)) for part in fields(a))
    return bool(a == b)
