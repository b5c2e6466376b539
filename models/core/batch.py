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
class Waveform:
    """The sound of a batch, 16 kHz mono.

    Attributes
    ----------
    values : (B, S) float32 in [-1, 1], zero where masked
    mask : (B, S) bool
    present : (B,) bool, False where the clip has no sound
    """

    values: Tensor
    mask: Tensor
    present: Tensor


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
    """Clips with their labels.

    Attributes
    ----------
    label, label_text, label_audio, label_visual : (B,) float32: the sentiment, or the index of the class;
        of all modalities together, and of each alone. NaN where the corpus has none
    labeled : (B,) bool, False for clips of the split `unlabeled`
    context : the utterances before each clip as one, None where the method does not ask for them
    """

    clip_ids: list[str]
    label: Tensor
    label_text: Tensor
    label_audio: Tensor
    label_visual: Tensor
    labeled: Tensor
    context: Inputs | None = None


@dataclass(frozen=True)
class Reading:
    """How a method reads a training set beside its feature sequences.

    Attributes
    ----------
    tokenizer : of the text encoder that it fine-tunes; the transcripts then become `Batch.tokens`, and the
        text features are not read
    max_tokens : special ones included; what is longer is cut
    sentence_case : all but the first letter in lower case, for corpora in capitals and encoders that care
    waveform : samples of each clip's sound, from its start; 0 = the sound is not read
    context : utterances before the clip, of the same video and split; 0 = none are read
    context_keep : which end of a context stays where it is longer than a clip may be
    unlabeled : clips of the split `unlabeled` beside each labeled one in training; 0 = they are not read
    modalities : those whose features are read; None = all of the set
    """

    tokenizer: Tokenizer | None = None
    max_tokens: int = 50
    sentence_case: bool = False
    waveform: int = 0
    context: int = 0
    context_keep: Literal["first", "last"] = "last"
    unlabeled: int = 0
    modalities: tuple[str, ...] | None = None

    @property
    def replaced(self) -> set[str]:
        """Modalities whose features are not read, as their encoders are fine-tuned."""
        fine_tuned = {"text": self.tokenizer is not None, "audio": self.waveform > 0}
        return {modality for modality, tuned in fine_tuned.items() if tuned}
