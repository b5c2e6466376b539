"""The train stage: all runs of a method on a training set, one a seed, kept, trained or removed.

`runs/<method>-<set>/`
    pretrained/     what the method learns first, once for all seeds (pretrain.py), if it does
    <seed>/         a run folder (runs.py)

A seed's folder is kept when its identity is as wanted and its files have their hashes. So a stage that is run
again computes what is missing: an added seed is one run. A run of settings that come back is taken from the
run cache (run_cache.py). A stage that was killed goes on: whole folders are kept, and each run in the middle
resumes from its state (checkpoint.py).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models import METHODS
from pipeline.core.console import RunsProgress, note
from pipeline.core.errors import MsaError
from pipeline.core.files import one_writer
from pipeline.datasets.training_set import read_stats
from pipeline.execution.local import TaskFailure
from pipeline.params.explain import settings_of
from pipeline.params.params import Params
from pipeline.params.run import RunConfig, run_configs
from pipeline.training.loop.pretrain import pretraining_due
from pipeline.training.run_cache import RunCache
from pipeline.training.runs import build_method, run_identity, task_of, why_not_kept
from pipeline.training.workers import TrainJob, TrainOutcome, TrainRuntime, outcomes


@dataclass(frozen=True)
class DueRun:
    """A run that its folder does not have: all that decides its bytes, and what the folder has, in words."""

    run: RunConfig
    identity: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class TrainStage:
    """What is wanted of a method on a training set.

    Attributes
    ----------
    runs : one a seed; all of one folder, set and settings
    alone : other seeds are left as they are; False = they are removed
    """

    runs: tuple[RunConfig, ...]
    alone: bool = False

    @property
    def folder(self) -> Path:
        """Of all seeds."""
        return self.runs[0].out.parent

    def due(self, device: str, *, fresh: bool = False) -> list[DueRun]:
        """Runs that are to be made, all if `fresh`; what they start from must be there."""
        first = self.runs[0]
        stats = read_stats(first.assembled)
        dims = {modality: int(entry["dim"]) for modality, entry in stats["modalities"].items()}
        method = build_method(first.method_name, first.method_params, dims, task_of(stats), pretrained=False)
        common = run_identity(first, method, stats, device)
        found = []
        for run in self.runs:
            identity = common | {"seed": run.seed}
            with one_writer(run.out):  # also removes the lock that a killed one left
                reason = "asked for" if fresh else why_not_kept(run.out, identity)
            if reason is not None:
                found.append(DueRun(run, identity, reason))
        return found

    def remove_unwanted(self) -> list[Path]:
        """Remove the folders of seeds that are not wanted; gives them."""
        if self.alone or not self.folder.exists():
            return []
        wanted = {run.out.name for run in self.runs}
        others = [
            path
            for path in sorted(self.folder.iterdir())
            if path.is_dir() and path.name not in wanted and re.fullmatch(r"\d+", path.name)
        ]
        for path in others:
            with one_writer(path):
                shutil.rmtree(path)
        return others


def stage_of(params: Params, method: str, dataset: str, seeds: Sequence[int] = ()) -> TrainStage:
    """The stage as params.yaml has it, or of these seeds alone.

    Raises
    ------
    ParamsError : an unknown method, training set or setting
    """
    if method in METHODS and method in params.models:  # what this set overrules must be right for others, too
        settings_of(METHODS[method].load().Config, params.models[method].base, f"models.{method}.base")
    return TrainStage(run_configs(params, method, dataset, seeds), alone=bool(seeds))


def train_stages(stages: Sequence[TrainStage], runtime: TrainRuntime) -> None:
    """Bring the runs of all these stages up to date, several at once; nobody else trains them meanwhile.

    Raises
    ------
    MsaError : a run failed, in one line each; all others are there
    """
    with ExitStack() as locks:
        for stage in sorted(stages, key=lambda stage: stage.folder):
            locks.enter_context(one_writer(stage.folder))
        RunQueue(runtime).run(stages)


class RunQueue:
    """Trainings of some stages, with those that follow from others.

    Attributes
    ----------
    failed : message -> what has it
    """

    def __init__(self, runtime: TrainRuntime):
        self.runtime = runtime
        self.failed: dict[str, list[str]] = {}
        self.waiting: dict[Path, TrainStage] = {}  # for their pretraining
        self.identities: dict[Path, dict[str, Any]] = {}  # of what is trained, by folder
        self.cache = RunCache(runtime.run_cache)
        self.progress = RunsProgress("training", 0)

    def run(self, stages: Sequence[TrainStage]) -> None:
        jobs: list[TrainJob] = []
        for stage in stages:
            for path in stage.remove_unwanted():
                note(f"{path}: removed, its seed is no longer in params.yaml", stdout=True)
            first = stage.runs[0]
            if self.runtime.fresh:
                shutil.rmtree(first.pretrained, ignore_errors=True)
            if pretraining_due(first, self.runtime.device_type):
                jobs.append(TrainJob(first, pretrains=True))
                self.waiting[stage.folder] = stage
            else:
                jobs += self._seeds(stage)
        jobs.sort(key=lambda job: not job.pretrains)  # others wait for these
        self.progress.total = len(jobs) + sum(len(stage.runs) for stage in self.waiting.values())
        with self.progress:
            crowded: list[TrainJob] = []
            for job, outcome in outcomes(jobs, self.runtime, self._then, self.progress):
                if outcome.crowded and self.runtime.runs_per_gpu > 1:
                    note(f"{job.title}: does not fit on the GPU with other runs; retried alone")
                    crowded.append(job)
                else:
                    self._ended(job, outcome)
            alone = replace(self.runtime, runs_per_gpu=1)
            for job, outcome in outcomes(crowded, alone, self._then, self.progress):
                self._ended(job, outcome)
        if self.failed:
            lines = [f"{', '.join(names)}: {message}" for message, names in self.failed.items()]
            raise MsaError("\n".join(lines))

    def _seeds(self, stage: TrainStage) -> list[TrainJob]:
        """What is to be trained of a stage, with a word on each folder that is there and cannot be kept."""
        fresh = self.runtime.fresh
        due = stage.due(self.runtime.device_type, fresh=fresh)
        absent = []
        for one in due:
            there = one.run.out.exists()
            restored = not fresh and self.cache.restore(one.identity, one.run.out)
            if there:
                done = "from the run cache" if restored else "trained again"
                note(f"{one.run.out}: {done}, {one.reason}", stdout=True)
            if not restored:
                absent.append(one)
                self.identities[one.run.out] = one.identity
        counts = {"kept": len(stage.runs) - len(due), "from the run cache": len(due) - len(absent)}
        words = [f"{number} {what}" for what, number in counts.items() if number or what == "kept"]
        note(f"{stage.folder.name}: {', '.join(words)}, {len(absent)} to train", stdout=True)
        return [TrainJob(one.run) for one in absent]

    def _then(self, job: TrainJob, outcome: TrainOutcome | TaskFailure) -> Iterable[TrainJob]:
        """The seeds that waited for a pretraining."""
        if not job.pretrains or not isinstance(outcome, TrainOutcome) or outcome.crowded:
            return []
        stage = self.waiting.pop(job.run.out.parent)
        jobs = [] if outcome.failure else self._seeds(stage)
        self.progress.total -= len(stage.runs) - len(jobs)
        return jobs

    def _ended(self, job: TrainJob, outcome: TrainOutcome) -> None:
        if outcome.failure:
            self.failed.setdefault(outcome.failure, []).append(job.title)
        elif not job.pretrains:
            self.cache.keep(job.run.out, self.identities[job.run.out])
        self.progress.ended(job.title, "failed" if outcome.failure else outcome.words)
