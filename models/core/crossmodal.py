"""Attention from one sequence to another.

Shapes: B clips, T, L time steps, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.blocks import attention, key_bias


class CrossAttention(nn.Module):
    """Heads of their own inner width; no bias but that of the last projection, no norm, no residual."""

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, heads * head_dim, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, L, D), (B, L, D), `key_bias` of the L keys -> (B, T, D)."""
        q, k, v = (
            split_heads(part, self.heads) for part in (self.query(query), self.key(key), self.value(value))
        )
        return self.dropout(self.out(joined_heads(attention(q, k, v, bias))))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads D) -> (B, heads, T, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def joined_heads(x: Tensor) -> Tensor:
    """(B, heads, T, D) -> (B, T, heads D)."""
    return x.transpose(1, 2).flatten(2)


# ------------------------------------------------------------------------- two streams that read each other
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
