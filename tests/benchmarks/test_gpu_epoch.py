"""An epoch of each method on a GPU, and how much of it is spent beside the model (`make bench`)."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from full_size import DEFAULTS, FRAMES, Trainer, full_size, mosi

from models import METHODS
from models.core.batch import Batch
from pipeline.core.errors import ParamsError
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


MODES = ("none", "default", "reduce-overhead")
SIDE_BY_SIDE = 3
LARGEST_SLOWDOWN = 1.3  # of that many runs on one GPU, against one


class Epoch:
    """Some batches of the paper's size, in random order, that stand for an epoch of 1284 clips in bf16."""

    def __init__(self, name: str, mode: str, shared: Path):
        self.method = full_size(name, FRAMES[name])
        self.trainer, self.mode = Trainer(self.method, "cuda", mode), mode
        self.split = mosi(shared, self.method, FRAMES[name], "cuda")
        self.size = self.method.config.training.batch_size
        order = torch.Generator().manual_seed(0)
        rows = shuffled_batches(self.split.lengths, self.size, DEFAULTS.pool_batches, order)
        self.chosen = [some for some in rows if len(some) == self.size][:MOST_BATCHES]
        self.share = len(self.chosen) / len(rows)

    def batches(self) -> list[Batch]:
        return [self.split.batch(rows, few_shapes=self.mode != "none") for rows in self.chosen]

    def steps(self) -> None:
        """Beside forward, losses and backward: gathering of batches, estimators, clipping, optimiser."""
        for rows in self.chosen:
            self.trainer.step(self.split.batch(rows, few_shapes=self.mode != "none"), "bf16")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", METHODS)
def test_epoch(name: str, mode: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eager, compiled, and as CUDA graphs."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with reproducible(0, torch.device("cuda")):
        try:
            epoch = Epoch(name, mode, shared)
        except ParamsError as error:
            pytest.skip(str(error))
        batches = epoch.batches()

        def model_alone() -> None:
            for batch in batches:
                epoch.trainer.forward_and_backward(batch, "bf16")

        first = seconds(epoch.steps)  # loads kernels, compiles, and fills the allocator
        epoch.steps()  # CUDA graphs are recorded the second time
        found = [(seconds(epoch.steps), seconds(model_alone)) for _ in range(ROUNDS)]
    whole = statistics.median(spent for spent, _ in found) / epoch.share
    beside = statistics.median(1 - alone / spent for spent, alone in found)
    with capsys.disabled():
        print(f"\n{name}, compile {mode}: {whole:.1f} s an epoch in batches of {epoch.size}, ", end="")
        print(f"{beside:.0%} beside the model's forward and backward; the first {first:.0f} s")
    assert all(parameter.isfinite().all() for parameter in epoch.method.parameters())


def one_run(name: str, shared: Path, ready: Any, found: Any) -> None:
    """A process: it waits for the others before it is timed."""
    with reproducible(0, torch.device("cuda")):
        epoch = Epoch(name, "none", shared)
        epoch.steps()
        ready.wait()
        found.put(seconds(epoch.steps))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", METHODS)
def test_runs_side_by_side(name: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three processes on one GPU, against one."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    context, slowest = multiprocessing.get_context("spawn"), []
    for number in (1, SIDE_BY_SIDE):
        ready, found = context.Barrier(number), context.Queue()
        runs = [context.Process(target=one_run, args=(name, shared, ready, found)) for _ in range(number)]
        for run in runs:
            run.start()
        slowest.append(max(found.get(timeout=600) for _ in runs))
        for run in runs:
            run.join()
    ratio = slowest[1] / slowest[0]
    with capsys.disabled():
        print(f"\n{name}: {SIDE_BY_SIDE} runs at once take {ratio:.2f} times the time of one ", end="")
        print(f"(target {LARGEST_SLOWDOWN})")
