"""The assembled training set in memory, and batches of it on the device.

Shapes: B clips of a batch, T time steps (the longest of the batch), D features. Masks: True = real.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Sequences:
    """One modality of a batch.

    Attributes
    ----------
    values : (B, T, D) float32, zero where masked
    mask : (B, T) bool
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
    ids : (B, T) int64, the tokenizer's padding id where masked
    mask : (B, T) bool
    present : (B,) bool
    """

    ids: Tensor
    mask: Tensor
    present: Tensor


@dataclass
class Batch:
    """What a method sees. Modalities by name; None = the training set has no such modality.

    `tokens` stands beside `text` when the method fine-tunes its text encoder (`text` is then None).
    Labels are (B,) float32; unimodal ones are NaN where the corpus has none.
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
