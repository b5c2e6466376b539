"""The files of an assembled set, which assemble.py describes: written beside `out`, then renamed as a whole.

Symbols: D columns of a modality, N steps of all clips, C clips.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.files import replaced_folder, write_json
from pipeline.core.vocabulary import ALL_SPLITS, OK, SPLITS
from pipeline.store.shard import FeatureRow

ROW_GROUP = 256  # clips; 23 MB of 50 steps of 384 + 33 + 40 columns
ROW_GROUP_SAMPLES = 8 << 20  # of waveforms; 16 MB, 9 minutes
WAVEFORM_KEY = b"msa.waveform"
COMPRESSION: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "write_statistics": ["clip_id"],
}


@dataclass
class Joined:
    """One modality of all kept clips, end to end.

    Attributes
    ----------
    values : (N, D) float32
    real : (N,) bool, False for a frame without success
    offsets : (C + 1,) int64, the steps of clip i are offsets[i] to offsets[i + 1]
    present : (C,) bool
    """

    values: np.ndarray
    real: np.ndarray
    offsets: np.ndarray
    present: np.ndarray


def write_set(
    table: pa.Table,
    joined: dict[str, Joined],
    sound: Iterator[FeatureRow] | None,
    stats: dict[str, Any],
    out: Path,
) -> None:
    """All files of a set, at once or not at all.

    The rows of `table` and their modalities are sorted by split (as in ALL_SPLITS) and clip id. `sound` is
    waveforms by clip id, read as they are written; None = no waveform is chosen.
    """
    splits = table["split"].to_pylist()
    with replaced_folder(out) as folder:
        start = 0
        for split in splits_of(splits):
            stop = start + splits.count(split)
            part = table.slice(start, stop - start)
            for modality, sequences in joined.items():
                part = part.append_column(modality, _lists(sequences, start, stop))
                part = part.append_column(f"{modality}_present", pa.array(sequences.present[start:stop]))
            pq.write_table(
                part,
                folder / f"{split}.parquet",
                row_group_size=ROW_GROUP,
                column_encoding={
                    f"{modality}.list.element.list.element": "BYTE_STREAM_SPLIT" for modality in joined
                },
                **COMPRESSION,
            )
            start = stop
        if sound is not None:
            split_of = dict(zip(table["clip_id"].to_pylist(), splits, strict=True))
            _write_waveforms(sound, split_of, stats["waveform"], folder)
        write_json(stats, folder / "stats.json", sort_keys=False)


def splits_of(splits: Collection[str]) -> list[str]:
    """The splits that have a file: those of every set, and the others that this one has."""
    return [split for split in ALL_SPLITS if split in SPLITS or split in splits]


def _lists(sequences: Joined, start: int, stop: int) -> pa.Array:
    """Clips start to stop as list<fixed_size_list<float32>[D]>, without a copy; null where not present."""
    offsets = sequences.offsets[start : stop + 1]
    flat = pa.array(sequences.values[offsets[0] : offsets[-1]].reshape(-1))
    return pa.ListArray.from_arrays(
        pa.array((offsets - offsets[0]).astype(np.int32)),
        pa.FixedSizeListArray.from_arrays(flat, sequences.values.shape[1]),
        mask=pa.array(~sequences.present[start:stop]),
    )


def _write_waveforms(
    sound: Iterator[FeatureRow], split_of: dict[str, str], entry: dict[str, Any], folder: Path
) -> None:
    """`{split}.waveform.parquet`, in one pass over the sound: hours of it would not fit into memory.

    `sound` are rows sorted by clip id, those of no split are passed over; `entry` is for the footer.
    """
    files = {
        split: _WaveformFile(folder / f"{split}.waveform.parquet", entry)
        for split in splits_of(split_of.values())
    }
    row = next(sound, None)
    for clip_id in sorted(split_of):  # which is the order within each split, too
        while row is not None and row.clip_id < clip_id:
            row = next(sound, None)
        found = row is not None and row.clip_id == clip_id and row.status == OK
        files[split_of[clip_id]].add(clip_id, row.features if row is not None and found else None)
    for file in files.values():
        file.close()


class _WaveformFile:
    """clip_id and waveform (list<int16>, null where there is no sound), written row group by row group."""

    def __init__(self, path: Path, entry: dict[str, Any]):
        metadata = {WAVEFORM_KEY: json.dumps(entry, sort_keys=True).encode()}
        columns = [("clip_id", pa.string()), ("waveform", pa.list_(pa.int16()))]
        self.schema = pa.schema(columns, metadata=metadata)
        encoding = {"waveform.list.element": "BYTE_STREAM_SPLIT"}
        self.writer = pq.ParquetWriter(path, self.schema, column_encoding=encoding, **COMPRESSION)
        self.clip_ids: list[str] = []
        self.blocks: list[np.ndarray | None] = []
        self.samples = 0

    def add(self, clip_id: str, samples: np.ndarray | None) -> None:
        """A clip's (n, 1) samples, or none; they are copied, so that the rows around them can go."""
        self.clip_ids.append(clip_id)
        self.blocks.append(None if samples is None else samples.reshape(-1).copy())
        self.samples += 0 if samples is None else len(samples)
        if self.samples >= ROW_GROUP_SAMPLES:
            self._flush()

    def close(self) -> None:
        if self.clip_ids:
            self._flush()
        self.writer.close()

    def _flush(self) -> None:
        waveforms = pa.array(self.blocks, self.schema.field("waveform").type)
        self.writer.write_table(pa.table([pa.array(self.clip_ids), waveforms], schema=self.schema))
        self.clip_ids, self.blocks, self.samples = [], [], 0
