"""Items to local worker processes and results back; a worker that dies or hangs costs its item, not the rest.

An item is a clip to encode, or a run to train. Each worker loads what it computes with once, has one thread
and is given one item at a time, so that the parent knows which item a dead worker held. That item is tried
once more; a second death is a transient failure. Workers end with their parent, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from pipeline.core.console import Epochs, configure, follow_epochs
from pipeline.core.errors import MsaError

Item = TypeVar("Item")
Result = TypeVar("Result")

# One thread a worker: no fights over cores, and sums that do not depend on how many there are.
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
ATTEMPTS = 2
LOADING_S = 900.0  # a worker may take to load what it computes with
FAILED_STARTS = 5  # in a row, of workers that take the place of dead ones


@dataclass(frozen=True)
class TaskFailure:
    """An item without a result: its worker died or hung `ATTEMPTS` times, or a model fails on it alone."""

    reason: str


@dataclass
class Worker:
    """A process and the item it holds; `since` is when it was handed over."""

    process: SpawnProcess
    pipe: Connection
    item: Any = None
    since: float = 0.0
    ready: bool = False


def run(
    make: Callable[[], Callable[[Item], Result]],
    items: list[Item],
    *,
    workers: int,
    timeout_s: float,
    then: Callable[[Item, Result | TaskFailure], Iterable[Item]] = lambda item, result: (),
    environments: Sequence[Mapping[str, str]] = ({},),
    on_epoch: Callable[[Epochs], None] = lambda epochs: None,
    nested: bool = False,
) -> Iterator[tuple[Item, Result | TaskFailure]]:
    """Results of `make()(item)` for every item, as they come.

    Parameters
    ----------
    make : picklable; called once in each worker, loads the model and returns the function
    workers : processes at most
    timeout_s : seconds that one item may take; after them its worker is killed
    then : items that follow from the result of one
    environments : variables of the workers, in turns
    on_epoch : is told how far the trainings in the workers are
    nested : whether workers have workers of their own

    Raises
    ------
    MsaError : `make` or the function cannot work at all (weights or a package missing), or a worker dies
        before it is ready
    """
    waiting = deque(enumerate(items))
    attempts = [0] * len(items)
    context = multiprocessing.get_context("spawn")
    pool: list[Worker] = []
    done = 0
    any_ready, failed_starts = False, 0

    def start(place: int) -> Worker:
        return _start(context, make, environments[place % len(environments)], nested)

    def ended(item: Item, result: Result | TaskFailure) -> tuple[Item, Result | TaskFailure]:
        for more in then(item, result):
            waiting.append((len(attempts), more))
            attempts.append(0)
        return item, result

    try:
        while done < len(attempts):
            free = sum(worker.item is None for worker in pool)
            pool += [start(len(pool) + n) for n in range(min(workers - len(pool), len(waiting) - free))]
            for worker in pool:
                if worker.ready and worker.item is None and waiting:
                    worker.item, worker.since = waiting.popleft(), time.monotonic()
                    with suppress(OSError):  # it died while idle: found below, and the item given out again
                        worker.pipe.send(worker.item[1])
            events = wait([end for w in pool for end in (w.pipe, w.process.sentinel)], timeout=1.0)
            for position, worker in enumerate(pool):
                if worker.pipe in events and (message := _receive(worker)) is not None:
                    kind, value = message
                    if kind == "ready":
                        worker.ready = any_ready = True
                    elif kind == "refused":
                        raise value
                    elif kind == "epoch":
                        on_epoch(value)
                    else:
                        (_, item), worker.item = worker.item, None
                        done += 1
                        yield ended(item, value)
                    continue
                hung = worker.item is not None and time.monotonic() - worker.since > timeout_s
                stuck = not worker.ready and time.monotonic() - worker.since > LOADING_S
                if not hung and not stuck and worker.process.is_alive():
                    continue
                if worker.ready:
                    failed_starts = 0
                else:
                    failed_starts += 1
                    if not any_ready or failed_starts > FAILED_STARTS:
                        code = f"ended with exit code {worker.process.exitcode}"
                        raise MsaError(
                            f"a worker {f'took over {LOADING_S:g} s' if stuck else code} while loading; "
                            "try it alone with MSA_WORKERS=1 and check that memory suffices"
                        )
                reason = f"took longer than {timeout_s:g} s" if hung else _death(worker)
                _end(worker)
                pool[position] = start(position)
                if worker.item is not None:
                    index, item = worker.item
                    attempts[index] += 1
                    if attempts[index] < ATTEMPTS:
                        waiting.append((index, item))
                    else:
                        done += 1
                        yield ended(item, TaskFailure(reason))
    finally:
        for worker in pool:
            _end(worker)


def _start(context: Any, make: Callable[[], Any], environment: Mapping[str, str], nested: bool) -> Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make), daemon=not nested)
    changed = {**THREADS, **environment}
    before = {name: os.environ[name] for name in changed if name in os.environ}
    os.environ.update(changed)  # libraries read it when they are imported
    try:
        process.start()
    finally:
        for name in changed:
            del os.environ[name]
        os.environ.update(before)
    theirs.close()  # so that the worker's death, or ours, ends the pipe
    return Worker(process, ours, since=time.monotonic())


def _work(pipe: Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    """The life of a worker: load, then one item after the other until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure()
    follow_epochs(lambda epochs: pipe.send(("epoch", epochs)))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            function = make()
            pipe.send(("ready", None))
            while True:
                pipe.send(("done", function(pipe.recv())))
        except Exception as error:
            pipe.send(("refused", refusal(error)))


def _end_with_parent() -> None:
    """A run may take hours: a killed parent's successor must not find it still at work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def refusal(error: Exception) -> MsaError:
    """Why nothing can work: ours or a library's fault, not an item's, for those were caught before."""
    if isinstance(error, MsaError):
        return error
    return MsaError(f"nothing can be computed: {type(error).__name__}: {error}")


def _receive(worker: Worker) -> tuple[str, Any] | None:
    """The worker's message, None when it died."""
    try:
        message: tuple[str, Any] = worker.pipe.recv()
        return message
    except (EOFError, ConnectionResetError):
        worker.process.join(timeout=5)
        return None


def _death(worker: Worker) -> str:
    code = worker.process.exitcode
    if code is not None and code < 0:
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its worker was killed by {signal.Signals(-code).name}{hint}"
    return f"its worker ended with exit code {code}"


def _end(worker: Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()
