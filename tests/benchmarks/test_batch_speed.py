"""What gathering batches by index arithmetic and sorting by length inside pools save (`make bench`)."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.core.batch import Batch
from pipeline.core.vocabulary import LABELS
from pipeline.datasets.splits import Ragged, Split, shuffled_batches

CLIPS, BATCH = 1284, 32  # CMU-MOSI's train split
WIDTHS = {"text": 384, "audio": 33, "visual": 40}


def lengths_of(frames: int) -> dict[str, np.ndarray]:
    """Steps of each clip when audio and visual keep at most so many: spoken clips of about 4 s."""
    rng = np.random.default_rng(0)
    seconds = np.clip(rng.lognormal(np.log(3.6), 0.55, CLIPS), 0.6, 30)
    words = 2.9 * seconds * rng.lognormal(0, 0.25, CLIPS)
    return {
        "text": np.clip(1.25 * words + 2, 3, 50).astype(int),
        "audio": np.minimum(frames, 43 * seconds).astype(int),
        "visual": np.minimum(frames, 30 * seconds).astype(int),
    }


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[np.ndarray]]:
    """Random sequences of these lengths."""
    rng = np.random.default_rng(1)
    return {
        name: [rng.normal(size=(n, WIDTHS[name])).astype(np.float32) for n in lengths]
        for name, lengths in lengths_of(50).items()
    }


@pytest.fixture(scope="module")
def split(blocks: dict[str, list[np.ndarray]]) -> Split:
    sequences = {
        name: Ragged.of(
            np.concatenate([*some, np.zeros((1, WIDTHS[name]), np.float32)]),
            np.array([len(block) for block in some]),
            "cpu",
        )
        for name, some in blocks.items()
    }
    labels = dict.fromkeys(LABELS, torch.zeros(CLIPS))
    lengths = torch.stack([ragged.lengths for ragged in sequences.values()]).sum(dim=0)
    names = [str(i) for i in range(CLIPS)]
    return Split(names, sequences, None, labels, torch.ones(CLIPS, dtype=torch.bool), lengths)


def best_of(n: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of n runs: the one that others disturbed least."""
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def naive_batch(blocks: dict[str, list[np.ndarray]], indices: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """A collate function as it is usually written: a loop over samples."""
    batch = {}
    for name, some in blocks.items():
        own = [torch.from_numpy(some[i]) for i in indices.tolist()]
        longest = max(len(block) for block in own)
        values = torch.zeros(len(own), longest, own[0].shape[1])
        mask = torch.zeros(len(own), longest, dtype=torch.bool)
        for row, block in enumerate(own):
            values[row, : len(block)] = block
            mask[row, : len(block)] = True
        batch[name] = (values, mask)
    return batch


@pytest.mark.benchmark
def test_an_epoch_of_batches(
    split: Split, blocks: dict[str, list[np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    order = shuffled_batches(split.lengths, BATCH, 50, torch.Generator().manual_seed(0))

    def gathered() -> list[Batch]:
        return [split.batch(indices) for indices in order]

    def looped() -> list[dict[str, tuple[Tensor, Tensor]]]:
        return [naive_batch(blocks, indices) for indices in order]

    for batch, naive in zip(gathered(), looped(), strict=True):
        for name, (values, mask) in naive.items():
            assert torch.equal(getattr(batch, name).values, values)
            assert torch.equal(getattr(batch, name).mask, mask)
    fast = best_of(7, lambda: [split.batch(indices) for indices in order] and None)
    slow = best_of(7, lambda: [naive_batch(blocks, indices) for indices in order] and None)
    with capsys.disabled():
        print(
            f"\nepoch of {len(order)} batches: gathered {fast * 1e3:.1f} ms, loop {slow * 1e3:.1f} ms, "
            f"{slow / fast:.1f} times faster"
        )
    assert fast < slow


@pytest.mark.benchmark
@pytest.mark.parametrize("frames", [50, 500])
def test_steps_that_sorting_in_pools_saves(frames: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Sorting by the longest modality does nothing where audio and visual are pooled to one length."""
    steps = {name: torch.from_numpy(lengths) for name, lengths in lengths_of(frames).items()}
    counts = torch.stack(list(steps.values()))  # (modalities, clips)

    def padded(pool_batches: int, rank: Tensor) -> dict[str, float]:
        order = shuffled_batches(rank, BATCH, pool_batches, torch.Generator().manual_seed(0))
        computed = {name: sum(len(b) * int(n[b].max()) for b in order) for name, n in steps.items()}
        ratios = {name: computed[name] / int(n.sum()) for name, n in steps.items()}
        return {**ratios, "all": sum(computed.values()) / int(counts.sum())}

    plain, by_sum, by_longest = (
        padded(1, counts.sum(dim=0)),
        padded(50, counts.sum(dim=0)),
        padded(50, counts.amax(dim=0)),
    )
    with capsys.disabled():
        print(f"\nup to {frames} frames, computed per real step (text, all):")
        for name, ratio in (("shuffled", plain), ("pools by sum", by_sum), ("pools by longest", by_longest)):
            print(f"  {name}: {ratio['text']:.2f}, {ratio['all']:.2f}")
    assert by_sum["text"] < 0.9 * plain["text"]
    assert by_sum["all"] < plain["all"]
