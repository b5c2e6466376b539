"""A training set as Python objects: its splits as clips with labels, features as methods read them.

The features are those of `data/assembled/SET`: chosen columns, shortened, scaled with the train split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.api.clips import Frames, LoadedClips
from pipeline.core.errors import FormatError, MsaError
from pipeline.core.paths import assembled_folder
from pipeline.core.vocabulary import ABSENT, ALL_SPLITS, OK
from pipeline.datasets.training_set import read_stats

ROWS = 256  # clips that are decoded at once


class LoadedSet(Mapping[str, LoadedClips]):
    """Splits by name: train, valid, test, unlabeled, and where the set has them test_ood and context.

    Attributes
    ----------
    folder : where it lies
    stats : stats.json: task, label_range, class_names, and of each modality columns, mean, sd, provenance ...
    """

    def __init__(self, folder: Path, splits: Mapping[str, LoadedClips], stats: Mapping[str, Any]):
        self.folder = folder
        self.stats = stats
        self._splits = splits

    def __getitem__(self, split: str) -> LoadedClips:
        return self._splits[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(clips)} {name}" for name, clips in self.items() if clips)
        return f"<{self.stats['dataset']}: {counts} clips; {', '.join(self.stats['modalities'])}>"


def load_set(name: str | Path) -> LoadedSet:
    """A training set by its name under `assemble` in params.yaml, or by its folder; in memory.

    Raises
    ------
    MsaError : there is no such set
    FormatError : no training set, or of another version
    """
    folder = set_folder(name)
    stats = read_stats(folder)
    meta = {
        modality: {**entry["provenance"], "column_names": entry["columns"], "dim": entry["dim"]}
        for modality, entry in stats["modalities"].items()
    }
    names = [split for split in ALL_SPLITS if (folder / f"{split}.parquet").exists()]
    splits = {split: _read(folder / f"{split}.parquet", meta) for split in names}
    return LoadedSet(folder, splits, stats)


def set_folder(name: str | Path) -> Path:
    """The folder of a training set that is given by its name or its folder; MsaError where there is none."""
    for folder in (Path(name), assembled_folder(str(name))):
        if (folder / "stats.json").exists():
            return folder
    raise MsaError(
        f"{name}: not a training set, and neither is {assembled_folder(str(name))}; give a name from "
        "`assemble` in params.yaml whose assemble stage has run (dvc repro), or the set's folder"
    )


def _read(path: Path, meta: Mapping[str, Mapping[str, Any]]) -> LoadedClips:
    clips: dict[str, dict[str, Frames]] = {}
    facts: dict[str, dict[str, Any]] = {}
    try:
        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(ROWS):
            others = [name for name in batch.schema.names if name not in meta]
            rows = batch.select(others).to_pylist()
            streams = {name: _sequences(batch.column(name), meta[name]) for name in meta}
            for place, row in enumerate(rows):
                clip_id = row.pop("clip_id")
                facts[clip_id] = row
                clips[clip_id] = {name: found[place] for name, found in streams.items()}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise FormatError(f"{path}: cannot be read ({error}); run the assemble stage again") from error
    return LoadedClips(clips, meta, facts)


def _sequences(column: pa.Array, meta: Mapping[str, Any]) -> list[Frames]:
    """A column of list<fixed_size_list<float32>[D]>; null = the clip has nothing of it."""
    names, dim = tuple(meta["column_names"]), int(meta["dim"])
    values = column.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    lengths = column.value_lengths().fill_null(0).to_numpy()
    ends = np.cumsum(lengths)
    return [
        Frames(values[end - length : end], names, status=OK if there else ABSENT)
        for end, length, there in zip(ends, lengths, column.is_valid().to_pylist(), strict=True)
    ]
