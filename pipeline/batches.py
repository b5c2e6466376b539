"""The assembled training set in memory, and batches of it on the device.

The whole set is loaded once: per modality the sequences of all clips lie end to end in one tensor on the
device, and a batch is gathered from it by index arithmetic, without a loop over clips.

Shapes: B clips of a batch, T time steps (the longest of the batch, at least 1), D features, C clips of a
split, N steps of a split. Masks: True = real.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

    from models.backbones import Tokenizer

FORMAT = 1  # of the assembled set
SPLITS = ("train", "valid", "test", "unlabeled")
LABELS = ("label", "label_text", "label_audio", "label_visual")


@dataclass
class Sequences:
    """One modality of a batch.

    Attributes
    ----------
    values : (B, T, D) float32, zero where masked
    mask : (B, T) bool, all False where the clip has not this modality
    present : (B,) bool, False where the clip has not this modality
    """

    values: Tensor
    mask: Tensor
    present: Tensor


@dataclass
class Tokens:
    """Token ids for a text encoder that is fine-tuned.

    Attributes
    ----------
    ids : (B, T) int64, special tokens included, the tokenizer's padding id where masked
    mask : (B, T) bool, all False where the clip has no transcript
    present : (B,) bool, False where the clip has no transcript
    """

    ids: Tensor
    mask: Tensor
    present: Tensor


@dataclass
class Batch:
    """What a method sees. Modalities by name; None = the training set has no such modality.

    `tokens` stands beside `text` when the method fine-tunes its text encoder (`text` is then None).
    Labels are (B,) float32; they are NaN where the corpus has none.
    """

    clip_ids: list[str]
    text: Sequences | None
    audio: Sequences | None
    visual: Sequences | None
    tokens: Tokens | None
    label: Tensor
    label_text: Tensor
    label_audio: Tensor
    label_visual: Tensor


@dataclass
class Ragged:
    """Sequences of different lengths, end to end.

    Attributes
    ----------
    flat : (N + 1, D) or (N + 1,), on the device; the last row is what padding shows
    starts : (C,) int64, on the device, first row of each clip
    counts : (C,) int64, on the device, rows of each clip
    lengths : (C,) int64, `counts` on the CPU, so that a batch's width is known without waiting for the device
    """

    flat: Tensor
    starts: Tensor
    counts: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, flat: np.ndarray, lengths: np.ndarray, device: str | torch.device) -> Ragged:
        """From (N + 1, ...) rows, the padding row last, and (C,) lengths that sum to N."""
        counts = torch.from_numpy(lengths.astype(np.int64))
        starts = counts.cumsum(0) - counts
        return cls(torch.from_numpy(flat).to(device), starts.to(device), counts.to(device), counts)

    def pad(self, clips: Tensor, on_device: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, ...) values, (B, T) mask and (B,) presence of the clips (row numbers, here and there)."""
        width = max(1, int(self.lengths[clips].max()))  # 1 where no clip has it: shapes stay
        steps = torch.arange(width, device=self.flat.device)
        counts = self.counts[on_device]
        mask = steps < counts[:, None]  # (B, T)
        rows = torch.where(mask, self.starts[on_device, None] + steps, len(self.flat) - 1)
        values = self.flat.index_select(0, rows.view(-1))
        return values.view(*rows.shape, *self.flat.shape[1:]), mask, counts > 0


@dataclass
class Split:
    """One split; everything but names and lengths is on the device.

    Attributes
    ----------
    clip_ids : C names, sorted
    sequences : modality -> its sequences
    tokens : token ids, None unless a tokenizer was given
    label, label_text, label_audio, label_visual : (C,) float32, NaN where there is none
    lengths : (C,) int64, on the CPU: the steps of all modalities together. Every modality is padded for
        itself and costs about its own steps, so their sum ranks clips by what they cost in a batch (the
        longest modality would not: pooled audio and visual are nearly always max_steps long)
    """

    clip_ids: list[str]
    sequences: dict[str, Ragged]
    tokens: Ragged | None
    label: Tensor
    label_text: Tensor
    label_audio: Tensor
    label_visual: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.clip_ids)

    def batch(self, indices: Tensor) -> Batch:
        """The clips of these row numbers ((B,) int64, on the CPU), in this order, padded to the longest."""
        rows = indices.to(self.label.device, non_blocking=True)
        padded = {name: Sequences(*ragged.pad(indices, rows)) for name, ragged in self.sequences.items()}
        return Batch(
            clip_ids=[self.clip_ids[i] for i in indices.tolist()],
            text=padded.get("text"),
            audio=padded.get("audio"),
            visual=padded.get("visual"),
            tokens=Tokens(*self.tokens.pad(indices, rows)) if self.tokens is not None else None,
            label=self.label[rows],
            label_text=self.label_text[rows],
            label_audio=self.label_audio[rows],
            label_visual=self.label_visual[rows],
        )


