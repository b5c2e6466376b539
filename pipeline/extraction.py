"""Clips to feature rows: one clip with a reason for every outcome, or a whole dataset incrementally."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import executor, layout
from pipeline.clips import read_clips
from pipeline.encoder_params import EncoderParams
from pipeline.encoders import Clip, Encoder, build_encoder
from pipeline.errors import AbsentError, ClipError, MsaError
from pipeline.features import FeatureStore, Update
from pipeline.params import MediaLimits, Params
from pipeline.shards import ABSENT, FAILED, OK, TRANSIENT, Row
from pipeline.transcripts import read_transcripts, text_hash


@dataclass(frozen=True)
class Runtime:
    """How a stage runs; nothing of this may change a number or a hash.

    Attributes
    ----------
    workers : processes
    device : `cpu`, `cuda`, `cuda:1`, ...
    timeout_s : seconds one clip may take
    fresh : recompute what is there already
    retry_failed : compute failed clips again
    """

    workers: int = 1
    device: str = "cpu"
    timeout_s: float = 600.0
    fresh: bool = False
    retry_failed: bool = False


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
    clip_id, source = task.clip.clip_id, task.source_sha256
    if encoder.modality != "text" and task.clip.path is None:
        return Row(clip_id, source, FAILED, "missing media: the clip table says which file was looked for")
    try:
        encoded = encoder.encode(task.clip)
    except AbsentError as error:
        return Row(clip_id, source, ABSENT, str(error))
    except ClipError as error:
        return Row(clip_id, source, FAILED, f"{TRANSIENT if error.transient else ''}{error}")
    except MemoryError:
        return Row(clip_id, source, FAILED, f"{TRANSIENT}out of memory")
    except MsaError:
        raise  # the encoder as a whole cannot work
    except Exception as error:  # a library's own: the clip's fault until shown otherwise
        return Row(clip_id, source, FAILED, f"{type(error).__name__}: {error}".splitlines()[0][:300])
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


def media_hash(sha256: str | None, start_s: float | None, end_s: float | None) -> str:
    """`source_sha256` of audio and visual rows: the media's bytes and the part of them that is the clip."""
    return hashlib.sha256(json.dumps([sha256, start_s, end_s]).encode()).hexdigest()


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
    tasks = dataset_tasks(modality, dataset, Path(params.dataset(dataset).root))

    def compute(clip_ids: list[str]) -> Iterator[Row]:
        wanted = [tasks[clip_id] for clip_id in clip_ids]
        for task, row in executor.run(maker, wanted, workers=runtime.workers, timeout_s=runtime.timeout_s):
            if isinstance(row, executor.Lost):
                row = Row(task.clip.clip_id, task.source_sha256, FAILED, f"{TRANSIENT}{row.reason}")
            on_row(row)
            yield row

    store = FeatureStore(layout.feature_folder(dataset, modality, encoder_name))
    return store.update(
        {clip_id: task.source_sha256 for clip_id, task in tasks.items()},
        footer(maker.build()),
        params.shards,
        compute,
        fresh=runtime.fresh,
        retry_failed=runtime.retry_failed,
        on_plan=on_plan,
    )


def dataset_tasks(modality: str, dataset: str, root: Path) -> dict[str, Task]:
    """What an encoder of this modality has to read, by clip id: transcripts for text, else the clip table."""
    if modality == "text":
        rows = read_transcripts(layout.transcript_table(dataset)).to_pylist()
        return {
            row["clip_id"]: Task(
                Clip(row["clip_id"], text=row["text"], language=row["language"]),
                text_hash(row["text"], row["language"], row["words"]),
            )
            for row in rows
        }
    clips: pa.Table = read_clips(layout.clip_table(dataset))
    return {
        row["clip_id"]: Task(
            Clip(
                row["clip_id"],
                path=root / row["path"] if row["path"] else None,
                start_s=row["start_s"],
                end_s=row["end_s"],
            ),
            media_hash(row["sha256"], row["start_s"], row["end_s"]),
        )
        for row in clips.to_pylist()
    }
