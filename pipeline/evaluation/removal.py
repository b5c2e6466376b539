"""Batches without some of what is in them: a modality, or steps of one.

What is removed is gone as it is from a clip that never had it: `mask` and `present` say so, and the steps
that are left move up. What was said before a clip, its context, stays.

Shapes: B clips, T steps, M modalities.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from models.core.batch import Batch, Inputs, Sequences, Tokens, Waveform
from pipeline.core.vocabulary import LABELS

STREAMS = {"text": ("tokens", "text"), "audio": ("waveform", "audio"), "visual": ("visual",)}
"""where a batch may hold a modality; what a method fine-tunes comes first, and is then the only one"""

AnyInputs = TypeVar("AnyInputs", bound=Inputs)
Stream = Sequences | Tokens | Waveform


def stream_of(batch: Inputs, modality: str) -> tuple[str, Stream] | None:
    """Name and content of what a batch holds of a modality; None where it holds nothing."""
    found = ((name, getattr(batch, name)) for name in STREAMS[modality])
    return next(((name, part) for name, part in found if part is not None), None)


def present_in(batch: Inputs, modalities: Collection[str]) -> Tensor:
    """(M, B) bool on the CPU: which clips have a real step of each modality."""
    rows = []
    for modality in modalities:
        found = stream_of(batch, modality)
        assert found is not None, modality  # a method is given what it was built with
        rows.append((found[1].mask & found[1].present[:, None]).any(dim=1).cpu())
    return torch.stack(rows)


def take(inputs: AnyInputs, rows: Tensor) -> AnyInputs:
    """These clips (row numbers), in this order; one may be there several times."""
    changed: dict[str, Any] = {}
    for name in (name for names in STREAMS.values() for name in names):
        part = getattr(inputs, name)
        if part is not None:
            changed[name] = replace(part, **{one.name: getattr(part, one.name)[rows] for one in fields(part)})
    if isinstance(inputs, Batch):
        changed["clip_ids"] = [inputs.clip_ids[row] for row in rows.tolist()]
        changed |= {name: getattr(inputs, name)[rows] for name in (*LABELS, "labeled")}
        changed["context"] = None if inputs.context is None else take(inputs.context, rows)
    return replace(inputs, **changed)


def without(batch: Batch, modalities: Collection[str]) -> Batch:
    """The same clips, if they lacked these modalities."""
    changed: dict[str, Any] = {}
    for modality in modalities:
        if (found := stream_of(batch, modality)) is not None:
            name, part = found
            nowhere = torch.zeros_like(part.mask[:, :1])
            changed[name] = _filled(part, nowhere, torch.zeros_like(nowhere, dtype=torch.int64))
    return replace(batch, **changed)


def keeping(batch: Batch, modality: str, kept: Tensor) -> Batch:
    """Of each clip only the steps of a modality that `kept`, (B, T) bool, names; the others move up."""
    found = stream_of(batch, modality)
    assert found is not None
    name, part = found
    kept = kept.to(part.mask.device) & part.mask
    counts = kept.sum(dim=1, keepdim=True)
    order = (~kept).to(torch.int8).argsort(dim=1, stable=True)[:, : max(1, int(counts.max()))]
    real = torch.arange(order.shape[1], device=order.device) < counts
    changed: dict[str, Any] = {name: _filled(part, real, order)}
    return replace(batch, **changed)


def _filled(part: Stream, real: Tensor, order: Tensor) -> Stream:
    """The steps `order`, (B, T), of a stream, as far as they are `real`; zero elsewhere."""
    present = real.any(dim=1)
    if isinstance(part, Tokens):  # whose padding methods put in themselves
        return Tokens(part.ids.gather(1, order).masked_fill(~real, 0), real, present)
    if isinstance(part, Waveform):
        return Waveform(part.values.gather(1, order).masked_fill(~real, 0.0), real, present)
    chosen = part.values.gather(1, order[..., None].expand(-1, -1, part.values.shape[2]))
    return Sequences(chosen.masked_fill(~real[..., None], 0.0), real, present)
