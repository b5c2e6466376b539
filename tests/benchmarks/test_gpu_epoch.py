"""An epoch of each method on a GPU, and how much of it is spent beside the model (`make bench`)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from full_size import DEFAULTS, FRAMES, Trainer, full_size, mosi

from models import METHODS
from pipeline.datasets.splits import shuffled_batches
from pipeline.training.loop.device import reproducible

pytestmark = [pytest.mark.benchmark, pytest.mark.gpu, pytest.mark.shared]

ROUNDS = 2
MOST_BATCHES = 16  # of an epoch that are timed


def seconds(work: Callable[[], None]) -> float:
    """On the clock, until the GPU is done."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


@pytest.mark.parametrize("name", METHODS)
def test_epoch(name: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1284 clips in bf16, in batches of the paper's size; some of its batches, in random order, stand for an
    epoch. Beside forward, losses and backward it has gathering of batches, estimators, clipping, optimiser.
    """
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = "cuda"
    with reproducible(0, torch.device(device)):
        method = full_size(name, FRAMES[name])
        trainer = Trainer(method, device)
        split = mosi(shared, method, FRAMES[name], device)
        size = method.config.training.batch_size
        order = torch.Generator().manual_seed(0)
        rows = shuffled_batches(split.lengths, size, DEFAULTS.pool_batches, order)
        chosen = rows[:MOST_BATCHES]  # they are in random order
        batches = [split.batch(some) for some in chosen]

        def steps() -> None:
            for some in chosen:
                trainer.step(split.batch(some), "bf16")

        def model_alone() -> None:
            for batch in batches:
                trainer.forward_and_backward(batch, "bf16")

        steps()  # the first time loads kernels, compiles, and fills the allocator
        found = [(seconds(steps), seconds(model_alone)) for _ in range(ROUNDS)]
    whole = statistics.median(spent for spent, _ in found) * len(rows) / len(chosen)
    beside = statistics.median(1 - alone / spent for spent, alone in found)
    with capsys.disabled():
        print(f"\n{name}: {len(split)} clips in batches of {size}: {whole:.1f} s an epoch, ", end="")
        print(f"{beside:.0%} beside the model's forward and backward")
    assert all(parameter.isfinite().all() for parameter in method.parameters())
