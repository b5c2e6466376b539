"""What stands where steps, or a whole modality, of a clip are missing: for training regimes and for tests.

Three things can be missing, and each is filled differently:

    masked    a step whose value is hidden: the mean of the train split, or [MASK]
    dropped   a step that was never recorded: zeros before normalisation, or [UNK]
    empty     a whole modality: one masked step; an empty sentence; one second of silence. Its length says
              nothing of the clip's

The mean of the train split is 0 where the set normalises a modality. What a clip really lacks stays absent.
Padding and special tokens are never touched; frozen states of a sentence's tokens do not say which are
special, so of these the first and the last are left alone. A step of a waveform is 20 ms.

Shapes: B clips, T steps, S samples, D features, V values of one step: (D,), or () of ids and samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.core.batch import Batch, Inputs, Sequences, Tokens, Waveform
from models.core.method import Method
from pipeline.core.errors import MsaError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.datasets.splits import Split

SOUND_STEP = SAMPLE_RATE // 50  # samples
SD_FLOOR, Z_LIMIT = 1e-6, 10.0  # of normalisation, as assembly has them
MODALITY = {"tokens": "text", "waveform": "audio"}  # of streams that are not called after theirs

Part = Sequences | Tokens | Waveform


@dataclass(frozen=True)
class Blanks:
    """What is filled in, by the name of a stream in `Inputs`.

    Attributes
    ----------
    masked, dropped : (V) of a step
    empty : (n, V), the steps of a modality that is missing
    special : ids that are never touched
    framed : streams whose first and last steps are those of special tokens
    """

    masked: dict[str, Tensor] = field(default_factory=dict)
    dropped: dict[str, Tensor] = field(default_factory=dict)
    empty: dict[str, Tensor] = field(default_factory=dict)
    special: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    framed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, method: Method, stats: Mapping[str, Any], train: Split) -> Blanks:
        """Those of the streams that a method reads, on their device; `stats` and `train` are its set's.

        MsaError where a tokenizer has no token for what is hidden or unknown.
        """
        place = train.labeled.device
        found = cls(framed=frozenset(name for name in train.streams if _framed(name, stats)))
        for name, stream in train.streams.items():
            if name == "tokens":
                continue
            if name == "waveform":
                silence = torch.zeros(SAMPLE_RATE, device=place)
                found.masked[name] = found.dropped[name] = silence[0]
                found.empty[name] = silence
                continue
            entry = stats["modalities"][name]
            real = stream.flat[:-1]
            normalized = bool(entry.get("normalized"))
            mean = torch.zeros_like(real[0]) if normalized else real.double().mean(dim=0).to(real.dtype)
            found.masked[name] = mean
            found.dropped[name] = torch.from_numpy(raw_zero(entry)).to(real)
            found.empty[name] = mean[None]
        if method.tokenizer is None:
            return found
        tokenizer: Any = method.tokenizer._tokenizer
        (bare,) = method.tokenizer.encode([""], method.config.max_tokens)
        unknown, hidden = (getattr(tokenizer, f"{name}_token_id") for name in ("unk", "mask"))
        if unknown is None and hidden is None:
            raise MsaError(
                f"the tokenizer of {method.config.text_backbone!r} has no token for an unknown or a masked "
                "word, so no word of a sentence can be removed; use a run with another text encoder"
            )
        found.masked["tokens"] = torch.tensor(unknown if hidden is None else hidden, device=place)
        found.dropped["tokens"] = torch.tensor(hidden if unknown is None else unknown, device=place)
        found.empty["tokens"] = torch.from_numpy(bare).to(place)
        return replace(found, special=found.empty["tokens"].unique())

    def touchable(self, name: str, part: Part) -> Tensor:
        """(B, T) bool: the steps of a stream that may be hit; of a waveform those of 20 ms."""
        mask = part.mask & part.present[:, None]
        if isinstance(part, Waveform):
            return mask[:, ::SOUND_STEP]
        if isinstance(part, Tokens):
            return mask & ~torch.isin(part.ids, self.special)
        if name in self.framed:
            place = mask.cumsum(dim=1)
            return mask & (place > 1) & (place < mask.sum(dim=1, keepdim=True))
        return mask


def _framed(name: str, stats: Mapping[str, Any]) -> bool:
    """Whether the rows of text features are tokens, so that special ones are among them.

    They are words in sets with `align: words`, and one row a clip where an encoder pools.
    """
    entry = stats["modalities"].get(name, {})
    settings = (entry.get("provenance") or {}).get("params") or {}
    tokens = settings.get("unit") == "token" and "pool" not in settings and "align" not in entry
    return name == "text" and tokens


def raw_zero(entry: Mapping[str, Any]) -> np.ndarray:
    """What normalisation makes of zeros: (D,) float32; zeros where nothing is normalised."""
    mean = np.asarray(entry.get("mean", np.zeros(entry["dim"])))
    sd = np.asarray(entry.get("sd", np.ones(entry["dim"])))
    scaled = np.where(sd < SD_FLOOR, 0.0, -mean / np.maximum(sd, SD_FLOOR))
    return scaled.clip(-Z_LIMIT, Z_LIMIT).astype(np.float32)


# ------------------------------------------------------------------------------------------ parts of a batch
def parts_of(inputs: Inputs) -> dict[str, Part]:
    """The streams that a batch has, by name."""
    return {
        name: part
        for name in ("text", "audio", "visual", "tokens", "waveform")
        if (part := getattr(inputs, name)) is not None
    }


def values_of(part: Part) -> Tensor:
    """(B, T, V): what stands in each step."""
    return part.ids if isinstance(part, Tokens) else part.values


def with_values(part: Part, hit: Tensor, values: Tensor) -> Part:
    """The part with other values in the steps that are hit.

    Parameters
    ----------
    hit : (B, T) bool; of a waveform (B, S / 320)
    values : of every step, or of one (V)
    """
    own = values_of(part)
    if isinstance(part, Waveform):
        hit = hit.repeat_interleave(SOUND_STEP, dim=1)[:, : own.shape[1]] & part.mask
    hit = hit.view(*hit.shape, *(1,) * (own.dim() - 2))
    return type(part)(torch.where(hit, values.to(own), own), part.mask, part.present)


def emptied(part: Part, rows: Tensor, empty: Tensor) -> Part:
    """The part with `empty` (n, V) as all steps of some clips, (B,) bool; what a clip lacks stays absent."""
    own, rows = values_of(part), rows & part.present
    width = max(own.shape[1], len(empty))
    ones = (1,) * (own.dim() - 2)

    def longer(values: Tensor, steps: int) -> Tensor:
        """With zeros behind, (..., steps, V)."""
        return F.pad(values, (*[0, 0] * len(ones), 0, width - steps))

    blank = longer(empty.to(own)[None], len(empty))
    values = torch.where(rows.view(-1, 1, *ones), blank, longer(own, own.shape[1]))
    mask = F.pad(part.mask, (0, width - own.shape[1]))
    mask = torch.where(rows[:, None], torch.arange(width, device=mask.device) < len(empty), mask)
    return type(part)(values, mask, part.present)


def spared(order: np.ndarray) -> np.ndarray:
    """(M, B) bool, the modalities of each clip that are missing: where `order` (M, B) is below 1.

    Where all of a clip's would be, the one with the largest stays: the last to go as probabilities rise.
    """
    gone: np.ndarray = order < 1
    gone[order.argmax(axis=0), np.arange(order.shape[1])] &= ~gone.all(axis=0)
    return gone


def absent(part: Part, rows: Tensor) -> Part:
    """The part with some clips, (B,) bool, marked as not having it."""
    return replace(part, mask=part.mask & ~rows[:, None], present=part.present & ~rows)


def contexts(inputs: Inputs) -> dict[str, Inputs]:
    """The clips, and the utterances before them where there are any; keys stand before names of streams."""
    before = inputs.context if isinstance(inputs, Batch) else None
    return {"": inputs, **({"context ": before} if before is not None else {})}


def changed(batch: Batch, change: Callable[[Inputs, str], dict[str, Any]]) -> Batch:
    """The batch with streams in place of its own, of the utterances before its clips too.

    `change` gives them by name, of inputs and what stands before names of their streams.
    """
    parts = {prefix: change(inputs, prefix) for prefix, inputs in contexts(batch).items()}
    if batch.context is not None:
        batch = replace(batch, context=replace(batch.context, **parts["context "]))
    return replace(batch, **parts[""])
