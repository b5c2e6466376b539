"""Layers, hooks, means and distances that two or more methods use.

Shapes: B clips, T time steps, L keys, D width. Masks: True = real.
Everything under an exp, a log or a mean of a loss is computed in float32 at least (`full_precision`),
also where autocast has made the layers' outputs bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


def key_bias(mask: Tensor) -> Tensor:
    """What `attention` adds to the scores of keys, made once for all layers: (B, L) bool -> (B, 1, 1, L).

    0 for keys that may be attended to, of which a row has one at least, -inf for the others.
    """
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf)[:, None, None]


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of all heads, (B, H, T, D), (B, H, L, D), (B, H, L, D) -> (B, H, T, D).

    The bias of the keys is that of `key_bias`, None = all may be attended to; `dropout` is of the weights.
    A CPU in bfloat16 has products of its own, but a slow fused kernel, above all its backward pass.
    """
    bias = None if bias is None else bias.to(query.dtype)
    if (query.device.type, query.dtype) != ("cpu", torch.bfloat16):
        return F.scaled_dot_product_attention(query, key, value, bias, dropout)
    with torch.autocast("cpu", enabled=False):  # which would turn the scores into float32; softmax adds in it
        scores = query.shape[-1] ** -0.5 * query @ key.mT
        weights = torch.softmax(scores if bias is None else scores + bias, dim=-1)
        return F.dropout(weights, dropout) @ value


# ------------------------------------------------------------------------------- modules alike, in one pass
def together(modules: Iterable[nn.Module], x: Tensor) -> Any:
    """Modules alike, each on its part of x (M, ...): what the first gives, of M parts, by a pass for all.

    Their linear layers and norms have to be `Linear` and `LayerNorm` from here; all else in them has no
    parameters, and takes shapes with a dimension in front.
    """
    first, *others = modules
    named = dict(first.named_parameters())
    flat = torch.cat([p.flatten() for module in (first, *others) for p in module.parameters()])
    parts = flat.view(len(x), -1).split([p.numel() for p in named.values()], dim=1)
    stacked = {name: part.unflatten(1, named[name].shape) for name, part in zip(named, parts, strict=True)}
    return functional_call(first, stacked, (x,))


class Linear(nn.Linear):
    """nn.Linear; within `together` M of them, (M, ..., in) -> (M, ..., out)."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return super().forward(input)
        rows, weight = input.flatten(1, -2), self.weight.mT  # (M, N, in), (M, in, out)
        product = rows @ weight if self.bias is None else torch.baddbmm(self.bias[:, None], rows, weight)
        return product.unflatten(1, input.shape[1:-1])


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm over the last dimension; within `together` M of them, (M, ..., D) -> (M, ..., D)."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.dim() == 1:
            return super().forward(input)
        normal = F.layer_norm(input, self.normalized_shape, eps=self.eps)
        weight, bias = (
            part.view(len(part), *[1] * (input.dim() - 2), -1) for part in (self.weight, self.bias)
        )
        return torch.addcmul(bias, normal, weight)


class TransformerLayer(nn.Module):
    """Pre-norm transformer layer: x + MHSA(LN(x)), then x + FFN(LN(x)).

    The heads' inner width is heads x head_dim, whatever the layer's width is; the projections to queries,
    keys and values have no bias; the feed-forward part is Linear, GELU, Linear. No LayerNorm at the end.
    """

    def __init__(self, width: int, heads: int, head_dim: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.attention_norm = LayerNorm(width)
        self.qkv = Linear(width, 3 * inner, bias=False)
        self.attention_out = Linear(inner, width)
        self.feedforward = nn.Sequential(
            LayerNorm(width),
            Linear(width, feedforward),
            nn.GELU(),
            nn.Dropout(dropout),
            Linear(feedforward, width),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None, steps: int | None = None) -> Tensor:
        """(..., T, D) -> the same, or its first `steps` alone, (..., steps, D); they attend to all T.

        bias : `key_bias` of the T steps, for x (B, T, D)
        """
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))  # (..., T, 3, H, D/H)
        query, key, value = qkv.movedim(-3, 0).transpose(-2, -3).flatten(1, -4)  # (B, H, T, D/H) each
        attended = attention(query[:, :, :steps], key, value, bias).transpose(1, 2).flatten(2)
        x = x[..., :steps, :]
        x = x + self.dropout(self.attention_out(attended.unflatten(0, x.shape[:-2])))
        return x + self.feedforward(x)


def sinusoids(like: Tensor) -> Tensor:
    """(B, T, D) -> (T, D) sines and cosines of each position: a table to learn would bound the length."""
    steps, width = like.shape[1:]
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=like.device) / width)  # 1 to 1/10000
    angles = torch.arange(steps, device=like.device)[:, None] * rates  # (T, D/2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width].to(like.dtype)


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


def std_over_time(values: Tensor, mask: Tensor) -> Tensor:
    """Population standard deviation of the real steps: (B, T, D), mask (B, T) -> (B, D), 0 of one or none.

    In float32 at least. Where it is 0 so is its gradient, and what lies in masked steps has no effect.
    """
    values = full_precision(values).masked_fill(~mask[..., None], 0.0)
    away = values - mean_over_time(values, mask)[:, None]
    variance = mean_over_time(away.square(), mask)
    some = variance > 0
    return variance.where(some, 1.0).sqrt().masked_fill(~some, 0.0)


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


def last_step(values: Tensor, mask: Tensor) -> Tensor:
    """The last real step: (B, T, D), mask (B, T), real steps first -> (B, D); the first step where none is.

    An LSTM's state there is that of a packed sequence, which would have a GPU wait for the lengths.
    """
    last = (mask.sum(dim=1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, values.shape[-1])
    return values.gather(1, last).squeeze(1)


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
