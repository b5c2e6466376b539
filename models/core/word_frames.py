"""What is heard and seen beside each word, where nothing says when a word is spoken: an even split.

Frame k of L belongs to word i of n where i L / n ≤ k < (i+1) L / n, rounded down; where that is no frame, the
one at i L / n. So of a set with `align: words`, a row a word in every modality, frame i is beside word i. The
transcripts' word times are not in a batch: a set that has them is assembled with `align: words`.

Shapes: B clips, T words, L frames, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.core.batch import Sequences


def beside_words(frames: Sequences, words: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the frames that belong to each word.

    Parameters
    ----------
    words : (B, T) bool, what is a word; others count as not there

    Returns
    -------
    beside : (B, T, D), 0 where nothing is known
    known : (B, T) bool, a word of a clip with frames
    """
    number = words.sum(dim=1, keepdim=True).clamp(min=1)
    length = frames.mask.sum(dim=1, keepdim=True)
    word, frame = words.cumsum(dim=1) - 1, frames.mask.cumsum(dim=1) - 1  # (B, T), (B, L): which one it is
    first = word * length // number
    end = torch.maximum((word + 1) * length // number, first + 1)
    belongs = (frame[:, None] >= first[..., None]) & (frame[:, None] < end[..., None])  # (B, T, L)
    belongs &= words[..., None] & frames.mask[:, None]
    known = belongs.any(dim=-1)
    share = belongs / belongs.sum(dim=-1, keepdim=True).clamp(min=1)
    return share.to(frames.values) @ frames.values, known
