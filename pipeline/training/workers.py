"""Trainings to whoever computes them: this process, worker processes, GPUs, a Ray cluster.

Each worker has one thread, imports the models once and is given one training at a time. Which worker trains
what, and how many there are, changes no byte of a run. A training whose worker dies is given out once more,
and goes on from its state.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from models import METHODS
from pipeline.core.console import RunsProgress
from pipeline.core.devices import device_type, visible_gpus
from pipeline.core.errors import MsaError, of_system
from pipeline.execution import local
from pipeline.params.run import RunConfig


@dataclass(frozen=True)
class TrainRuntime:
    """How trainings run; nothing of this but the kind of device may change a byte of a run.

    Attributes
    ----------
    workers : runs at once; 0 = one per free core, or as many as the GPUs take
    device : `auto`, `cpu`, `cuda` (all GPUs) or `cuda:<index>`
    runs_per_gpu : runs at once on one GPU
    executor : `local` processes, or `ray`
    fresh : train what is there already, from the first epoch
    run_cache : folder of finished runs by identity (run_cache.py)
    """

    workers: int = 0
    device: str = "auto"
    runs_per_gpu: int = 1
    executor: Literal["local", "ray"] = "local"
    fresh: bool = False
    run_cache: Path = Path(".state/runs")

    @cached_property
    def device_type(self) -> str:
        """`cpu` or `cuda`; a Ray cluster may have GPUs where this machine has none."""
        if self.executor == "ray" and self.device.startswith("cuda"):
            return "cuda"
        return device_type(self.device)


@dataclass(frozen=True)
class TrainJob:
    """A run to train, or the pretraining that it starts from."""

    run: RunConfig
    pretrains: bool = False

    @property
    def title(self) -> str:
        """`misr-mosi-1111`, of a pretraining without the seed."""
        return f"{self.run.method_name}-{self.run.dataset}" if self.pretrains else self.run.title


@dataclass(frozen=True)
class TrainOutcome:
    """What came of a job: `words` for people, or why it failed; `crowded`: for want of a GPU's memory."""

    words: str = ""
    failure: str = ""
    crowded: bool = False


Then = Callable[[TrainJob, TrainOutcome | local.TaskFailure], Iterable[TrainJob]]


def outcomes(
    jobs: list[TrainJob], runtime: TrainRuntime, then: Then, progress: RunsProgress
) -> Iterator[tuple[TrainJob, TrainOutcome]]:
    """What comes of each job, as it ends; `then` has the jobs that follow from one."""
    if not jobs:
        return
    cuda = runtime.device_type == "cuda"
    make = partial(trainer, runtime.device_type, runtime.fresh)
    options: dict[str, Any] = {"timeout_s": math.inf, "then": then}
    if runtime.executor == "ray":
        from pipeline.execution import ray

        share = 1 / runtime.runs_per_gpu if cuda else 0.0
        found = ray.run(make, jobs, workers=runtime.workers, group=id, gpus=share, **options)
    else:
        gpus = visible_gpus(runtime.device) if cuda else []
        room = len(gpus) * runtime.runs_per_gpu if cuda else len(os.sched_getaffinity(0))
        workers = min(runtime.workers or room, room if cuda else math.inf, progress.total)
        if workers <= 1:
            work = trainer(runtime.device if cuda else "cpu", runtime.fresh)
            found = _one_by_one(work, jobs, then)
        else:
            where = [{"CUDA_VISIBLE_DEVICES": name} for name in gpus] or [{}]
            found = local.run(
                make, jobs, workers=int(workers), environments=where, on_epoch=progress.epoch, **options
            )
    for job, outcome in found:
        if isinstance(outcome, local.TaskFailure):
            outcome = TrainOutcome(failure=f"{outcome.reason}; its progress is kept; run the stage again")
        yield job, outcome


def _one_by_one(
    work: Callable[[TrainJob], TrainOutcome], jobs: list[TrainJob], then: Then
) -> Iterator[tuple[TrainJob, TrainOutcome | local.TaskFailure]]:
    """In this process."""
    waiting = list(jobs)
    while waiting:
        job = waiting.pop(0)
        outcome = work(job)
        waiting += then(job, outcome)
        yield job, outcome


def trainer(
    device: str, fresh: bool, state_root: Path = Path(".state"), logs: Path = Path("logs")
) -> Callable[[TrainJob], TrainOutcome]:
    """What a worker does with a job, once everything is imported."""
    import torch

    from pipeline.training.loop.pretrain import pretrain
    from pipeline.training.loop.train import train

    def learn(job: TrainJob) -> TrainOutcome:
        if job.pretrains:
            pretrain(job.run, device=device, state_root=state_root)
            return TrainOutcome("pretrained")
        found = train(job.run, device=device, fresh=fresh, state_root=state_root, logs=logs)
        settings = METHODS[job.run.method_name].load().Config.model_validate(job.run.method_params)
        stopped = found["epochs"] < settings.training.epochs
        best = f"{'stopped early, best ' if stopped else ''}epoch {found['epoch']} of {found['epochs']}"
        return TrainOutcome(f"{best}, valid loss {found['valid_loss']:.4f}, {found['seconds']:.1f} s")

    def work(job: TrainJob) -> TrainOutcome:
        try:
            return learn(job)
        except torch.OutOfMemoryError:
            pass  # its memory is free only after this block
        except MsaError as error:
            return TrainOutcome(failure=str(error))
        except OSError as error:
            return TrainOutcome(failure=of_system(error))
        gc.collect()
        torch.cuda.empty_cache()
        return TrainOutcome(
            failure="out of memory on the GPU; lower training.batch_size, or set train.precision to bf16",
            crowded=True,
        )

    return work
