"""Items through a model on a GPU: worker processes prepare ahead, batches of like length go through it.

    items ─ workers: prepare ─▶ window of WINDOW items, sorted by length ─ cut by a budget ─▶ model ─▶ results

A batch is as many items as their padded steps fit the budget. The budget is found from the device: the first
batches are small, the memory that they took tells what a step costs, and half of what is free then may be
used. What does not fit after all is tried again in halves; an item that alone does not fit is a failure.
Preparation overlaps with the model, and a worker that crashes costs its item alone, as without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import MsaError
from pipeline.execution import local
from pipeline.execution.ahead import read_ahead
from pipeline.execution.local import Item, Result, TaskFailure

WINDOW = 512  # items that are sorted together; also how far the workers may be ahead
WINDOW_STEPS = 1 << 28  # tokens or samples that wait at most: 1 GiB of sound
FIRST_STEPS = 65_536  # padded steps of the first batch; half a MiB of token ids, four seconds of sound
GROWTH = 4.0  # of a batch over the largest that is known to fit
SHARE = 0.5  # of the free memory that the model may take: attention costs more than steps alone tell


@dataclass
class Prepared:
    """One item made ready for a model on the CPU: what a worker process hands to the one with the GPU.

    Attributes
    ----------
    content : NumPy arrays that the model understands
    steps : tokens or samples of its longest piece; batches are sorted by it and bounded by it
    pieces : sequences that it is made of (windows of a long clip)
    """

    content: Any
    steps: int
    pieces: int = 1


def run(
    make: Callable[[], Callable[[Item], Prepared | Result]],
    items: list[Item],
    model: Callable[[list[Prepared]], Sequence[Result]],
    *,
    device: str,
    workers: int,
    timeout_s: float,
) -> Iterator[tuple[Item, Result | TaskFailure]]:
    """The model's result for every item, in any order; the model runs in this process.

    Parameters
    ----------
    make : picklable; called once in each worker, returns the function that prepares an item, or gives its
        result where it needs no model
    model : results of some prepared items, in their order, by one padded forward
    workers : processes that prepare, at most
    timeout_s : seconds that one item's preparation may take

    Raises
    ------
    MsaError : `make`, what it returns or the model cannot work at all
    """
    budget = Budget(device)
    waiting: list[tuple[Item, Prepared]] = []

    def flush() -> Iterator[tuple[Item, Result | TaskFailure]]:
        waiting.sort(key=lambda entry: entry[1].steps)
        while waiting:
            batch = budget.batch(waiting)
            results: Sequence[Result | TaskFailure]
            try:
                results = model([prepared for _, prepared in batch])
            except MsaError:
                raise
            except Exception as error:  # no room, or a library's own: the batch's fault until one item alone
                budget.shrink(batch)
                if len(batch) > 1:
                    continue
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                results = [TaskFailure(f"the model fails on this clip alone: {reason}")]
            else:
                budget.learn(batch)
            del waiting[-len(batch) :]
            for (item, _), result in zip(batch, results, strict=True):
                yield item, result

    for item, prepared in read_ahead(local.run(make, items, workers=workers, timeout_s=timeout_s), WINDOW):
        if isinstance(prepared, Prepared):
            waiting.append((item, prepared))
        else:  # it needs no model, or its worker failed
            yield item, prepared
        if len(waiting) >= WINDOW or sum(prepared.steps for _, prepared in waiting) > WINDOW_STEPS:
            yield from flush()
    yield from flush()


class Budget:
    """How many padded steps one batch may have on a device."""

    def __init__(self, device: str):
        self.device = device
        self.steps = float(FIRST_STEPS)

    def batch(self, waiting: list[tuple[Any, Prepared]]) -> list[tuple[Any, Prepared]]:
        """The last of `waiting`, which is sorted by steps, longest last: at least one, at most the budget."""
        number, pieces = 0, 0
        longest = waiting[-1][1].steps  # the others are padded to it
        for _, prepared in reversed(waiting):
            pieces += prepared.pieces
            if number and pieces * longest > self.steps:
                break
            number += 1
        return waiting[-number:]

    def learn(self, batch: list[tuple[Any, Prepared]]) -> None:
        """Let the budget grow as far as the memory that this batch took allows."""
        if not self.device.startswith("cuda"):
            return
        import torch

        took = torch.cuda.max_memory_allocated(self.device) - torch.cuda.memory_allocated(self.device)
        free, _ = torch.cuda.mem_get_info(self.device)
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        used = padded_steps(batch)
        affordable = SHARE * (free + unused) / max(took / used, 1.0)
        if used * 2 > self.steps:  # a small batch tells little
            self.steps = min(used * GROWTH, affordable)

    def shrink(self, batch: list[tuple[Any, Prepared]]) -> None:
        """Half of a batch that did not fit."""
        import torch

        torch.cuda.empty_cache()
        self.steps = padded_steps(batch) / 2


def padded_steps(batch: list[tuple[Any, Prepared]]) -> int:
    return sum(prepared.pieces for _, prepared in batch) * max(prepared.steps for _, prepared in batch)
