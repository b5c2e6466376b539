"""CMU-MOSI without its videos -> data/clips/mosi.parquet and data/features/mosi/audio-bclstm73.

Reads two files of the folder that `datasets.mosi.root` of params.yaml names:

    label.csv               ids, transcripts, labels and the standard split (`mode`); MMSA's columns
    bclstm_utterance.npz    `id` (n,) and `audio` (n, 73) float32: one vector a clip

The file's other arrays are not read: its text and visual vectors were trained on another split (bc-LSTM's),
whose training clips are partly the test clips of this one.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import layout
from pipeline.checkpoint import file_hash
from pipeline.clips import OK, ClipFacts, clip_table, write_clips
from pipeline.corpora.label_csv import LabelRow, read_labels, shortened
from pipeline.errors import FormatError, LabelFileError, MsaError
from pipeline.extraction import media_hash
from pipeline.features import FeatureStore, Update
from pipeline.params import DatasetParams, load_params
from pipeline.shards import ABSENT, Row
from pipeline.shards import OK as ENCODED

DATASET, ENCODER, DIM = "mosi", "bclstm73", 73
VECTORS, ARRAY = "bclstm_utterance.npz", "audio"
STANDARD_SPLIT = {"train": 1284, "valid": 229, "test": 686}
CODE_VERSION = 1  # raise it when the same files would give other features


def read_mosi(dataset: DatasetParams) -> list[LabelRow]:
    """The rows of label.csv; labels are the numbers that stand there, not rounded to any grid.

    Raises
    ------
    LabelFileError : label.csv cannot be used, or has other clips than the standard split
    """
    labels = read_labels(Path(dataset.root), dataset.label_range, f"datasets.{DATASET}")
    if labels.problems:
        raise LabelFileError(str(labels.path), shortened(labels.problems))
    found = Counter(row.split for row in labels.rows)
    if found != STANDARD_SPLIT:
        message = (
            f"clips by mode: {_listed(found)}; expected CMU-MOSI's standard split, {_listed(STANDARD_SPLIT)}"
        )
        raise LabelFileError(str(labels.path), [message])
    return labels.rows


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """Clip id -> (1, 73) float32.

    Raises
    ------
    FormatError : no such file, or not the vectors that are meant
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            ids, audio = archive["id"], archive[ARRAY]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path}: cannot be read ({error}); expected an .npz file with the arrays `id` and `{ARRAY}`. "
            f"datasets.{DATASET}.root in params.yaml says where it lies"
        ) from error
    if audio.shape != (len(ids), DIM) or audio.dtype != np.float32 or not np.isfinite(audio).all():
        raise FormatError(
            f"{path}: `{ARRAY}` is {audio.dtype} of shape {audio.shape}; expected finite float32 of shape "
            f"({len(ids)}, {DIM}), one vector a clip"
        )
    vectors = dict(zip(ids.tolist(), audio[:, None], strict=True))
    if len(vectors) < len(ids):
        raise FormatError(f"{path}: {len(ids) - len(vectors)} ids occur twice; expected one vector a clip")
    return vectors


def footer(source_sha256: str) -> dict[str, Any]:
    """What the feature files say of themselves; how the vectors were computed is not known."""
    identity = {
        "modality": "audio",
        "params": {"file": VECTORS, "array": ARRAY, "sha256": source_sha256},
        "model": "none: imported",
        "code_version": CODE_VERSION,
    }
    return {
        **identity,
        "encoder": ENCODER,
        "fingerprint": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        "dim": DIM,
        "dtype": "float32",
        "column_names": [f"{ENCODER}_{column:02d}" for column in range(DIM)],
        "frame_rate": None,
    }


def import_mosi(dataset: DatasetParams, shards: int) -> Update:
    """Write the clip table and the audio features into the current folder's data/.

    Raises
    ------
    LabelFileError, FormatError : see `read_mosi` and `read_vectors`; or vectors of unknown clips
    """
    rows = read_mosi(dataset)
    path = Path(dataset.root) / VECTORS
    vectors = read_vectors(path)
    unknown = sorted(vectors.keys() - {row.id for row in rows})
    if unknown:
        raise FormatError(
            f"{path}: {len(unknown)} of {len(vectors)} ids are not in label.csv, e.g. {unknown[0]!r}; "
            "expected ids of the form video_id$_$clip_id"
        )
    clips = clip_table(
        {
            "clip_id": row.id,
            "video_id": row.video_id,
            "split": row.split,
            "text": row.text or None,
            "language": dataset.language,
            "status": OK,
            **row.labels,
        }
        for row in rows
    )
    # no media, so no root: where label.csv lies is one machine's business
    write_clips(clips, layout.clip_table(DATASET), replace(ClipFacts.of(DATASET, dataset), root=None))

    sha256 = file_hash(path)
    source = media_hash(sha256, None, None)

    def compute(clip_ids: list[str]) -> Iterator[Row]:
        for clip_id in clip_ids:
            vector = vectors.get(clip_id)
            if vector is None:
                yield Row(clip_id, source, ABSENT, f"{VECTORS} has no vector of this clip")
            else:
                yield Row(clip_id, source, ENCODED, features=vector)

    store = FeatureStore(layout.feature_folder(DATASET, "audio", ENCODER))
    return store.update({row.id: source for row in rows}, footer(sha256), shards, compute)


def main() -> None:
    try:
        params = load_params()
        update = import_mosi(params.dataset(DATASET), params.shards)
    except MsaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(update.status.items()))
    print(f"{DATASET}: {update.total} clips; audio {ENCODER}: {counts}")


if __name__ == "__main__":
    main()