@dataclass
class TrainingSet:
    """An assembled set on the device.

    Attributes
    ----------
    splits : those that were read, of train, valid, test, unlabeled
    dims : features of each modality; with a tokenizer text is not among them
    stats : stats.json
    """

    splits: dict[str, Split]
    dims: dict[str, int]
    stats: dict[str, Any]

    @classmethod
    def load(
        cls,
        folder: Path,
        tokenizer: Tokenizer | None = None,
        max_tokens: int = 50,
        device: str | torch.device = "cpu",
        only: Collection[str] = SPLITS,
    ) -> TrainingSet:
        """Read `data/assembled/<dataset>`.

        Parameters
        ----------
        tokenizer : of the text encoder that a method fine-tunes; the transcripts then become `Batch.tokens`
            and the text features are not read
        max_tokens : special ones included; what is longer is cut
        only : splits to read; the files of the others are not opened

        Raises
        ------
        FormatError : not an assembled set, of another format version, or a clip without any modality
        """
        stats = read_stats(folder)
        modalities = [name for name in stats["modalities"] if name != "text" or tokenizer is None]
        dims = {name: int(stats["modalities"][name]["dim"]) for name in modalities}
        splits = {
            name: _read_split(folder / f"{name}.parquet", dims, tokenizer, max_tokens, device)
            for name in SPLITS
            if name in only
        }
        return cls(splits, dims, stats)


# ------------------------------------------------------------------------------------------------- orders
def shuffled_batches(
    lengths: Tensor, batch_size: int, pool_batches: int, generator: torch.Generator
) -> list[Tensor]:
    """Row numbers of the batches of an epoch: every clip once, lengths that match, neighbours that vary.

    All clips are shuffled; pools of `pool_batches` batches are sorted by length and cut into batches; the
    batches are shuffled. The last batch of the last pool may be smaller.

    Parameters
    ----------
    lengths : (C,) cost of each clip, on the CPU (`Split.lengths`)
    pool_batches : 1 = no sorting
    generator : on the CPU; its state alone decides the order
    """
    batches: list[Tensor] = []
    if len(lengths) == 0:  # split would give one empty part
        return batches
    for part in torch.randperm(len(lengths), generator=generator).split(batch_size * pool_batches):
        ordered = part[lengths[part].argsort(stable=True)] if pool_batches > 1 else part
        batches.extend(ordered.split(batch_size))
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def ordered_batches(lengths: Tensor, batch_size: int) -> list[Tensor]:
    """Row numbers for evaluation: every clip once, longest first; memory runs out at once or never."""
    return list(lengths.argsort(descending=True, stable=True).split(batch_size)) if len(lengths) else []


# ------------------------------------------------------------------------------------------------ reading
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


def _read_split(
    path: Path,
    dims: dict[str, int],
    tokenizer: Tokenizer | None,
    max_tokens: int,
    device: str | torch.device,
) -> Split:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["clip_id", "transcript", *LABELS, *dims])
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: cannot be read ({error}); run the assemble stage again") from error
    clip_ids = table["clip_id"].to_pylist()
    sequences = {
        name: _read_sequences(table[name], dim, f"{path}: {name}", device) for name, dim in dims.items()
    }
    tokens = None
    if tokenizer is not None:
        tokens = _tokenize(table["transcript"].to_pylist(), tokenizer, max_tokens, device)
    lengths = torch.zeros(len(clip_ids), dtype=torch.int64)
    for ragged in [*sequences.values(), *([tokens] if tokens is not None else [])]:
        lengths += ragged.lengths
    empty = [clip_id for clip_id, length in zip(clip_ids, lengths.tolist(), strict=True) if length == 0]
    if empty:
        needed = [*dims, *(["transcript"] if tokens is not None else [])]
        raise FormatError(
            f"{path}: {len(empty)} clip(s) without any of {', '.join(needed)}: {', '.join(empty[:5])}; "
            "choose another modality for them in `assemble`, or take them out of the label file"
        )
    labels = {
        name: torch.from_numpy(table[name].to_numpy().astype(np.float32)).to(device)  # null becomes NaN
        for name in LABELS
    }
    return Split(clip_ids, sequences, tokens, **labels, lengths=lengths)


def _read_sequences(column: pa.ChunkedArray, dim: int, where: str, device: str | torch.device) -> Ragged:
    """list<fixed_size_list<float32>[dim]>, null = not present; each value is copied once, never a list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.list_(pa.list_(pa.float32(), dim))
    if column.type != kind:
        raise FormatError(f"{where} is of type {column.type}, expected {kind}; run the assemble stage again")
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    flat = np.zeros((int(lengths.sum()) + 1, dim), np.float32)  # and the padding row
    at = 0
    for chunk in column.chunks:
        values = chunk.flatten().flatten().to_numpy(zero_copy_only=True).reshape(-1, dim)
        flat[at : at + len(values)] = values
        at += len(values)
    return Ragged.of(flat, lengths, device)


def _tokenize(
    texts: list[str | None], tokenizer: Tokenizer, max_tokens: int, device: str | torch.device
) -> Ragged:
    """Token ids of the transcripts; no token at all where there is none."""
    spoken = [i for i, text in enumerate(texts) if text and text.strip()]
    ids = tokenizer.encode([str(texts[i]) for i in spoken], max_tokens) if spoken else []
    lengths = np.zeros(len(texts), np.int64)
    lengths[spoken] = [len(row) for row in ids]
    return Ragged.of(np.concatenate([*ids, [tokenizer.pad_id]]).astype(np.int64), lengths, device)
