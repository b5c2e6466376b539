"""Clips to feature rows: one clip with a reason for every outcome, or a whole dataset incrementally."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa

from pipeline.core import paths
from pipeline.core.errors import AbsentError, ClipError, MsaError, ParamsError
from pipeline.corpora.clips import read_clips
from pipeline.execution import local
from pipeline.features.encoder import BatchEncoder, Clip, Encoded, Encoder, build_encoder
from pipeline.params.encoders import EncoderParams
from pipeline.params.params import MediaLimits, Params
from pipeline.store.shard import ABSENT, FAILED, OK, TRANSIENT, Row
from pipeline.store.store import EVERYTHING, FeatureStore, Part, Update, bucket_of
from pipeline.transcripts.table import read_transcripts, text_hash

T = TypeVar("T")
log = logging.getLogger("msa.extraction")


@dataclass(frozen=True)
class Runtime:
    """How a stage runs; nothing of this may change a number or a hash.

    Attributes
    ----------
    workers : processes; 0 = one a free core (of a Ray cluster: one a CPU of it)
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
    part: Part = EVERYTHING
    executor: Literal["local", "ray"] = "local"
    gpus_per_worker: float = 0.0

    @property
    def processes(self) -> int:
        """Local processes."""
        return self.workers or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Task:
    """One clip to encode, and the hash of what it is made from."""

    clip: Clip
    source_sha256: str


@dataclass(frozen=True)
class RowMaker:
    """Builds and loads an encoder in a worker; picklable, as the encoder itself need not be."""

    modality: str
    name: str
    params: EncoderParams
    limits: MediaLimits
    device: str

    def build(self) -> Encoder:
        return build_encoder(self.modality, self.name, self.params, self.limits, self.device)

    def __call__(self) -> Callable[[Task], Row]:
        encoder = self.build()
        encoder.load()
        return lambda task: encode_row(encoder, task)


def encode_row(encoder: Encoder, task: Task) -> Row:
    """The row of one clip, whatever happens: ok, absent or failed with a reason."""
    began = time.perf_counter()
    outcome = guarded(encoder, task, lambda: encoder.encode(task.clip))
    row = outcome if isinstance(outcome, Row) else encoded_row(encoder, task, outcome)
    log.debug(
        "%s %s: %s, %d frames, %.2f s%s",
        encoder.name,
        row.clip_id,
        row.status,
        0 if row.features is None else len(row.features),
        time.perf_counter() - began,
        f" ({row.error})" if row.error else "",
    )
    return row


def guarded(encoder: Encoder, task: Task, work: Callable[[], T]) -> T | Row:
    """What `work` gives of a clip, or the clip's row where it is absent or fails.

    Raises
    ------
    MsaError : the encoder as a whole cannot work
    """
    clip_id, source = task.clip.clip_id, task.source_sha256
    path = task.clip.path
    if encoder.needs_media and path is not None and not path.exists():
        return Row(clip_id, source, FAILED, f"{TRANSIENT}{path.name}: no such file; is its folder mounted?")
    if encoder.needs_media and path is None:
        return Row(clip_id, source, FAILED, "missing media: the clip table says which file was looked for")
    try:
        return work()
    except ClipError as error:
        return failed_row(task, error)
    except MemoryError:
        return Row(clip_id, source, FAILED, f"{TRANSIENT}out of memory")
    except OSError as error:  # a full disk, a lost mount: libav's own were told apart before
        return Row(clip_id, source, FAILED, f"{TRANSIENT}{error.strerror or error}")
    except MsaError:
        raise  # the encoder as a whole cannot work
    except Exception as error:  # a library's own: the clip's fault until shown otherwise
        said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        ours = any(word in said for word in ("CUDA", "OutOfMemoryError", "can't allocate memory"))
        return Row(clip_id, source, FAILED, f"{TRANSIENT if ours else ''}{said}")


def failed_row(task: Task, error: ClipError) -> Row:
    """The row of a clip whose features could not be made."""
    status = ABSENT if isinstance(error, AbsentError) else FAILED
    reason = f"{TRANSIENT if error.transient else ''}{error}"
    return Row(task.clip.clip_id, task.source_sha256, status, reason)


def encoded_row(encoder: Encoder, task: Task, encoded: Encoded) -> Row:
    """The row of what an encoder gave; failed where that is not what it promised."""
    clip_id, source = task.clip.clip_id, task.source_sha256
    if encoded.features.ndim != 2 or encoded.features.shape[1] != encoder.dim or len(encoded.features) == 0:
        return Row(
            clip_id,
            source,
            FAILED,
            f"features of shape {encoded.features.shape}, expected (n, {encoder.dim})",
        )
    if not np.isfinite(encoded.features).all():
        return Row(clip_id, source, FAILED, "features are not finite")
    return Row(
        clip_id,
        source,
        OK,
        encoded.note,
        encoded.features,
        encoded.times,
        encoded.token_ids,
        encoded.char_start,
        encoded.char_end,
    )


