"""Which clips share a batch: all of them once, of alike lengths, beside others in the next epoch."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.splits import companions, ordered_batches, shuffled_batches


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 100), max_size=200),
    batch_size=st.integers(1, 40),
    pool_batches=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_every_clip_once_in_full_batches(
    lengths: list[int], batch_size: int, pool_batches: int, seed: int
) -> None:
    n = torch.tensor(lengths, dtype=torch.int64)
    order = shuffled_batches(n, batch_size, pool_batches, torch.Generator().manual_seed(seed))
    evaluation = ordered_batches(n, batch_size)
    for batches in (order, evaluation):
        assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
        sizes = sorted(len(batch) for batch in batches)
        assert sizes[1:] == [batch_size] * (len(sizes) - 1)  # at most one is smaller
        assert len(sizes) == -(-len(lengths) // batch_size)
    flat = [lengths[i] for batch in evaluation for i in batch.tolist()]
    assert flat == sorted(lengths, reverse=True)
    again = shuffled_batches(n, batch_size, pool_batches, torch.Generator().manual_seed(seed))
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in order]


def test_pools_match_lengths_and_keep_neighbours_varied() -> None:
    """Lengths of a batch are close, epochs differ, and batches do not come sorted."""
    lengths = torch.randint(5, 500, (3200,), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    epochs = [shuffled_batches(lengths, 32, 50, generator) for _ in range(2)]
    mixed = shuffled_batches(lengths, 32, 1, generator)

    def spread(batches: list[torch.Tensor]) -> float:
        return float(np.mean([(lengths[b].max() - lengths[b].min()).item() for b in batches]))

    assert spread(epochs[0]) < 0.15 * spread(mixed)  # pools of 9 batches of 100
    means = [lengths[batch].float().mean().item() for batch in epochs[0]]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4
    first, second = ({frozenset(batch.tolist()) for batch in epoch} for epoch in epochs)
    assert not first & second


@pytest.mark.parametrize("clips", [60, 640, 1284, 12840])
def test_clips_of_a_batch_part_in_the_next_epoch(clips: int) -> None:
    """At worst, with lengths that all differ; see `check_meetings`."""
    check_meetings(torch.randperm(clips, generator=torch.Generator().manual_seed(0)))


def test_clips_of_lengths_like_mosi_part_in_the_next_epoch() -> None:
    """1284 clips, the logarithm of whose words has MOSI's mean and deviation: many share a length."""
    drawn = torch.randn(1284, generator=torch.Generator().manual_seed(0))
    check_meetings((2.31 + 0.60 * drawn).exp().round().clamp(1, 100).long())


@pytest.mark.shared
def test_clips_of_mosi_part_in_the_next_epoch(shared: Path) -> None:
    """The words of its training clips; also that sorting in so small pools still saves padding."""
    with (shared / "datasets/mosi/label.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if row["mode"] == "train"]
    lengths = torch.tensor([len(text.split()) for text in texts])
    assert len(lengths) == 1284
    check_meetings(lengths)

    def computed(pool_batches: int) -> int:
        batches = shuffled_batches(lengths, 32, pool_batches, torch.Generator().manual_seed(0))
        return sum(len(batch) * int(lengths[batch].max()) for batch in batches)

    assert computed(50) < 0.75 * computed(1)


def check_meetings(lengths: torch.Tensor) -> None:
    """They meet again at most three times as often as by chance, or in less than a tenth of the cases."""
    generator, clips = torch.Generator().manual_seed(1), len(lengths)
    numbers = torch.zeros(6, clips, dtype=torch.int32)  # of each clip's batch in each epoch
    for epoch in numbers:
        for number, batch in enumerate(shuffled_batches(lengths, 32, 50, generator)):
            epoch[batch] = number
    met = again = 0
    for i in range(0, clips, 10):
        together = numbers == numbers[:, i, None]
        together[:, i] = False
        met += int(together[:-1].sum())
        again += int((together[:-1] & together[1:]).sum())
    chance = 31 / (clips - 1)
    assert chance < again / met < max(3 * chance, 0.1)
    assert clips > 1284 or again / met < 3 * chance


def test_without_pools_the_order_is_a_plain_shuffle() -> None:
    """Also inside a batch: nothing is sorted."""
    lengths = torch.arange(1000)
    batches = shuffled_batches(lengths, 100, 1, torch.Generator().manual_seed(0))
    assert not any(torch.equal(batch, batch.sort().values) for batch in batches)


def test_unlabeled_companions_are_those_of_the_algorithm() -> None:
    rows = torch.tensor([4, 0, 7])
    # 10 labeled clips, 25 unlabeled ones, which follow them: i + k * 10 in a pool that is cycled
    picked = companions(rows, 10, 3, 25)
    wanted = [4, 0, 7] + [10 + (i + k * 10) % 25 for k in range(3) for i in (4, 0, 7)]
    assert picked.tolist() == wanted
    assert companions(rows, 10, 1, 2).tolist() == [4, 0, 7, 10, 10, 11]
    assert companions(rows, 10, 0, 25) is rows
    assert companions(rows, 10, 3, 0) is rows
