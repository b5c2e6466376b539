"""The assembled set read into memory as a method wants it: sequences, token ids, sound, context, labels.

`data/assembled/<dataset>/` is described in assemble.py. Only the splits that are asked for are opened.

Symbols: C clips of a split, D features, N steps of a split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
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
from pipeline.datasets.splits import Ragged, Split, Streams

STATS_KEYS = ("task", "class_names", "feature_set", "modalities")  # of stats.json, that are read
NO_SOUND = np.zeros(1, np.int16)  # the sample that padding shows


@dataclass
class TrainingSet:
    """An assembled set on the device.

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
        splits = {
            name: _SplitReader(folder, name, dims, stats, reading, device).split()
            for name in (*SPLITS, TEST_OOD)
            if name in only and (name in SPLITS or (folder / f"{name}.parquet").exists())
        }
        return cls(splits, dims, stats)


def read_stats(folder: Path) -> dict[str, Any]:
    """stats.json of an assembled set; FormatError where it is none, or of another format version."""
    return read_described(
        folder / "stats.json", "an assembled set", ASSEMBLED_FORMAT, "run its assemble stage", STATS_KEYS
    )


class _SplitReader:
    """One split of an assembled set, on its way into memory."""

    def __init__(
        self,
        folder: Path,
        name: str,
        dims: dict[str, int],
        stats: dict[str, Any],
        reading: Reading,
        device: str | torch.device,
    ):
        self.path = folder / f"{name}.parquet"
        self.name, self.dims, self.reading, self.device = name, dims, reading, device
        classes = stats.get("task") == "classification"
        self.label_columns = {
            name: column if classes else name for name, column in zip(LABELS, CLASSES, strict=True)
        }
        self.max_steps = {m: int(entry["max_steps"]) for m, entry in stats["modalities"].items()}
        columns = ["clip_id", "transcript", *self.label_columns.values(), *dims]
        columns += ["video_id", "position"] if reading.context else []
        columns += ["token_ids"] if reading.tokenizer is not None and stats.get("token_ids") else []
        self.table = _read(self.path, columns)
        self.own = self.table.num_rows
        before = folder / f"{CONTEXT}.parquet"
        if reading.context and before.exists():
            said = _read(before, columns)
            said = said.filter(pc.is_in(said["video_id"], value_set=pc.unique(self.table["video_id"])))
            self.table = pa.concat_tables([self.table, said.cast(self.table.schema)])
        self.clip_ids: list[str] = self.table["clip_id"].to_pylist()

    def split(self) -> Split:
        """The split's own clips; what was said before them is in their context alone."""
        features = {name: self._features(name, dim) for name, dim in self.dims.items()}
        texts = self._texts() if self.reading.tokenizer is not None else []
        sound = self._sound() if self.reading.waveform else []
        streams = {name: Ragged.of(*found, self.device) for name, found in features.items()}
        if self.reading.tokenizer is not None:
            streams["tokens"] = self._tokens(texts)
        if self.reading.waveform:
            streams["waveform"] = Ragged.of_clips(sound, NO_SOUND, self.device)
        context = self._context(features, texts, sound) if self.reading.context else None
        lengths = torch.stack([part.lengths for part in streams.values()]).sum(dim=0)
        if empty := [self.clip_ids[row] for row in (lengths[: self.own] == 0).nonzero()]:
            needed = ["transcript" if name == "tokens" else name for name in streams]
            raise FormatError(
                f"{self.path}: {len(empty)} clip(s) without any of {', '.join(needed)}: "
                f"{', '.join(empty[:5])}; choose another modality for them in `assemble`, or take them out "
                "of the label file"
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

    def _features(self, name: str, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """list<fixed_size_list<float32>[dim]>, null = not present, as (N + 1, dim) rows and (C,) counts.

        Each value is copied once and is never in a Python list; the last row is for padding.
        """
        column = self.table[name]
        kind = pa.list_(pa.list_(pa.float32(), dim))
        if column.type != kind:
            raise FormatError(
                f"{self.path}: {name} is of type {column.type}, expected {kind}; run the assemble stage again"
            )
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
        parts = [chunk.flatten().flatten().to_numpy(zero_copy_only=True) for chunk in column.chunks]
        return np.concatenate([*parts, np.zeros(dim, np.float32)]).reshape(-1, dim), counts

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

    def _sound(self) -> list[np.ndarray]:
        """The first int16 samples of each clip's sound, none where it has no sound."""
        sound: list[np.ndarray] = []
        for split, clip_ids in ((self.name, self.clip_ids[: self.own]), (CONTEXT, self.clip_ids[self.own :])):
            if split == CONTEXT and not clip_ids:
                continue
            path = self.path.with_name(f"{split}.waveform.parquet")
            table = _read(path, ["clip_id", "waveform"])
            found = table["clip_id"].to_pylist()
            if not set(clip_ids) <= set(found) or (split == self.name and len(found) != self.own):
                raise FormatError(f"{self.path}: {path.name} has other clips; run the assemble stage again")
            clips = (clip for chunk in table["waveform"].chunks for clip in chunk)  # `take` would copy all
            values = {clip_id: clip.values for clip_id, clip in zip(found, clips, strict=True)}
            for clip_id in clip_ids:
                samples = values[clip_id]
                sound.append(NO_SOUND[:0] if samples is None else samples.to_numpy()[: self.reading.waveform])
        return sound

    def _context(
        self,
        features: dict[str, tuple[np.ndarray, np.ndarray]],
        texts: Sequence[str],
        sound: Sequence[np.ndarray],
    ) -> Streams:
        """The `context` utterances before each clip in its video and split, oldest first, end to end."""
        reading, before = self.reading, self._before()

        def joined(rows: Sequence[np.ndarray], limit: int, padding: np.ndarray) -> Ragged:
            clips = ((rows[i] for i in places) for places in before)
            return Ragged.chained(clips, padding, limit, reading.context_keep, self.device)

        streams = {
            name: joined(np.split(flat[:-1], counts.cumsum()[:-1]), self.max_steps[name], flat[-1:])
            for name, (flat, counts) in features.items()
        }
        if reading.tokenizer is not None:
            joint = f" {reading.tokenizer.separator} "
            said = [joint.join(texts[i] for i in places if texts[i].strip()) for places in before]
            streams["tokens"] = self._tokens(said, reading.context_keep)
        if reading.waveform:
            streams["waveform"] = joined(sound, reading.waveform, NO_SOUND)
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


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: cannot be read ({error}); run the assemble stage again") from error
