"""Word-wise sparse attention: each word chooses the steps of another modality that it goes with.

Qian et al., "Word-wise Sparse Attention for Multimodal Sentiment Analysis", Interspeech 2022.

Shapes: B clips, T words, L steps, W width of a word.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from models.core.batch import Sequences
from models.core.blocks import full_precision
from models.core.method import attended


def sparsemax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Euclidean projection of each row of scores onto the simplex (Martins and Astudillo, ICML 2016).

    Over the last dimension, (..., T) -> (..., T) in float32 at least. The mask broadcasts, True = may be
    chosen; masked entries are exactly 0 and get no gradient. A row without any gives zeros.
    """
    scores = full_precision(scores)
    mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    top = scores.detach().masked_fill(~mask, -torch.inf).amax(dim=-1, keepdim=True)
    top = top.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    # What is 1 below the largest is never chosen: with -2 there all sums stay small, whatever the scores.
    shifted = (scores - top).masked_fill(~mask, -2.0).clamp(min=-2.0)
    ordered = shifted.sort(dim=-1, descending=True).values
    sums = ordered.cumsum(dim=-1)
    ranks = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    chosen = (1 + ranks * ordered > sums).sum(dim=-1, keepdim=True)  # size of the support, at least 1
    threshold = (sums.gather(-1, chosen - 1) - 1) / chosen
    return (shifted - threshold).clamp(min=0.0).masked_fill(~mask, 0.0)


class WordwiseSparseAttention(nn.Module):
    """What a modality says beside each word, (2) of MIRD; with softmax the attention is not sparse."""

    def __init__(
        self,
        features: int,
        width: int,
        scale: float,
        normalizer: Literal["sparsemax", "softmax"] = "sparsemax",
    ):
        super().__init__()
        self.scale = scale
        self.normalizer = normalizer
        self.key = nn.Linear(features, width)

    def forward(self, words: Tensor, source: Sequences) -> Tensor:
        """(B, T, W), a sequence of L steps -> X̃^m (B, T, features), 0 where the clip has none.

        Not scaled, as in the code, scores of z-scored features are so far apart that most words choose one
        single step; there sparsemax has no gradient, and the keys hardly learn.
        """
        scores = self.scale * words @ self.key(source.values).transpose(1, 2)  # (B, T, L)
        if self.normalizer == "sparsemax":
            weights = sparsemax(scores, source.mask[:, None])
        else:  # a clip without steps looks at its first, which is 0
            masked = full_precision(scores).masked_fill(~attended(source.mask)[:, None], -torch.inf)
            weights = torch.softmax(masked, dim=-1)
        return weights.to(source.values) @ source.values
