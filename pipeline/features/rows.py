"""Clips to feature rows: one clip with a reason for every outcome, one by one or in batches on a GPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from pipeline.core.errors import AbsentError, ClipError, MachineTroubleError, MsaError
from pipeline.core.files import json_hash
from pipeline.core.names import bad_id, id_of
from pipeline.core.vocabulary import ABSENT, FAILED, OK, TRANSIENT
from pipeline.execution import gpu
from pipeline.execution.local import TaskFailure
from pipeline.features.encoder import BatchEncoder, Clip, Encoded, Encoder
from pipeline.params.encoders import EncoderParams, Pretrained
from pipeline.store.shard import FeatureRow

T = TypeVar("T")
log = logging.getLogger("msa.extraction")


@dataclass(frozen=True)
class EncodingTask:
    """One clip to encode, and the hash of what it is made from; `problem`: why that cannot be read."""

    clip: Clip
    source_sha256: str
    problem: str | None = None


def row_maker(build: Callable[[], Encoder]) -> Callable[[EncodingTask], FeatureRow]:
    """What makes rows in a worker, where its encoder is built and loaded."""
    encoder = build()
    encoder.load()
    return partial(encode_row, encoder)


def clip_preparer(build: Callable[[], Encoder]) -> Callable[[EncodingTask], gpu.Prepared | FeatureRow]:
    """What makes clips ready in a worker for a model on a GPU."""
    encoder = build()
    assert isinstance(encoder, BatchEncoder)
    encoder.load_preparer()
    return lambda task: guarded(encoder, task, lambda: encoder.prepare(task.clip))


def rows_in_batches(
    build: Callable[[], Encoder], tasks: list[EncodingTask], *, workers: int, timeout_s: float
) -> Iterator[tuple[EncodingTask, FeatureRow | TaskFailure]]:
    """The row of every clip, in any order, by an encoder that takes several at once.

    MsaError where the encoder as a whole cannot work.
    """
    encoder = build()
    assert isinstance(encoder, BatchEncoder)
    encoder.load()
    prepare, device = partial(clip_preparer, build), encoder.device
    outcomes = gpu.run(prepare, tasks, encoder.infer, device=device, workers=workers, timeout_s=timeout_s)
    for task, outcome in outcomes:
        if isinstance(outcome, ClipError):
            yield task, failed_row(task, outcome)
        elif isinstance(outcome, Encoded):
            yield task, encoded_row(encoder, task, outcome)
        else:
            yield task, outcome


def encode_row(encoder: Encoder, task: EncodingTask) -> FeatureRow:
    """The row of one clip, whatever happens: ok, absent or failed with a reason."""
    began = time.perf_counter()
    outcome = guarded(encoder, task, lambda: encoder.encode(task.clip))
    row = outcome if isinstance(outcome, FeatureRow) else encoded_row(encoder, task, outcome)
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


def guarded(encoder: Encoder, task: EncodingTask, work: Callable[[], T]) -> T | FeatureRow:
    """What `work` gives of a clip, or the clip's row where it is absent or fails.

    MsaError where the encoder as a whole cannot work.
    """
    path = task.clip.path
    name = f"{id_of(path.name)}: " if path is not None else ""
    try:
        if path is not None and (reason := bad_id(path.stem)) is not None:
            raise ClipError(f"{id_of(path.name)}: {reason} (rename the file)")
        if task.problem is not None:
            raise ClipError(task.problem)
        if encoder.needs_media and path is None:
            raise ClipError("missing media: the clip table says which file was looked for")
        if encoder.needs_media and path is not None and not path.exists():
            raise MachineTroubleError(f"{path.name}: no such file; is its folder mounted?")
        return work()
    except ClipError as error:
        return failed_row(task, error)
    except MsaError:
        raise
    except MemoryError:
        reason = f"{TRANSIENT}{name}out of memory"
    except OSError as error:  # a full disk, a lost mount: of damage, pipeline.media makes a ClipError
        reason = f"{TRANSIENT}{name}{error.strerror or error}"
    except Exception as error:  # a library's own: the clip's fault until shown otherwise
        said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        ours = any(word in said for word in ("CUDA", "OutOfMemoryError", "can't allocate memory"))
        reason = f"{TRANSIENT if ours else ''}{said}"
    return FeatureRow(task.clip.clip_id, task.source_sha256, FAILED, reason)


def failed_row(task: EncodingTask, error: ClipError) -> FeatureRow:
    """The row of a clip whose features could not be made."""
    status = ABSENT if isinstance(error, AbsentError) else FAILED
    reason = f"{TRANSIENT if error.transient else ''}{error}"
    return FeatureRow(task.clip.clip_id, task.source_sha256, status, reason)


def encoded_row(encoder: Encoder, task: EncodingTask, encoded: Encoded) -> FeatureRow:
    """The row of what an encoder gave; failed where that is not what it promised."""
    shape = encoded.features.shape
    if len(shape) != 2 or shape[1] != encoder.dim or not shape[0]:
        return failed_row(task, ClipError(f"features of shape {shape}, expected (n, {encoder.dim})"))
    if not np.isfinite(encoded.features).all():
        return failed_row(task, ClipError("features are not finite"))
    arrays = {name: value for name, value in vars(encoded).items() if name != "note"}
    return FeatureRow(task.clip.clip_id, task.source_sha256, OK, encoded.note, **arrays)


def footer(encoder: Encoder) -> dict[str, Any]:
    """What a feature file says of itself."""
    return identity(encoder) | columns(encoder)


def identity(encoder: Encoder) -> dict[str, Any]:
    """The part of the footer that tells whether rows are kept; opens no model."""
    return {**encoder.provenance, "fingerprint": encoder.fingerprint}


def columns(encoder: Encoder) -> dict[str, Any]:
    """The rest of the footer; a model is opened for it.

    Raises
    ------
    MissingModelError, MissingDependencyError
    ParamsError : settings that the model cannot have
    """
    return {
        "dim": encoder.dim,
        "dtype": encoder.dtype,
        "column_names": encoder.column_names,
        "frame_rate": encoder.frame_rate,
    }


def media_hash(
    sha256: str | None, start_s: float | None, end_s: float | None, language: str | None = None
) -> str:
    """`source_sha256` of audio and visual rows: the media's bytes and the part of them that is the clip.

    `language` counts where it chooses the model (`model_by_language`).
    """
    known = [sha256, start_s, end_s] if language is None else [sha256, start_s, end_s, language]
    return json_hash(known)


def model_by_language(params: EncoderParams) -> bool:
    """Whether a clip's language chooses the model of this encoder."""
    return isinstance(params, Pretrained) and isinstance(params.model, dict)