def footer(encoder: Encoder) -> dict[str, Any]:
    """What a feature file says of itself."""
    return {
        **encoder.provenance,
        "fingerprint": encoder.fingerprint,
        "dim": encoder.dim,
        "dtype": encoder.dtype,
        "column_names": encoder.column_names,
        "frame_rate": encoder.frame_rate,
    }


def media_hash(
    sha256: str | None, start_s: float | None, end_s: float | None, language: str | None = None
) -> str:
    """`source_sha256` of audio and visual rows: the media's bytes and the part of them that is the clip.

    `language` counts where it chooses the model (`hears_language`).
    """
    known = [sha256, start_s, end_s] if language is None else [sha256, start_s, end_s, language]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def hears_language(params: EncoderParams) -> bool:
    """Whether a clip's language chooses the model of this encoder of sound."""
    return params.kind == "hf_audio" and isinstance(params.model, dict)


def extract_dataset(
    modality: str,
    dataset: str,
    encoder_name: str,
    params: Params,
    runtime: Runtime,
    *,
    on_plan: Callable[[int, int], None],
    on_row: Callable[[Row], None],
) -> Update:
    """Bring `data/features/<dataset>/<modality>-<encoder>` up to date, computing only what is missing.

    `on_plan` is told (kept, to compute) before the work, `on_row` every finished row.

    Raises
    ------
    ParamsError, MissingModelError, MissingDependencyError
    """
    maker = RowMaker(
        modality, encoder_name, params.encoder(modality, encoder_name), params.media, runtime.device
    )
    by_language = hears_language(maker.params)
    tasks = dataset_tasks(modality, dataset, Path(params.dataset(dataset).root), by_language)

    if unknown := runtime.part.clips - tasks.keys():
        raise ParamsError(f"--only {sorted(unknown)[0]}: {dataset} has no such clip")

    def compute(clip_ids: list[str]) -> Iterator[Row]:
        wanted = [tasks[clip_id] for clip_id in clip_ids]
        for task, row in _rows(maker, wanted, runtime, params.shards):
            if isinstance(row, local.Lost):
                row = Row(task.clip.clip_id, task.source_sha256, FAILED, f"{TRANSIENT}{row.reason}")
            on_row(row)
            yield row

    store = FeatureStore(paths.feature_folder(dataset, modality, encoder_name))
    return store.update(
        {clip_id: task.source_sha256 for clip_id, task in tasks.items()},
        footer(maker.build()),
        params.shards,
        compute,
        part=runtime.part,
        fresh=runtime.fresh,
        retry_failed=runtime.retry_failed,
        on_plan=on_plan,
    )


def _rows(
    maker: RowMaker, tasks: list[Task], runtime: Runtime, shards: int
) -> Iterator[tuple[Task, Row | local.Lost]]:
    """The rows of clips by the executor that fits."""
    limits: dict[str, Any] = {"timeout_s": runtime.timeout_s}
    if runtime.executor == "ray":
        from pipeline.execution import ray

        def shard(task: Task) -> int:
            return bucket_of(task.clip.clip_id, shards)

        gpus = runtime.gpus_per_worker
        return ray.run(maker, tasks, workers=runtime.workers, group=shard, gpus=gpus, **limits)
    encoder = maker.build()
    if isinstance(encoder, BatchEncoder) and encoder.device.startswith("cuda"):
        from pipeline.features.batches import rows_in_batches

        return rows_in_batches(maker, tasks, workers=runtime.processes, **limits)
    # other models would all lie on the one GPU at once
    processes = (runtime.workers or 1) if encoder.device.startswith("cuda") else runtime.processes
    return local.run(maker, tasks, workers=processes, **limits)


def dataset_tasks(modality: str, dataset: str, root: Path, by_language: bool = False) -> dict[str, Task]:
    """What an encoder of this modality has to read, by clip id: transcripts for text, else the clip table."""
    if modality == "text":
        rows = read_transcripts(paths.transcript_table(dataset)).to_pylist()
        return {
            row["clip_id"]: Task(
                Clip(row["clip_id"], text=row["text"], language=row["language"]),
                text_hash(row["text"], row["language"], row["words"]),
            )
            for row in rows
        }
    clips: pa.Table = read_clips(paths.clip_table(dataset))
    return {
        row["clip_id"]: Task(
            Clip(
                row["clip_id"],
                path=root / row["path"] if row["path"] else None,
                start_s=row["start_s"],
                end_s=row["end_s"],
                language=row["language"] or "en",
            ),
            media_hash(row["sha256"], row["start_s"], row["end_s"], row["language"] if by_language else None),
        )
        for row in clips.to_pylist()
    }
