"""Items to Ray actors and results back: the executor for several machines (extra `ray`).

An actor holds what it computes with, loaded once; a task is a run to train, or a few missing clips of one
shard. One whose actor is lost (or that takes longer than its clips may) is given out once more, item by item,
so that the one that kills its worker is found; an item that does so again is a transient failure. Rows are
written by the process that asked, with the same code as with local workers, so that the shards are equal byte
for byte on CPU.

The cluster is that of RAY_ADDRESS, or one on this machine. Its machines need the same environment and see the
project, the corpus and the models under the same paths.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from pipeline.core.console import configure, follow_epochs
from pipeline.core.errors import MissingDependencyError, MsaError, first_line
from pipeline.execution.local import ATTEMPTS, THREADS, Item, Result, TaskFailure, refusal

CLIPS = 8  # of a task: a clip that hangs holds up no more than these


@dataclass
class Job:
    """Some clips for one actor, by their numbers; `attempt` counts from 1."""

    numbers: list[int]
    attempt: int = 1


@dataclass
class Actor:
    """An actor and the job that it holds since then; before its first job it loads the encoder."""

    handle: Any
    reference: Any
    """what it is about to give; None while it has nothing to do"""
    job: Job | None = None
    since: float = 0.0


def run(
    make: Callable[[], Callable[[Item], Result]],
    items: list[Item],
    *,
    workers: int,
    timeout_s: float,
    group: Callable[[Item], int] = lambda item: 0,
    gpus: float = 0.0,
    then: Callable[[Item, Result | TaskFailure], Iterable[Item]] = lambda item, result: (),
) -> Iterator[tuple[Item, Result | TaskFailure]]:
    """Results of `make()(item)` for every item, as they come.

    Parameters
    ----------
    make, timeout_s, then : as in `local.run`
    workers : actors at most; 0 = one for each CPU of the cluster (or for each share of a GPU)
    group : items that stand together and have the same number are one task
    gpus : share of a GPU that each actor gets

    Raises
    ------
    MissingDependencyError : Ray is not installed
    MsaError : `make` or the function cannot work at all
    """
    ray = _opened()
    jobs: deque[Job] = deque()
    for _, together in groupby(range(len(items)), key=lambda number: group(items[number])):
        while numbers := list(islice(together, CLIPS)):
            jobs.append(Job(numbers))
    environment = {"env_vars": THREADS}
    worker_class = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, runtime_env=environment)(_Worker)

    def start() -> Actor:
        handle = worker_class.remote(make, os.getcwd())
        return Actor(handle, handle.load.remote())

    resources = ray.cluster_resources()
    room = max(1, int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 1)))
    pool: list[Actor] = []
    items, done = list(items), 0
    try:
        while done < len(items):
            free = sum(actor.job is None for actor in pool)
            pool += [start() for _ in range(min((workers or room) - len(pool), len(jobs) - free))]
            for actor in pool:
                if actor.reference is None and jobs:
                    actor.job, actor.since = jobs.popleft(), time.monotonic()
                    actor.reference = actor.handle.work.remote([items[i] for i in actor.job.numbers])
            busy = {actor.reference: actor for actor in pool if actor.reference is not None}
            ray.wait(list(busy), num_returns=1, timeout=1.0)
            ready, _ = ray.wait(list(busy), num_returns=len(busy), timeout=0)
            for reference, actor in busy.items():
                job, outcome = actor.job, None
                late = job is not None and time.monotonic() - actor.since > timeout_s * len(job.numbers)
                reason = f"took longer than {timeout_s:g} s" if late else ""
                if reference in ready:
                    try:
                        outcome, reason = ray.get(reference), ""
                    except ray.exceptions.RayError as error:
                        reason = f"its worker was lost ({first_line(error)[:200]})"
                elif not late:
                    continue
                if isinstance(outcome, MsaError):
                    raise outcome
                if job is None and reason:
                    raise MsaError(
                        f"a worker was lost while loading ({reason}); try it alone with "
                        "MSA_WORKERS=1 and check that memory suffices"
                    )
                actor.job = actor.reference = None
                if job is None:
                    continue
                if reason:
                    ray.kill(actor.handle)
                    pool[pool.index(actor)] = start()
                    if job.attempt < ATTEMPTS:
                        jobs.extend(Job([number], job.attempt + 1) for number in job.numbers)
                        continue
                    outcome = [TaskFailure(reason) for _ in job.numbers]
                assert outcome is not None
                for number, result in zip(job.numbers, outcome, strict=True):
                    done += 1
                    for more in then(items[number], result):
                        jobs.append(Job([len(items)]))
                        items.append(more)
                    yield items[number], result
    finally:
        for actor in pool:
            ray.kill(actor.handle)


class _Worker:
    """What runs in an actor; paths are from the folder of the process that asked."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], folder: str):
        os.chdir(folder)
        configure()
        follow_epochs(lambda epochs: None)  # nobody sees what an actor shows
        self.make = make

    def load(self) -> MsaError | None:
        """Make the function, or say why that cannot be."""
        try:
            self.function = self.make()
        except Exception as error:
            return refusal(error)
        return None

    def work(self, items: list[Any]) -> list[Any] | MsaError:
        """Results in the order of the items, or why the encoder as a whole cannot work."""
        try:
            return [self.function(item) for item in items]
        except Exception as error:
            return refusal(error)


def _opened() -> Any:
    """Ray, connected."""
    try:
        import ray
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            "--executor ray needs Ray, which is not installed: pip install 'msa-pipeline[ray]', or use local"
        ) from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray will do by itself soon
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    return ray
