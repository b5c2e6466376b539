"""Clips through a model on a GPU: worker processes decode ahead, batches of like length go through the model.

    clips ─ workers: prepare ─▶ window of WINDOW clips, sorted by length ─ cut by a budget ─▶ infer ─▶ rows

A batch is as many clips as their padded steps fit the budget. The budget is found from the device: the first
batches are small, the memory that they took tells what a step costs, and half of what is free then may be
used. What does not fit after all is tried again in halves; a clip that alone does not fit is a transient
failure. Decoding overlaps with the model, and a decoder that crashes costs its clip alone, as on CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Queue
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ClipError, MsaError
from pipeline.execution import local
from pipeline.features.encoder import BatchEncoder, Encoded, Prepared

if TYPE_CHECKING:
    from pipeline.features.stage import RowMaker, Task
    from pipeline.store.shard import Row

WINDOW = 512  # clips that are sorted together; also how far the workers may be ahead
WINDOW_STEPS = 1 << 28  # tokens or samples that wait at most: 1 GiB of sound
FIRST_STEPS = 65_536  # padded steps of the first batch; half a MiB of token ids, four seconds of sound
GROWTH = 4.0  # of a batch over the largest that is known to fit
SHARE = 0.5  # of the free memory that the model may take: attention costs more than steps alone tell


@dataclass(frozen=True)
class Preparer:
    """Builds in a worker what makes clips ready; picklable."""

    maker: RowMaker

    def __call__(self) -> Callable[[Task], Prepared | Row]:
        from pipeline.features.stage import guarded

        encoder = self.maker.build()
        assert isinstance(encoder, BatchEncoder)
        encoder.load_preparer()
        return lambda task: guarded(encoder, task, lambda: encoder.prepare(task.clip))


def rows_in_batches(
    maker: RowMaker, tasks: list[Task], *, workers: int, timeout_s: float
) -> Iterator[tuple[Task, Row | local.Lost]]:
    """The row of every clip, in any order; the model runs in this process.

    Raises
    ------
    MsaError : the encoder as a whole cannot work
    """
    from pipeline.features.stage import encoded_row, failed_row

    encoder = maker.build()
    assert isinstance(encoder, BatchEncoder)
    encoder.load()
    budget = Budget(encoder.device)
    source = _ahead(local.run(Preparer(maker), tasks, workers=workers, timeout_s=timeout_s))
    waiting: list[tuple[Task, Prepared]] = []

    def flush() -> Iterator[tuple[Task, Row | local.Lost]]:
        waiting.sort(key=lambda entry: entry[1].steps)
        while waiting:
            batch = budget.batch(waiting)
            try:
                outcomes = _infer(encoder, [prepared for _, prepared in batch])
            except MsaError:
                raise
            except Exception as error:  # no room, or a library's own: the batch's fault until one clip alone
                budget.shrink(batch)
                if len(batch) > 1:
                    continue
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                outcomes = [GpuError(f"the model fails on this clip alone: {reason}")]
            else:
                budget.learn(batch)
            del waiting[-len(batch) :]
            for (task, _), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, ClipError):
                    yield task, failed_row(task, outcome)
                else:
                    yield task, encoded_row(encoder, task, outcome)

    for task, prepared in source:
        if isinstance(prepared, Prepared):
            waiting.append((task, prepared))
        else:  # failed or absent already, or its worker was lost
            yield task, prepared
        if len(waiting) >= WINDOW or sum(prepared.steps for _, prepared in waiting) > WINDOW_STEPS:
            yield from flush()
    yield from flush()


class GpuError(ClipError):
    """The model cannot do one clip alone: its memory does not suffice, or a library fails."""

    transient = True


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
    """Steps of a batch with its padding."""
    return sum(prepared.pieces for _, prepared in batch) * max(prepared.steps for _, prepared in batch)


def _infer(encoder: BatchEncoder, batch: list[Prepared]) -> list[Encoded | ClipError]:
    outcomes = encoder.infer(batch)
    assert len(outcomes) == len(batch)
    return outcomes


def _ahead(source: Iterator[Any]) -> Iterator[Any]:
    """The same items, gathered in a thread while the model computes."""
    queue: Queue[Any] = Queue(WINDOW)
    done = object()
    stopped = threading.Event()

    def gather() -> None:
        try:
            for item in source:
                if stopped.is_set():
                    break
                queue.put((item, None))
            queue.put((done, None))
        except BaseException as error:  # raised again where the items are read
            queue.put((done, error))

    thread = threading.Thread(target=gather, name="gather", daemon=True)
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if error is not None:
                raise error
            if item is done:
                return
            yield item
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room in the queue
            while not queue.empty():
                queue.get()
            thread.join(timeout=0.1)
