"""The streams of SLaD: sound that is aligned with text (3.2), and how two streams are fused.

Shapes: B clips, S samples, T, L time steps, D width. Masks: True = real.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.blocks import attention, full_precision, key_bias


# -------------------------------------------------------------------------------------------- sound (3.2)
def standardized(samples: Tensor, mask: Tensor) -> Tensor:
    """Zero mean and unit variance over each clip's real samples, 0 elsewhere: (B, S), mask (B, S)."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    samples = full_precision(samples).masked_fill(~mask, 0.0)
    centred = (samples - samples.sum(dim=1, keepdim=True) / count).masked_fill(~mask, 0.0)
    return centred / (centred.square().sum(dim=1, keepdim=True) / count + 1e-7).sqrt()


def audio_frame_mask(backbone: nn.Module, mask: Tensor) -> Tensor:
    """(B, S) bool of samples, the real ones first -> (B, T) bool of the frames that an encoder makes of them.

    A clip with fewer samples than one frame covers (400 at the usual strides) has no real frame. The encoder
    itself wants at least as many samples, padding included.
    """
    model: Any = backbone
    whole = torch.tensor(mask.shape[1])  # on the CPU, so that no device is waited for
    width = max(int(model._get_feat_extract_output_lengths(whole)), 0)
    frames = model._get_feat_extract_output_lengths(mask.sum(dim=1))  # (B,), not above 0 for too short clips
    return torch.arange(width, device=mask.device) < frames[:, None]


def pooled_into_bins(values: Tensor, mask: Tensor, bins: int) -> Tensor:
    """Adaptive average pooling of the n real frames of each clip: (B, T, D), mask (B, T) -> (B, bins, D).

    Bin b is the mean of the frames ⌊b n / bins⌋ to ⌈(b + 1) n / bins⌉ - 1, so that bins share frames where
    there are fewer than bins, and none is empty. A clip without a frame gives zeros.
    """
    number = mask.sum(dim=1)[:, None, None]  # n, (B, 1, 1)
    place = mask.cumsum(dim=1)[:, None] - 1  # of a frame among the real ones, (B, 1, T)
    edge = torch.arange(bins + 1, device=mask.device)[:, None]  # (bins + 1, 1)
    first = edge[:-1] * number // bins  # (B, bins, 1)
    beyond = -(-edge[1:] * number // bins)
    member = mask[:, None] & (place >= first) & (place < beyond)  # (B, bins, T)
    return member.to(values) @ values / (beyond - first).clamp(min=1)


# ---------------------------------------------------------------------------------------- fusion (3) to (6)
class PostNormAttention(nn.Module):
    """LN(x + MHA(x, y, y)): attention from one sequence to itself or to another, with post-norm residual."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        """x (B, T, D), y (B, L, D) and its `key_bias` -> (B, T, D)."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, D/H)
        key, value = self.key_value(y).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        attended = attention(query, key, value, bias, dropout)
        return self.norm(x + self.dropout(self.out(attended.transpose(1, 2).flatten(2))))


class PostNormFeedForward(nn.Module):
    """LN(x + FFN(x)): Linear, ReLU, Linear with post-norm residual, (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, feedforward: int, dropout: float):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, width))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.inner(x)))


class CrossModalLayer(nn.Module):
    """One layer of two streams that read each other; the weights are each stream's own."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.cross1, self.cross2 = (PostNormAttention(width, heads, dropout) for _ in range(2))
        self.self1, self.self2 = (PostNormAttention(width, heads, dropout) for _ in range(2))
        self.inner1, self.inner2 = (PostNormFeedForward(width, feedforward, dropout) for _ in range(2))

    def forward(self, x: Tensor, y: Tensor, bias1: Tensor, bias2: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T1, D), (B, T2, D), `key_bias` of both -> both anew; the two cross at the same time."""
        x, y = self.cross1(x, y, bias2), self.cross2(y, x, bias1)
        return self.inner1(self.self1(x, x, bias1)), self.inner2(self.self2(y, y, bias2))


class CrossModalEncoder(nn.Module):
    """Two streams that read each other, each summed up in a learnt token: SLaD (3) to (6), after MMML.

    A layer is attention of each stream to the other, self-attention of each, feed-forward of each. The
    learnt token comes first and is always real, so that a row without any real step is safe.
    """

    def __init__(self, width: int, layers: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.token1, self.token2 = (nn.Parameter(0.02 * torch.randn(width)) for _ in range(2))
        self.layers = nn.ModuleList(
            CrossModalLayer(width, heads, feedforward, dropout) for _ in range(layers)
        )

    def forward(self, first: Tensor, second: Tensor, mask1: Tensor, mask2: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T1, D), (B, T2, D), finite also where masked, masks (B, T1), (B, T2) -> both tokens, (B, D)."""
        x, y = (
            torch.cat([token.to(stream).expand(len(stream), 1, -1), stream], dim=1)
            for token, stream in ((self.token1, first), (self.token2, second))
        )
        bias1, bias2 = (key_bias(F.pad(mask, (1, 0), value=True)) for mask in (mask1, mask2))
        for layer in self.layers:
            x, y = layer(x, y, bias1, bias2)
        return x[:, 0], y[:, 0]
