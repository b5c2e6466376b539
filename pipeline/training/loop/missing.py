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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.core.batch import Batch, Inputs, Sequences, Tokens, Waveform
from models.core.method import Method
from pipeline.core.errors import MsaError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.datasets.splits import Streams

SOUND_STEP = SAMPLE_RATE // 50  # samples
SD_FLOOR, Z_LIMIT = 1e-6, 10.0  # of normalisation, as assembly has them
MODALITY = {"tokens": "text", "waveform": "audio"}  # of streams that are not called after theirs

Part = Sequences | Tokens | Waveform
AnyPart = TypeVar("AnyPart", Sequences, Tokens, Waveform)
AnyInputs = TypeVar("AnyInputs", bound=Inputs)


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
    def of(cls, method: Method, stats: Mapping[str, Any], train: Streams) -> Blanks:
        """Those of the streams that a method reads; `stats` and `train` are its training set's.

        MsaError where a tokenizer has no token for what is hidden or unknown.
        """
        found = cls(framed=frozenset(name for name in train if _framed(name, stats)))
        for name, stream in train.items():
            if name == "tokens":
                continue
            if name == "waveform":
                silence = torch.zeros(SAMPLE_RATE, device=method_device(method))
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
        place = method_device(method)
        unknown, hidden = (getattr(tokenizer, f"{name}_token_id") for name in ("unk", "mask"))
        if unknown is None and hidden is None:
            raise MsaError(
                f"the tokenizer of {method.config.text_backbone!r} has no token for an unknown or a masked "
                "word, so that no word of a sentence can be missing; use a run with another text encoder"
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
    """Whether the rows of text features are tokens, so that special ones are among them."""
    made = stats["modalities"].get(name, {}).get("provenance") or {}
    return name == "text" and (made.get("params") or {}).get("unit") == "token"


def raw_zero(entry: Mapping[str, Any]) -> np.ndarray:
    """What normalisation makes of zeros: (D,) float32; zeros where nothing is normalised."""
    mean = np.asarray(entry.get("mean", np.zeros(entry["dim"])))
    sd = np.asarray(entry.get("sd", np.ones(entry["dim"])))
    scaled = np.where(sd < SD_FLOOR, 0.0, -mean / np.maximum(sd, SD_FLOOR))
    return scaled.clip(-Z_LIMIT, Z_LIMIT).astype(np.float32)


def method_device(method: Method) -> torch.device:
    """Where a method's weights are; the CPU where it has none."""
    return next((parameter.device for parameter in method.parameters()), torch.device("cpu"))


# ------------------------------------------------------------------------------------------ parts of a batch
def parts_of(inputs: Inputs) -> dict[str, Part]:
    """The streams that a batch has, by name."""
    return {
        name: part
        for name in ("text", "audio", "visual", "tokens", "waveform")
        if (part := getattr(inputs, name)) is not None
    }


def with_values(part: AnyPart, hit: Tensor, values: Tensor) -> AnyPart:
    """The part with other values in the steps that are hit.

    Parameters
    ----------
    hit : (B, T) bool; of a waveform (B, S / 320)
    values : of every step, or of one (V)
    """
    if isinstance(part, Tokens):
        return replace(part, ids=torch.where(hit, values, part.ids))
    if isinstance(part, Waveform):
        hit = hit.repeat_interleave(SOUND_STEP, dim=1)[:, : part.values.shape[1]] & part.mask
        return replace(part, values=torch.where(hit, values, part.values))
    return replace(part, values=torch.where(hit[..., None], values.to(part.values), part.values))


def emptied(part: AnyPart, rows: Tensor, empty: Tensor) -> AnyPart:
    """The part with `empty` (n, V) as all steps of some clips, (B,) bool; what a clip lacks stays absent."""
    rows = (rows & part.present)[:, None]
    values = part.ids if isinstance(part, Tokens) else part.values
    width = max(values.shape[1], len(empty))
    trailing = (0, 0) * (values.dim() - 2)
    values = F.pad(values, (*trailing, 0, width - values.shape[1]))
    mask = F.pad(part.mask, (0, width - part.mask.shape[1]))
    blank = F.pad(empty.to(values), (*trailing, 0, width - len(empty)))[None]
    values = torch.where(rows.view(-1, *(1,) * (values.dim() - 1)), blank, values)
    mask = torch.where(rows, torch.arange(width, device=mask.device) < len(empty), mask)
    found = {"ids" if isinstance(part, Tokens) else "values": values}
    return replace(part, mask=mask, **found)


def absent(part: AnyPart, rows: Tensor) -> AnyPart:
    """The part with some clips, (B,) bool, marked as not having it."""
    return replace(part, mask=part.mask & ~rows[:, None], present=part.present & ~rows)


def contexts(inputs: Inputs) -> dict[str, Inputs]:
    """The clips, and the utterances before them where there are any; keys stand before names of streams."""
    before = inputs.context if isinstance(inputs, Batch) else None
    return {"": inputs, **({"context ": before} if before is not None else {})}
