"""Batches as methods see them: modalities by name, padded to the longest clip.

Shapes: B clips of a batch, T time steps (the longest of the batch, at least 1), D features.
Masks: True = real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

if TYPE_CHECKING:
    from models.core.backbones import Tokenizer


@dataclass
class Sequences:
    """One modality of a batch."""

    values: Tensor  # (B, T, D) float32, zero where masked
    mask: Tensor  # (B, T) bool, all False where the clip has not this modality
    present: Tensor  # (B,) bool, False where the clip has not this modality


@dataclass
class Tokens:
    """Token ids for a text encoder that is fine-tuned."""

    ids: Tensor  # (B, T) int64, special tokens included, the tokenizer's padding id where masked
    mask: Tensor  # (B, T) bool, all False where the clip has no transcript
    present: Tensor  # (B,) bool, False where the clip has no transcript


@dataclass
class Waveform:
    """The sound of a batch, 16 kHz mono."""

    values: Tensor  # (B, S) float32 in [-1, 1], zero where masked
    mask: Tensor  # (B, S) bool
    present: Tensor  # (B,) bool, False where the clip has no sound


@dataclass(kw_only=True)
class Inputs:
    """What a method sees of a clip, or of the utterances before it. Modalities by name; None = not read.

    `tokens` stands beside `text` when the method fine-tunes its text encoder (`text` is then None), and
    `waveform` in the same way beside `audio`.
    """

    text: Sequences | None = None
    audio: Sequences | None = None
    visual: Sequences | None = None
    tokens: Tokens | None = None
    waveform: Waveform | None = None


@dataclass(kw_only=True)
class Batch(Inputs):
    """Clips and labels, (B,) float32: the sentiment, or the index of the class; NaN where there is none."""

    clip_ids: list[str]
    label: Tensor  # of all modalities together; the next three of each alone
    label_text: Tensor
    label_audio: Tensor
    label_visual: Tensor
    labeled: Tensor  # (B,) bool, False for clips of the split `unlabeled`
    context: Inputs | None = None  # utterances before each clip as one, where the method asks for them


@dataclass(frozen=True)
class Reading:
    """How a method reads a training set beside its feature sequences.

    With a `tokenizer`, that of the text encoder that it fine-tunes, the transcripts become `Batch.tokens`,
    and the text features are not read.
    """

    tokenizer: Tokenizer | None = None
    max_tokens: int = 50  # special ones included; what is longer is cut
    sentence_case: bool = False  # lower all letters but the first: corpora in capitals, cased encoders
    waveform: int = 0  # samples of each clip's sound, from its start; 0 = the sound is not read
    context: int = 0  # utterances before the clip, of the same video and split
    context_keep: Literal["first", "last"] = "last"  # end of a context that stays where it is too long
    unlabeled: int = 0  # clips of the split `unlabeled` beside each labeled one in training
    modalities: tuple[str, ...] | None = None  # whose features are read; None = all of the set
    absent: bool = False  # clips that have nothing of what is read are there too, and no error

    @property
    def replaced(self) -> set[str]:
        """Modalities whose features are not read, as their encoders are fine-tuned."""
        fine_tuned = {"text": self.tokenizer is not None, "audio": self.waveform > 0}
        return {modality for modality, tuned in fine_tuned.items() if tuned}
