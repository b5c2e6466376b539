"""The assembled set read into memory as a method wants it: sequences, token ids, sound, context, labels.

`data/assembled/<dataset>/` is described in assemble.py. Only the splits that are asked for are opened.

Symbols: C clips of a split, D features, N steps of a split.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from models.core.batch import LABELS, Reading
from pipeline.core.errors import FormatError
from pipeline.datasets.splits import Ragged, Split, Streams

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1  # of the assembled set
SPLITS = ("train", "valid", "test", "unlabeled")  # of every set
UNLABELED, TEST_OOD, CONTEXT = "unlabeled", "test_ood", "context"  # the last two are files of some sets
CLASSES = {name: name.replace("label", "class") if name != "label" else "class_label" for name in LABELS}


@dataclass
class TrainingSet:
    """An assembled set on the device.

    Attributes
    ----------
    splits : those that were read, of train, valid, test, unlabeled, and test_ood where the set has it
    dims : features of each modality whose features were read
    stats : stats.json
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
        """Read `data/assembled/<dataset>`.

        Parameters
        ----------
        reading : what beside the feature sequences is read; None = nothing
        only : splits to read; the files of the others are not opened

        Raises
        ------
        FormatError : not an assembled set, of another format version, without a waveform that is asked for,
            or with a clip that has nothing of what is read
        """
        reading = reading or Reading()
        stats = read_stats(folder)
        if reading.waveform and "waveform" not in stats:
            raise FormatError(
                f"{folder}: has no waveform, which the method reads; name a folder of waveform16k features "
                "under assemble.<dataset>.waveform in params.yaml, or set the method's audio to frozen"
            )
        replaced = {"text"} if reading.tokenizer is not None else set()
        if reading.waveform:
            replaced.add("audio")
        dims = {
            name: int(entry["dim"])
            for name, entry in stats["modalities"].items()
            if name not in replaced and (reading.modalities is None or name in reading.modalities)
        }
        splits = {
            name: _SplitReader(folder, name, dims, stats, reading, device).split()
            for name in (*SPLITS, TEST_OOD)
            if name in only and (name in SPLITS or (folder / f"{name}.parquet").exists())
        }
        return cls(splits, dims, stats)


