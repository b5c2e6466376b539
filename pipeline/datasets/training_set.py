"""The assembled set read as a method wants it: sequences, token ids, sound, context, labels.

`data/assembled/<dataset>/` is described in assemble.py. Only the splits that are asked for are opened. Up to
IN_MEMORY bytes in all, sequences and sound are in memory; of a larger set they are decoded once, a row group
at a time, into files without a name beside it, and a batch reads its clips there. Batches are the same.

Symbols: C clips of a split, D features, N steps of a split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from models.core.batch import Reading
from pipeline.core.errors import FormatError
from pipeline.core.files import read_described
from pipeline.core.vocabulary import ASSEMBLED_FORMAT, CLASSES, CONTEXT, LABELS, SPLITS, TEST_OOD, UNLABELED
from pipeline.datasets.rows import RowCollector
from pipeline.datasets.splits import Ragged, Split, Stream, Streams

STATS_KEYS = ("task", "class_names", "feature_set", "modalities")  # of stats.json, that are read
NO_SOUND = np.zeros(1, np.int16)  # the sample that padding shows
IN_MEMORY = 1 << 30  # bytes of sequences and sound that a process holds
ROWS = 256  # clips that are decoded at once


@dataclass
class TrainingSet:
    """An assembled set.

    Attributes
    ----------
    splits : those that were read, of train, valid, test, unlabeled, and test_ood where the set has it
    dims : width of each modality whose features were read
    """

    splits: dict[str, Split]
    dims: dict[str, int]
    stats: dict[str, Any]

    @classmethod
    def load(
        cls,
        folder: Path,
        reading: Reading | None = None,
        device: str | torch.device = "cpu",
        only: Collection[str] = SPLITS,
    ) -> TrainingSet:
        """Read splits of `data/assembled/<dataset>`, and what `reading` names beside the feature sequences.

        FormatError where it is no assembled set, of another format version, without a waveform that is asked
        for, or with a clip that has nothing of what is read.
        """
        reading = reading or Reading()
        stats = read_stats(folder)
        if reading.waveform and "waveform" not in stats:
            raise FormatError(
                f"{folder}: has no waveform, which the method reads; name a folder of waveform16k features "
                "under assemble.<dataset>.waveform in params.yaml, or set the method's audio to frozen"
            )
        dims = {
            name: int(entry["dim"])
            for name, entry in stats["modalities"].items()
            if name not in reading.replaced and (reading.modalities is None or name in reading.modalities)
        }
        names = [
            name
            for name in (*SPLITS, TEST_OOD)
            if name in only and (name in SPLITS or (folder / f"{name}.parquet").exists())
        ]
        on_disk = folder.parent if _bytes(folder, names, dims, reading) > IN_MEMORY else None
        readers = (_SplitReader(folder, name, dims, stats, reading, device, on_disk) for name in names)
        return cls({reader.name: reader.split() for reader in readers}, dims, stats)


def read_stats(folder: Path) -> dict[str, Any]:
    """stats.json of an assembled set; FormatError where it is none, or of another format version."""
    return read_described(
        folder / "stats.json", "an assembled set", ASSEMBLED_FORMAT, "run its assemble stage", STATS_KEYS
    )


class _SplitReader:
    """One split of an assembled set; `on_disk` is the folder where its rows are put, None = into memory."""

    def __init__(
        self,
        folder: Path,
        name: str,
        dims: dict[str, int],
        stats: dict[str, Any],
        reading: Reading,
        device: str | torch.device,
        on_disk: Path | None,
    ):
        self.path = folder / f"{name}.parquet"
        self.name, self.dims, self.reading, self.device, self.on_disk = name, dims, reading, device, on_disk
        classes = stats.get("task") == "classification"
        self.label_columns = {
            name: column if classes else name for name, column in zip(LABELS, CLASSES, strict=True)
        }
        self.max_steps = {m: int(entry["max_steps"]) for m, entry in stats["modalities"].items()}
        columns = ["clip_id", "transcript", *self.label_columns.values()]
        columns += ["video_id", "position"] if reading.context else []
        columns += ["token_ids"] if reading.tokenizer is not None and stats.get("token_ids") else []
        self.table = _read(self.path, columns)
        self.own = self.table.num_rows
        self.files: dict[Path, pa.Array | None] = {self.path: None}  # and which of its rows; None = all
        before = folder / f"{CONTEXT}.parquet"
        if reading.context and before.exists():
            said = _read(before, columns)
            chosen = pc.is_in(said["video_id"], value_set=pc.unique(self.table["video_id"])).combine_chunks()
            self.table = pa.concat_tables([self.table, said.filter(chosen).cast(self.table.schema)])
            self.files[before] = chosen
        self.clip_ids: list[str] = self.table["clip_id"].to_pylist()

    def split(self) -> Split:
        """The split's own clips; what was said before them is in their context alone."""
        rows = {name: self._features(name, dim) for name, dim in self.dims.items()}
        texts = self._texts() if self.reading.tokenizer is not None else []
        before = dict(rows)  # of which the context is made
        if self.reading.waveform:
            rows["waveform"], before["waveform"] = self._sound()
        streams: dict[str, Stream] = {name: found.ragged() for name, found in rows.items()}
        if self.reading.tokenizer is not None:
            streams["tokens"] = self._tokens(texts)
        context = self._context(before, texts) if self.reading.context else None
        nothing = torch.zeros(len(self.clip_ids), dtype=torch.int64)  # where no modality is read
        lengths = torch.stack([nothing, *(part.lengths for part in streams.values())]).sum(dim=0)
        empty = [self.clip_ids[row] for row in (lengths[: self.own] == 0).nonzero()]
        if empty and not self.reading.absent:
            needed = ["transcript" if name == "tokens" else name for name in streams]
            raise FormatError(
                f"{self.path}: {len(empty)} clip(s) without any of {', '.join(needed)}: "
                f"{', '.join(empty[:5])}; choose another modality for them in `assemble`, or remove them "
                "from the label file"
            )
        labels = {name: self._label(column) for name, column in self.label_columns.items()}
        labeled = torch.full((len(self.clip_ids),), self.name != UNLABELED, device=self.device)
        whole = Split(self.clip_ids, streams, context, labels, labeled, lengths)
        return whole if self.own == len(whole) else whole.take(torch.arange(self.own))

    def _label(self, column: str) -> torch.Tensor:
        values = self.table[column].to_numpy().astype(np.float32)  # null becomes NaN
        if self.name == UNLABELED:  # a corpus may have labels there; nothing may see them
            values = np.full_like(values, np.nan)
        return torch.from_numpy(values).to(self.device)

    def _features(self, name: str, dim: int) -> RowCollector:
        """Rows of list<fixed_size_list<float32>[dim]>, null = not present; never in a Python list."""
        rows = RowCollector(np.zeros((1, dim), np.float32), self.on_disk, self.device)
        kind = pa.list_(pa.list_(pa.float32(), dim))
        for path, chosen in self.files.items():
            for column in _columns(path, name, chosen):
                if column.type != kind:
                    raise FormatError(
                        f"{path}: {name} is of type {column.type}, expected {kind}; run the assemble stage "
                        "again"
                    )
                values = column.flatten().flatten().to_numpy(zero_copy_only=True).reshape(-1, dim)
                rows.add(values, pc.fill_null(pc.list_value_length(column), 0).to_pylist())
        return rows

    def _texts(self) -> list[str]:
        """What is said in each clip; where only token ids are known, what they stand for."""
        assert self.reading.tokenizer is not None
        texts = [text or "" for text in self.table["transcript"].to_pylist()]
        if "token_ids" in self.table.column_names:
            for row, ids in enumerate(self.table["token_ids"].to_pylist()):
                if ids and not texts[row]:
                    texts[row] = self.reading.tokenizer.decode(np.asarray(ids))
        return [in_sentence_case(text) for text in texts] if self.reading.sentence_case else texts

    def _tokens(self, texts: Sequence[str], keep: Literal["first", "last"] = "first") -> Ragged:
        """Token ids of the texts; no token at all where there is none."""
        tokenizer = self.reading.tokenizer
        assert tokenizer is not None
        said = [text for text in texts if text.strip()]
        ids = iter(tokenizer.encode(said, self.reading.max_tokens, keep) if said else [])
        nothing = np.zeros(0, np.int64)
        rows = [next(ids) if text.strip() else nothing for text in texts]
        return Ragged.of_clips(rows, np.array([tokenizer.pad_id], np.int64), self.device)

    def _sound(self) -> tuple[RowCollector, RowCollector]:
        """int16 samples of each clip, none where it has no sound: its first, and what its context may keep.

        The end of what was said before a clip lies in the last samples of the utterances, not in their first.
        """
        limit, ends = self.reading.waveform, self.reading.context and self.reading.context_keep == "last"
        first = RowCollector(NO_SOUND, self.on_disk, self.device)
        last = RowCollector(NO_SOUND, self.on_disk, self.device) if ends else first
        for path, chosen in self.files.items():
            sound = path.with_name(f"{path.stem}.waveform.parquet")
            if not _read(sound, ["clip_id"]).equals(_read(path, ["clip_id"])):
                raise FormatError(f"{path}: {sound.name} has other clips; run the assemble stage again")
            for column in _columns(sound, "waveform", chosen):
                for clip in column:
                    samples = NO_SOUND[:0] if clip.values is None else clip.values.to_numpy()
                    kept = min(len(samples), limit)
                    first.add(samples[:kept].copy(), [kept])  # the rest of the sound can go
                    if ends:
                        last.add(samples[len(samples) - kept :].copy(), [kept])
        return first, last

    def _context(self, rows: Mapping[str, RowCollector], texts: Sequence[str]) -> Streams:
        """The `context` utterances before each clip in its video and split, oldest first, end to end."""
        reading, before = self.reading, self._before()
        limits = {**self.max_steps, "waveform": reading.waveform}
        streams: dict[str, Stream] = {
            name: found.chained(before, limits[name], reading.context_keep) for name, found in rows.items()
        }
        if reading.tokenizer is not None:
            joint = f" {reading.tokenizer.separator} "
            said = [joint.join(texts[i] for i in places if texts[i].strip()) for places in before]
            streams["tokens"] = self._tokens(said, reading.context_keep)
        return streams

    def _before(self) -> list[list[int]]:
        """Row numbers of the utterances before each clip, oldest first."""
        videos: dict[str, list[tuple[int, int]]] = defaultdict(list)
        columns = (self.table[name].to_pylist() for name in ("video_id", "position"))
        for row, (video, position) in enumerate(zip(*columns, strict=True)):
            videos[video].append((position, row))
        before: list[list[int]] = [[] for _ in self.clip_ids]
        for members in videos.values():
            order = [row for _, row in sorted(members)]
            for place, row in enumerate(order):
                before[row] = order[max(place - self.reading.context, 0) : place]
        return before


