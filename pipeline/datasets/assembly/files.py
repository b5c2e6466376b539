"""The files of an assembled set, which assemble.py describes: written beside `out`, then renamed as a whole.

Symbols: D columns of a modality.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.files import replaced_folder, write_json
from pipeline.core.vocabulary import ALL_SPLITS, SPLITS
from pipeline.datasets.assembly.gathered import GatheredSequences
from pipeline.datasets.assembly.sequences import scale

ROW_GROUP = 256  # clips; 23 MB of 50 steps of 384 + 33 + 40 columns
ROW_GROUP_BYTES = 128 << 20  # at most, of clips with all steps that they may have
ROW_GROUP_SAMPLES = 8 << 20  # of waveforms; 16 MB, 9 minutes
WAVEFORM = "waveform"
WAVEFORM_KEY = b"msa.waveform"
COMPRESSION: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "write_statistics": ["clip_id"],
}


def write_set(
    table: pa.Table,
    sequences: Mapping[str, GatheredSequences],
    sound: GatheredSequences | None,
    stats: dict[str, Any],
    out: Path,
) -> None:
    """All files of a set, at once or not at all, a row group of clips in memory.

    Parameters
    ----------
    table : the clips, sorted by split (as in ALL_SPLITS) and clip id
    sequences : of each modality in `stats`, which are scaled as it says
    sound : waveforms; None = no waveform is chosen
    """
    splits = table["split"].to_pylist()
    with replaced_folder(out) as folder:
        start = 0
        for split in splits_of(splits):
            part = table.slice(start, splits.count(split))
            start += len(part)
            _write_split(part, sequences, stats["modalities"], folder / f"{split}.parquet")
            if sound is not None:
                path = folder / f"{split}.{WAVEFORM}.parquet"
                _write_waveforms(part["clip_id"].to_pylist(), sound, stats[WAVEFORM], path)
        write_json(stats, folder / "stats.json", sort_keys=False)


def splits_of(splits: Collection[str]) -> list[str]:
    """The splits that have a file: those of every set, and the others that this one has."""
    return [split for split in ALL_SPLITS if split in SPLITS or split in splits]


def _write_split(
    table: pa.Table,
    sequences: Mapping[str, GatheredSequences],
    entries: dict[str, dict[str, Any]],
    path: Path,
) -> None:
    most = sum(4 * entries[modality]["dim"] * entries[modality]["max_steps"] for modality in sequences)
    size = min(max(ROW_GROUP_BYTES // most, 1), ROW_GROUP)
    encoding = {f"{modality}.list.element.list.element": "BYTE_STREAM_SPLIT" for modality in sequences}
    schema = _with_sequences(table.slice(0, 0), sequences, entries).schema
    with pq.ParquetWriter(path, schema, column_encoding=encoding, **COMPRESSION) as writer:
        for start in range(0, max(len(table), 1), size):  # a split without clips has one empty row group
            writer.write_table(_with_sequences(table.slice(start, size), sequences, entries))


def _with_sequences(
    table: pa.Table, sequences: Mapping[str, GatheredSequences], entries: dict[str, dict[str, Any]]
) -> pa.Table:
    """Clips with `<m>`, list<fixed_size_list<float32>[D]>, null where not present, and `<m>_present`."""
    clip_ids = table["clip_id"].to_pylist()
    for modality, found in sequences.items():
        values, real, offsets = found.read(clip_ids)
        scale(values, real, entries[modality])
        present = np.array([clip_id in found for clip_id in clip_ids], np.bool_)
        lists = pa.ListArray.from_arrays(
            pa.array(offsets.astype(np.int32)),
            pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]),
            mask=pa.array(~present),
        )
        table = table.append_column(modality, lists)
        table = table.append_column(f"{modality}_present", pa.array(present))
    return table


def _write_waveforms(
    clip_ids: list[str], sound: GatheredSequences, entry: dict[str, Any], path: Path
) -> None:
    """clip_id and waveform (list<int16>, null where there is no sound); `entry` is for the footer."""
    metadata = {WAVEFORM_KEY: json.dumps(entry, sort_keys=True).encode()}
    schema = pa.schema([("clip_id", pa.string()), (WAVEFORM, pa.list_(pa.int16()))], metadata=metadata)
    encoding = {f"{WAVEFORM}.list.element": "BYTE_STREAM_SPLIT"}
    with pq.ParquetWriter(path, schema, column_encoding=encoding, **COMPRESSION) as writer:
        blocks: list[np.ndarray | None] = []
        first = samples = 0
        for number, clip_id in enumerate(clip_ids, 1):
            blocks.append(sound.read([clip_id])[0].reshape(-1) if clip_id in sound else None)
            samples += 0 if blocks[-1] is None else len(blocks[-1])
            if samples >= ROW_GROUP_SAMPLES or number == len(clip_ids):
                group = [pa.array(clip_ids[first:number]), pa.array(blocks, schema.field(WAVEFORM).type)]
                writer.write_table(pa.table(group, schema=schema))
                blocks, first, samples = [], number, 0
