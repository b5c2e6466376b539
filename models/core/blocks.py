"""Layers, hooks, means and distances that two or more methods use.

Shapes: B clips, T time steps, L keys, D width. Masks: True = real.
Everything under an exp, a log or a mean of a loss is computed in float32 at least (`full_precision`),
also where autocast has made the layers' outputs bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of all heads, (B, H, T, D), (B, H, L, D), (B, H, L, D) -> (B, H, T, D).

    The mask broadcasts to (B, H, T, L), True = may be attended to, None = all; `dropout` is of the weights.
    On a CPU in float32 at least, because there the backward pass of the fused kernel is slower in bfloat16.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, mask, dropout)
    with torch.autocast("cpu", enabled=False):
        queries, keys, values = (full_precision(x) for x in (query, key, value))
        return F.scaled_dot_product_attention(queries, keys, values, mask, dropout).to(query.dtype)


class TransformerLayer(nn.Module):
    """Pre-norm transformer layer: x + MHSA(LN(x)), then x + FFN(LN(x)).

    The heads' inner width is heads x head_dim, whatever the layer's width is; the projections to queries,
    keys and values have no bias; the feed-forward part is Linear, GELU, Linear. No LayerNorm at the end.
    """

    def __init__(self, width: int, heads: int, head_dim: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.attention_out = nn.Linear(inner, width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feedforward),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D), mask (B, T) of the keys that may be attended to, one a row at least -> (B, T, D)."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, H, D/H)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D/H) each
        keys = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, T)
        attended = attention(query, key, value, keys)
        x = x + self.dropout(self.attention_out(attended.transpose(1, 2).flatten(2)))
        return x + self.feedforward(x)


@contextmanager
def changed_output(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, what the module gives goes through `change`; the rest of a tuple stays."""

    def changed(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    hook = module.register_forward_hook(changed)
    try:
        yield
    finally:
        hook.remove()


# ------------------------------------------------------------------------------------- means and distances
def full_precision(x: Tensor) -> Tensor:
    """x in float32, or in float64 if it is that already."""
    return x if x.dtype == torch.float64 else x.float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries that the mask selects, 0 where it selects none: (B, ...), mask (B, ...) -> scalar.

    The mask has the values' shape or its leading part, e.g. (B,).
    """
    selected = mask.reshape(mask.shape + (1,) * (values.dim() - mask.dim())).expand_as(values)
    return values.masked_fill(~selected, 0.0).sum() / selected.sum().clamp(min=1)


def mean_over_time(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the steps that are real: (B, T, D), mask (B, T) -> (B, D), 0 where a row has none.

    In float32 at least; what lies in masked steps, even NaN, has no effect and no gradient.
    """
    total = full_precision(values).masked_fill(~mask[..., None], 0.0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)


def masked_logsumexp(values: Tensor, mask: Tensor, dim: int) -> Tensor:
    """ln Σ exp of the entries that the mask selects, over `dim`; -inf where it selects none.

    In float32 at least. The gradient is 0 at every entry that is not selected, also in a row without any.
    Values and mask broadcast.
    """
    values, mask = torch.broadcast_tensors(full_precision(values), mask)
    some = mask.any(dim=dim, keepdim=True)
    # a row of nothing but -inf has no gradient; such a row counts 0s, and is set to -inf afterwards
    total = values.masked_fill(~mask, -torch.inf).masked_fill(~some, 0.0).logsumexp(dim=dim)
    return total.masked_fill(~some.squeeze(dim), -torch.inf)


def pairs(rows: Tensor) -> Tensor:
    """(N,) bool -> (N, N) bool: both are among the rows, and they are two."""
    return (rows[:, None] & rows).fill_diagonal_(False)


def row_similarity(a: Tensor, b: Tensor, temperature: float = 1.0) -> Tensor:
    """Cosine of each row of a with each row of b, over a temperature: (B, D), (N, D) -> (B, N).

    In float32 at least, also under autocast. A row of length zero has similarity 0 and gradient 0.
    """

    def unit(rows: Tensor) -> Tensor:
        rows = full_precision(rows)
        length = rows.norm(dim=-1, keepdim=True)
        return rows / length.masked_fill(length < 1e-8, torch.inf)

    with torch.autocast(a.device.type, enabled=False):
        return unit(a) @ unit(b).T / temperature


def length_shares(vectors: dict[str, Tensor]) -> dict[str, float]:
    """Share of each vector in the squared length of all; 0 where all are zero."""
    squares = {name: float(vector.double().square().sum()) for name, vector in vectors.items()}
    total = sum(squares.values()) or 1.0
    return {name: square / total for name, square in squares.items()}


def kl_to_prior(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) per element: ½ (μ² + σ² − 1 − 2 ln σ), with logvar = 2 ln σ."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
