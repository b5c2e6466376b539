"""`msa-cli repro`: what `dvc repro` does, with work that does not depend on each other side by side.

DVC runs one stage after the other. Before it does, this computes what several stages would: the rows of
several encoders, straight into their stores, and the runs of several methods, straight into their folders.
Only for stages that DVC would run; they then find their outputs and keep them.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.dvc_arguments import arguments
from pipeline.cli.options import Device
from pipeline.cli.stages import ExecutorKind, ExecutorName, RunCacheFolder, RunsPerGpu, Workers
from pipeline.cli.stages import app as stage_app
from pipeline.core.console import is_quiet
from pipeline.core.errors import MsaError, first_line, of_system
from pipeline.core.vocabulary import MODALITIES

TABLES = ("ingest", "transcribe", "import")


def repro(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET]...",
            help="Stages as `dvc repro` names them.",
            autocompletion=completion.stages,
        ),
    ] = None,
    workers: Workers = 0,
    device: Device = "auto",
    runs_per_gpu: RunsPerGpu = 1,
    executor: ExecutorName = ExecutorKind.local,
    run_cache: RunCacheFolder = Path(".state/runs"),
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods, or groups of them, instead of models_run, this time only. May be repeated.",
            autocompletion=completion.methods_and_groups,
        ),
    ] = None,
) -> None:
    """Bring targets (default: everything) up to date as `dvc repro` does, with independent work in parallel.

    All encoders extract at once, and all methods, training sets and seeds are trained at once. If it is
    killed, the same command continues.

    Example: msa-cli repro --workers 4
    """
    given = {"WORKERS": workers, "DEVICE": device, "RUNS_PER_GPU": runs_per_gpu, "EXECUTOR": executor.value}
    given["RUN_CACHE"] = run_cache
    os.environ.update({f"MSA_{name}": str(value) for name, value in given.items()})  # for the stages
    with _running(models or []):
        _repro(targets or [], workers, device, runs_per_gpu, executor, run_cache)


@contextmanager
def _running(names: list[str]) -> Iterator[None]:
    """Within it, params.yaml has these methods in models_run: DVC takes them from nowhere else.

    Afterwards it is as before, unless someone has changed it meanwhile.
    """
    from pipeline.params.edit import with_models_run
    from pipeline.params.params import PARAMS_FILE, load_params

    if not names:
        yield
        return
    methods, file = load_params().methods(names), Path(PARAMS_FILE)
    load_params(
        overrides=[f"models_run=[{', '.join(methods)}]"]
    )  # says what is missing, before anything changes
    before = file.read_bytes()
    changed = with_models_run(before.decode("utf-8"), methods).encode()
    file.write_bytes(changed)
    try:
        yield
    finally:
        if file.read_bytes() == changed:
            file.write_bytes(before)


def _repro(
    wanted: list[str],
    workers: int,
    device: str,
    runs_per_gpu: int,
    executor: ExecutorKind,
    run_cache: Path,
) -> None:
    from pipeline.params.params import load_params

    params = load_params()
    _bring(wanted, TABLES)
    jobs = [[kind, *arguments(kind, entry)] for kind, entry in _due(wanted, MODALITIES)]
    if len(jobs) > 1:
        _extract(jobs, workers or len(os.sched_getaffinity(0)))
    _bring(wanted, (*MODALITIES, "assemble"))
    stages = [arguments(kind, entry) for kind, entry in _due(wanted, ("train",))]
    if stages:
        from pipeline.training.stage import stage_of, train_stages
        from pipeline.training.workers import TrainRuntime

        runtime = TrainRuntime(workers, device, runs_per_gpu, executor.value, run_cache=run_cache)
        train_stages([stage_of(params, method, dataset) for method, dataset in stages], runtime)
    _dvc(wanted)


def _due(targets: Sequence[str], kinds: Collection[str]) -> list[tuple[str, str]]:
    """Stages of these kinds that DVC would run for the targets, now: (`train`, `misr-sample`).

    Not those that only follow from others. DVC takes none of them from its run cache: what they make stays in
    its place (persist), and that cache has no such outputs.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    found = set()
    try:
        with Repo() as repo, repo.lock:
            for name in targets or ["dvc.yaml"]:
                for stage in repo.stage.collect(name, with_deps=True):
                    kind, _, entry = (stage.name or "").partition("@")
                    if kind in kinds and (kind, entry) not in found and stage.changed():
                        found.add((kind, entry))
    except DvcException as error:
        raise MsaError(f"dvc: {first_line(error)}") from error
    return sorted(found)


def _bring(targets: Sequence[str], kinds: Collection[str]) -> None:
    """Have DVC run the stages of these kinds, until it would run none, or the same ones once more."""
    before: list[tuple[str, str]] = []
    while (due := _due(targets, kinds)) and due != before:
        _dvc([f"{kind}@{entry}" if entry else kind for kind, entry in due])
        before = due


def _dvc(targets: Sequence[str]) -> None:
    """`dvc repro`; the stages find `msa-cli` of this environment. DVC itself has said what failed."""
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), os.environ.get("PATH"))))
    command = [sys.executable, "-m", "dvc", "repro", *(["--quiet"] if is_quiet() else []), *targets]
    if code := subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode:
        raise typer.Exit(code)


def _extract(jobs: list[list[str]], workers: int) -> None:
    """The rows of several encoders at once, each by its share of the workers."""
    from pipeline.execution import local

    at_once = min(len(jobs), workers)
    # lines in place of bars that would overwrite each other
    share = {"MSA_WORKERS": str(workers // at_once), "TTY_COMPATIBLE": "0"}
    found = local.run(
        _extractor, jobs, workers=at_once, timeout_s=math.inf, environments=[share], nested=True
    )
    failed = []
    for job, reason in found:
        if isinstance(reason, local.TaskFailure):
            reason = reason.reason
        if reason:
            failed.append(f"{' '.join(job)}: {reason}")
    if failed:
        raise MsaError("\n".join(failed))


def _extractor() -> Callable[[list[str]], str]:
    def work(job: list[str]) -> str:
        try:
            stage_app(job, standalone_mode=False)
        except MsaError as error:
            return str(error)
        except OSError as error:
            return of_system(error)
        return ""

    return work