def read_stats(folder: Path) -> dict[str, Any]:
    """stats.json of an assembled set; FormatError where it is none, or of another format version."""
    path = folder / "stats.json"
    try:
        stats: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = stats["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{folder}: not an assembled set ({path.name}: {error}); run its assemble stage"
        ) from error
    if version != FORMAT:
        raise FormatError(
            f"{folder}: assembled set of format {version}, this version reads {FORMAT}; "
            "run its assemble stage again"
        )
    return stats


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
        self.label_columns = {name: CLASSES[name] if classes else name for name in LABELS}
        self.max_steps = {m: int(entry["max_steps"]) for m, entry in stats["modalities"].items()}
        columns = ["clip_id", "transcript", *self.label_columns.values(), *dims]
        columns += ["video_id", "position"] if reading.context else []
        columns += ["token_ids"] if reading.tokenizer is not None and stats.get("token_ids") else []
        self.table = _read(self.path, columns)
        self.own = self.table.num_rows
        spoken_before = folder / f"{CONTEXT}.parquet"
        if reading.context and spoken_before.exists():
            self.table = _with_context(self.table, _read(spoken_before, columns))
        self.clip_ids: list[str] = self.table["clip_id"].to_pylist()

    def split(self) -> Split:
        """The split's own clips; what was said before them is in their context alone."""
        whole = self._all()
        return whole if self.own == len(whole) else whole.take(torch.arange(self.own))

    def _all(self) -> Split:
        rows = {name: self._rows(name, dim) for name, dim in self.dims.items()}
        texts = self._texts()
        if self.reading.sentence_case:
            texts = [text[:1].upper() + text[1:].lower() for text in texts]
        sound = self._sound() if self.reading.waveform else None
        streams = Streams(
            {name: Ragged.of(*found, self.device) for name, found in rows.items()},
            self._tokens(texts),
            None if sound is None else Ragged.of(*sound, self.device),
        )
        context = self._context(rows, texts, sound) if self.reading.context else None
        lengths = torch.stack([part.lengths for part in streams.all()]).sum(dim=0)
        self._refuse_empty(lengths)
        labels = {name: self._label(column) for name, column in self.label_columns.items()}
        labeled = torch.full((len(self.clip_ids),), self.name != UNLABELED, device=self.device)
        return Split(self.clip_ids, streams, context, labels, labeled, lengths)

    def _label(self, column: str) -> torch.Tensor:
        values = self.table[column].to_numpy().astype(np.float32)  # null becomes NaN
        if self.name == UNLABELED:  # a corpus may have labels there; nothing may see them
            values = np.full_like(values, np.nan)
        return torch.from_numpy(values).to(self.device)

    def _refuse_empty(self, lengths: torch.Tensor) -> None:
        own = zip(self.clip_ids[: self.own], lengths[: self.own].tolist(), strict=True)
        empty = [name for name, length in own if length == 0]
        if empty:
            needed = [*self.dims]
            needed += ["transcript"] if self.reading.tokenizer is not None else []
            needed += ["waveform"] if self.reading.waveform else []
            raise FormatError(
                f"{self.path}: {len(empty)} clip(s) without any of {', '.join(needed)}: "
                f"{', '.join(empty[:5])}; choose another modality for them in `assemble`, or take them out "
                "of the label file"
            )

    # ------------------------------------------------------------------------------------------ features
    def _rows(self, name: str, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """list<fixed_size_list<float32>[dim]>, null = not present, as (N + 1, dim) rows and (C,) counts.

        Each value is copied once and is never in a Python list; the last row is for padding.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.table[name]
        kind = pa.list_(pa.list_(pa.float32(), dim))
        if column.type != kind:
            raise FormatError(
                f"{self.path}: {name} is of type {column.type}, expected {kind}; run the assemble stage again"
            )
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
        parts = [chunk.flatten().flatten().to_numpy(zero_copy_only=True) for chunk in column.chunks]
        return np.concatenate([*parts, np.zeros(dim, np.float32)]).reshape(-1, dim), counts

    # -------------------------------------------------------------------------------------------- tokens
    def _texts(self) -> list[str]:
        """What is said in each clip; where only token ids are known, what they stand for."""
        texts = [text or "" for text in self.table["transcript"].to_pylist()]
        if "token_ids" in self.table.column_names and self.reading.tokenizer is not None:
            for row, ids in enumerate(self.table["token_ids"].to_pylist()):
                if ids and not texts[row]:
                    texts[row] = self.reading.tokenizer.decode(np.asarray(ids))
        return texts

    def _tokens(self, texts: Sequence[str], keep: Literal["first", "last"] = "first") -> Ragged | None:
        """Token ids of the texts; no token at all where there is none."""
        tokenizer = self.reading.tokenizer
        if tokenizer is None:
            return None
        spoken = [i for i, text in enumerate(texts) if text.strip()]
        ids = tokenizer.encode([texts[i] for i in spoken], self.reading.max_tokens, keep) if spoken else []
        counts = np.zeros(len(texts), np.int64)
        counts[spoken] = [len(row) for row in ids]
        flat = np.concatenate([*ids, [tokenizer.pad_id]]).astype(np.int64)
        return Ragged.of(flat, counts, self.device)

    # --------------------------------------------------------------------------------------------- sound
    def _sound(self) -> tuple[np.ndarray, np.ndarray]:
        """The first samples of each clip's sound: (N + 1,) int16 and (C,) counts, 0 = no sound."""
        parts = self._samples(self.name, self.clip_ids[: self.own])
        if len(self.clip_ids) > self.own:
            parts += self._samples(CONTEXT, self.clip_ids[self.own :])
        counts = np.array([len(part) for part in parts], np.int64)
        return np.concatenate([*parts, np.zeros(1, np.int16)]), counts

    def _samples(self, split: str, clip_ids: list[str]) -> list[np.ndarray]:
        """The sound of these clips of a split's file."""
        path = self.path.with_name(f"{split}.waveform.parquet")
        table = _read(path, ["clip_id", "waveform"])
        found = table["clip_id"].to_pylist()
        if not set(clip_ids) <= set(found) or (split == self.name and len(found) != self.own):
            raise FormatError(f"{self.path}: {path.name} has other clips; run the assemble stage again")
        clips = (clip for chunk in table["waveform"].chunks for clip in chunk)  # `take` would copy them all
        sound = {
            clip_id: _samples(clip)[: self.reading.waveform] if clip.is_valid else np.zeros(0, np.int16)
            for clip_id, clip in zip(found, clips, strict=True)
        }
        return [sound[clip_id] for clip_id in clip_ids]

    # ------------------------------------------------------------------------------------------- context
    def _context(
        self,
        rows: dict[str, tuple[np.ndarray, np.ndarray]],
        texts: Sequence[str],
        sound: tuple[np.ndarray, np.ndarray] | None,
    ) -> Streams:
        """The `context` utterances before each clip in its video and split, oldest first, end to end."""
        before = self._before()
        tokens = None
        if self.reading.tokenizer is not None:
            joint = f" {self.reading.tokenizer.separator} "
            spoken = [joint.join(texts[i] for i in places if texts[i].strip()) for places in before]
            tokens = self._tokens(spoken, self.reading.context_keep)
        return Streams(
            {name: self._chained(*found, before, self.max_steps[name]) for name, found in rows.items()},
            tokens,
            None if sound is None else self._chained(*sound, before, self.reading.waveform),
        )

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

    def _chained(self, flat: np.ndarray, counts: np.ndarray, before: list[list[int]], limit: int) -> Ragged:
        """Rows of the earlier utterances of each clip, at most `limit`, from the end that is kept."""
        ends = counts.cumsum()
        parts = []
        for places in before:
            chain = np.concatenate([flat[:0], *(flat[ends[i] - counts[i] : ends[i]] for i in places)])
            start = max(len(chain) - limit, 0) if self.reading.context_keep == "last" else 0
            parts.append(chain[start : start + limit])
        padded = np.concatenate([*parts, np.zeros_like(flat[:1])])
        return Ragged.of(padded, np.array([len(part) for part in parts], np.int64), self.device)


def _read(path: Path, columns: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: cannot be read ({error}); run the assemble stage again") from error


def _with_context(clips: pa.Table, before: pa.Table) -> pa.Table:
    """The clips, then what was said before them: the rows of the same videos."""
    import pyarrow as pa
    import pyarrow.compute as pc

    said = before.filter(pc.is_in(before["video_id"], value_set=pc.unique(clips["video_id"])))
    return pa.concat_tables([clips, said.cast(clips.schema)])


def _samples(clip: pa.ListScalar) -> np.ndarray:
    samples: np.ndarray = clip.values.to_numpy(zero_copy_only=True)
    return samples
