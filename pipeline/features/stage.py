"""The extraction stage: the feature rows of a whole dataset, incrementally, by the executor that fits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline.core import paths
from pipeline.core.console import note
from pipeline.core.errors import ParamsError
from pipeline.core.stage_code import LOCK, unlike_lock
from pipeline.core.vocabulary import FAILED, TRANSIENT
from pipeline.corpora.clips import read_clips
from pipeline.execution import local
from pipeline.features.encoder import BatchEncoder, Clip, Encoder
from pipeline.features.registry import build_encoder
from pipeline.features.rows import (
    EncodingTask,
    columns,
    identity,
    media_hash,
    model_by_language,
    row_maker,
    rows_in_batches,
)
from pipeline.params.params import Params
from pipeline.store.shard import FeatureRow
from pipeline.store.store import EVERYTHING, FeatureStore, StorePart, Update, bucket_of
from pipeline.transcripts.table import read_transcripts, text_hash


@dataclass(frozen=True)
class Runtime:
    """How a stage runs; nothing of this may change a number or a hash.

    Attributes
    ----------
    workers : processes; 0 = one per free core (of a Ray cluster: one a CPU of it)
    device : `cpu`, `cuda`, `cuda:1`, ...
    timeout_s : seconds one clip may take
    fresh : recompute what is there already
    retry_failed : compute failed clips again
    part : shards or clips that are worked on
    executor : `local` processes, or `ray`
    gpus_per_worker : share of a GPU that a Ray worker gets
    """

    workers: int = 0
    device: str = "cpu"
    timeout_s: float = 600.0
    fresh: bool = False
    retry_failed: bool = False
    part: StorePart = EVERYTHING
    executor: Literal["local", "ray"] = "local"
    gpus_per_worker: float = 0.0


def extract_dataset(
    modality: str,
    dataset: str,
    encoder_name: str,
    params: Params,
    runtime: Runtime,
    *,
    on_plan: Callable[[int, int], None],
    on_row: Callable[[FeatureRow], None],
) -> Update:
    """Bring `data/features/<dataset>/<modality>-<encoder>` up to date, computing only what is missing.

    `on_plan` is told (kept, to compute) before the work, `on_row` every finished row.
    """
    settings = params.encoder(modality, encoder_name)
    build = partial(build_encoder, modality, encoder_name, settings, params.media, runtime.device)
    by_language = model_by_language(settings)
    tasks = dataset_tasks(modality, dataset, Path(params.dataset(dataset).root), by_language)
    if unknown := runtime.part.clips - tasks.keys():
        raise ParamsError(f"--only {sorted(unknown)[0]}: {dataset} has no such clip")

    encoder = build()
    for name, (installed, locked) in unlike_lock(encoder.LIBRARIES).items():
        note(
            f"warning: {name} {installed} is installed, {LOCK} has {locked}, which will compute these rows "
            f"again; to install it: pip install -c {LOCK} -e ."
        )

    def compute(clip_ids: list[str]) -> Iterator[FeatureRow]:
        columns(encoder)  # its errors come before any work
        wanted = [tasks[clip_id] for clip_id in clip_ids]
        for task, row in _rows(build, wanted, runtime, params.shards):
            if isinstance(row, local.TaskFailure):
                row = FeatureRow(task.clip.clip_id, task.source_sha256, FAILED, f"{TRANSIENT}{row.reason}")
            on_row(row)
            yield row

    store = FeatureStore(paths.feature_folder(dataset, modality, encoder_name))
    return store.update(
        {clip_id: task.source_sha256 for clip_id, task in tasks.items()},
        identity(encoder),
        params.shards,
        compute,
        part=runtime.part,
        fresh=runtime.fresh,
        retry_failed=runtime.retry_failed,
        on_plan=on_plan,
        describe=lambda: columns(encoder),
    )


def _rows(
    build: Callable[[], Encoder], tasks: list[EncodingTask], runtime: Runtime, shards: int
) -> Iterator[tuple[EncodingTask, FeatureRow | local.TaskFailure]]:
    """The rows of clips by the executor that fits."""
    make, timeout_s = partial(row_maker, build), runtime.timeout_s
    if runtime.executor == "ray":
        from pipeline.execution import ray

        return ray.run(
            make,
            tasks,
            workers=runtime.workers,
            timeout_s=timeout_s,
            group=lambda task: bucket_of(task.clip.clip_id, shards),
            gpus=runtime.gpus_per_worker,
        )
    processes = runtime.workers or len(os.sched_getaffinity(0))
    encoder = build()
    if encoder.device.startswith("cuda"):
        if isinstance(encoder, BatchEncoder):
            return rows_in_batches(build, tasks, workers=processes, timeout_s=timeout_s)
        processes = runtime.workers or 1  # other models would all lie on the one GPU at once
    return local.run(make, tasks, workers=processes, timeout_s=timeout_s)


def dataset_tasks(
    modality: str, dataset: str, root: Path, by_language: bool = False
) -> dict[str, EncodingTask]:
    """What an encoder of this modality has to read, by clip id: transcripts for text, else the clip table."""
    if modality == "text":
        rows = read_transcripts(paths.transcript_table(dataset)).to_pylist()
        return {
            row["clip_id"]: EncodingTask(
                Clip(row["clip_id"], text=row["text"], language=row["language"]),
                text_hash(row["text"], row["language"], row["words"]),
            )
            for row in rows
        }
    clips: pa.Table = read_clips(paths.clip_table(dataset))
    return {
        row["clip_id"]: EncodingTask(
            Clip(
                row["clip_id"],
                root / row["path"] if row["path"] else None,
                row["start_s"],
                row["end_s"],
                language=row["language"] or "en",
            ),
            media_hash(row["sha256"], row["start_s"], row["end_s"], row["language"] if by_language else None),
        )
        for row in clips.to_pylist()
    }