def in_sentence_case(text: str) -> str:
    """The text with all but its first letter in lower case."""
    return text[:1].upper() + text[1:].lower()


def _bytes(folder: Path, splits: Collection[str], dims: Collection[str], reading: Reading) -> int:
    """About what the sequences and the sound of some splits take in memory."""
    names = [*splits, *([CONTEXT] if reading.context and (folder / f"{CONTEXT}.parquet").exists() else [])]
    found = sum(_size(folder / f"{name}.parquet", dims) for name in names)
    if reading.waveform:
        found += sum(
            _size(folder / f"{name}.waveform.parquet", ["waveform"], reading.waveform) for name in names
        )
    return found * (2 if reading.context else 1)  # each utterance is in the context of others, too


def _size(path: Path, columns: Collection[str], samples: int = 0) -> int:
    """Raw bytes of some columns of a file; of sound no more than so many samples a clip."""
    with _readable(path):
        metadata = pq.read_metadata(path)
    found = sum(
        chunk.total_uncompressed_size
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema.partition(".")[0] in columns
    )
    return min(found, metadata.num_rows * samples * NO_SOUND.itemsize) if samples else found


def _columns(path: Path, name: str, chosen: pa.Array | None) -> Iterator[pa.Array]:
    """A column of a file (or the chosen rows of it) piece by piece."""
    at = 0
    with _readable(path):
        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(ROWS, columns=[name]):
            column = batch.column(name)
            yield column if chosen is None else column.filter(chosen[at : at + len(column)])
            at += len(column)


def _read(path: Path, columns: list[str]) -> pa.Table:
    with _readable(path):
        return pq.read_table(path, columns=columns)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """FormatError where a file of the set cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: cannot be read ({error}); run the assemble stage again") from error
