"""Small blocks and losses that methods share. The contract of a method is in models/core/method.py.

Shapes: B clips, T time steps, L keys, D width. Masks: True = real.
Everything under an exp, a log or a mean of a loss is computed in float32 at least (`full_precision`),
also where autocast has made the layers' outputs bfloat16.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core.errors import ParamsError


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of all heads, (B, H, T, D), (B, H, L, D), (B, H, L, D) -> (B, H, T, D).

    On a CPU in float32 at least, because there the backward pass of the fused kernel is slower in bfloat16.

    Parameters
    ----------
    mask : broadcasts to (B, H, T, L), True = may be attended to; None = all
    dropout : share of the weights that are dropped
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
        """(B, T, D) -> (B, T, D).

        Parameters
        ----------
        x : (B, T, D)
        mask : (B, T), True = a key that may be attended to, at least one a row; None = all
        """
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, H, D/H)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D/H) each
        keys = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, T)
        attended = attention(query, key, value, keys)
        x = x + self.dropout(self.attention_out(attended.transpose(1, 2).flatten(2)))
        return x + self.feedforward(x)


# ------------------------------------------------------------------------------------- means and distances
def full_precision(x: Tensor) -> Tensor:
    """x in float32, or in float64 if it is that already."""
    return x if x.dtype == torch.float64 else x.float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries that the mask selects; 0 where it selects none.

    Parameters
    ----------
    values : (B, ...)
    mask : values' shape or its leading part, e.g. (B,)

    Returns
    -------
    scalar
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

    Parameters
    ----------
    values, mask : of one shape, or of shapes that broadcast
    """
    values, mask = torch.broadcast_tensors(full_precision(values), mask)
    some = mask.any(dim=dim, keepdim=True)
    # a row of nothing but -inf has no gradient; such a row counts 0s, and is set to -inf afterwards
    total = values.masked_fill(~mask, -torch.inf).masked_fill(~some, 0.0).logsumexp(dim=dim)
    return total.masked_fill(~some.squeeze(dim), -torch.inf)


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


# ----------------------------------------------------------------------------------------------- Gaussians
def kl_to_prior(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) per element: ½ (μ² + σ² − 1 − 2 ln σ), with logvar = 2 ln σ."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def kl_between(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL(N(μ₁, σ₁²) ‖ N(μ₂, σ₂²)) per element: ln(σ₂/σ₁) + (σ₁² + (μ₁ − μ₂)²) / (2 σ₂²) − ½."""
    distance = (mean1 - mean2).square()
    return 0.5 * (logvar2 - logvar1 + (logvar1 - logvar2).exp() + distance * (-logvar2).exp() - 1)


class Clubs(nn.Module):
    """CLUB of all pairs (x, y) at once: upper bounds of their mutual information, and the estimators q(y|x).

    MIRD (12) to (15); the bound is CLUB's (Cheng et al., ICML 2020). q(y|x) is N(μ(x), e^lv(x)), with a net
    for μ and one for lv, whose tanh keeps the variance within [1/e, e]. All y have one width, and so all nets
    are a few products; one pair after the other would be some thousand small kernels in the steps that MIRD's
    estimators take before each update.

    Shapes: P pairs, N rows, d width of every y, h hidden width.

    Parameters
    ----------
    x_widths : of x, of each pair
    """

    def __init__(self, x_widths: list[int], y_width: int, hidden: int):
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(x, 2 * hidden) for x in x_widths)  # of μ, then of lv
        bound = hidden**-0.5  # as nn.Linear begins
        self.weight = nn.Parameter(torch.empty(len(x_widths), 2, hidden, y_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(len(x_widths), 2, 1, y_width).uniform_(-bound, bound))

    def forward(self, xs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """P of (N, x_width) -> μ and lv = ln σ², (P, N, d) in float32 at least."""
        inner = torch.stack([layer(full_precision(x)) for layer, x in zip(self.inner, xs, strict=True)])
        hidden = F.relu(inner).unflatten(-1, (2, -1)).transpose(1, 2)  # (P, 2, N, h)
        mean, logvar = full_precision(hidden @ self.weight + self.bias).unbind(dim=1)
        return mean, torch.tanh(logvar)

    def nll(self, xs: list[Tensor], ys: Tensor, among: Tensor) -> Tensor:
        """What the estimators minimise, (P,): mean_i Σ_d (y − μ)² e^−lv + lv, without ½ and constants.

        Parameters
        ----------
        xs, ys : P of (N, x_width), and (P, N, d); finite in all rows
        among : (P, N) bool, rows that count; a pair without any gives 0
        """
        mean, logvar = self(xs)
        errors = (full_precision(ys) - mean).square() * (-logvar).exp() + logvar
        return mean_over_time(errors, among).sum(dim=-1)  # a pair's rows stand where a clip's steps would

    def upper_bounds(self, xs: list[Tensor], ys: Tensor, among: Tensor) -> Tensor:
        """Î of (12), (P,): log-likelihood of the pairs less that of all x_i with all y_j, j = i too.

        The mean over j is taken in closed form, mean_j (y_j − μ_i)² = (ȳ − μ_i)² + mean_j (y_j − ȳ)²: no
        N x N tensor, and exactly 0 with one row. May be negative. Arguments as of `nll`.
        """
        ys, (mean, logvar) = full_precision(ys), self(xs)
        centre = mean_over_time(ys, among)[:, None]  # (P, 1, d)
        spread = mean_over_time((ys - centre).square(), among)[:, None]
        excess = (centre - mean).square() + spread - (ys - mean).square()
        return mean_over_time(0.5 * excess * (-logvar).exp(), among).sum(dim=-1)


# ------------------------------------------------------------------------------------------ sparse choices
def sparsemax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Euclidean projection of each row of scores onto the simplex (Martins and Astudillo, ICML 2016).

    Over the last dimension, in float32 at least. Masked entries are exactly 0 and get no gradient.

    Parameters
    ----------
    scores : (..., T)
    mask : broadcasts to the scores, True = may be chosen; None = all. A row without any gives zeros.
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


def squared_cv(values: Tensor) -> Tensor:
    """Squared coefficient of variation, unbiased variance / mean²: (E,) -> scalar; 0 for one value.

    The balance of a mixture's experts, KHaR (6); Shazeer et al., ICLR 2017.
    """
    values = full_precision(values)
    if values.numel() == 1:
        return values.sum() * 0.0
    return values.var() / (values.mean().square() + 1e-10)


class SparseGate(nn.Module):
    """Which k of the experts each row goes to, and with which weights: KHaR (4).

    Always in float32 at least: rounded to bfloat16, scores tie, and the choice would follow the index.

    Parameters
    ----------
    width : D of a row
    experts, k : E and how many of them a row uses
    noisy : in training add N(0, 1) (softplus(x W_n) + 0.01) to the scores, as Shazeer et al. do
    """

    def __init__(self, width: int, experts: int, k: int, noisy: bool = False):
        super().__init__()
        if not 1 <= k <= experts:
            raise ParamsError(f"each row goes to k = {k} of {experts} experts; k must be 1 to {experts}")
        self.k = k
        self.score = nn.Linear(width, experts, bias=False)
        nn.init.normal_(self.score.weight, std=1e-2)  # zeros would tie all experts at the start
        self.noise = nn.Linear(width, experts, bias=False) if noisy else None
        if self.noise is not None:
            nn.init.zeros_(self.noise.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) -> gates (..., E), k of them non-zero with sum 1; and the softmax over all E."""
        with torch.autocast(x.device.type, enabled=False):
            x = full_precision(x)
            scores = self.score(x)
            if self.noise is not None and self.training:
                scores = scores + torch.randn_like(scores) * (F.softplus(self.noise(x)) + 1e-2)
            kept, chosen = scores.topk(self.k, dim=-1)
            gates = torch.zeros_like(scores).scatter(-1, chosen, kept.softmax(dim=-1))
            return gates, scores.softmax(dim=-1)


# ------------------------------------------------------------------------------------- several modalities
class MultimodalAdaptationGate(nn.Module):
    """MAG: words shifted by what other modalities add to each of them. MIRD (3) to (6), after MAG-BERT.

    Parameters
    ----------
    width : of a word, D
    dims : width of each other modality, d_m; the text alone (empty) is left as it is before the LayerNorm
    gate : activation of the gates; the paper says sigmoid, all published code relu
    epsilon : longest shift, as a share of the word's length
    """

    def __init__(
        self,
        width: int,
        dims: dict[str, int],
        gate: Literal["sigmoid", "relu"] = "sigmoid",
        epsilon: float = 1.0,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.activation = torch.sigmoid if gate == "sigmoid" else torch.relu
        self.epsilon = epsilon
        self.gate = nn.ModuleDict({name: nn.Linear(dim + width, width) for name, dim in dims.items()})
        self.project = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in dims.items()})
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, shifts: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """LayerNorm and dropout of w + λh, (B, T, D).

        Parameters
        ----------
        words : (B, T, D)
        shifts : modality -> (B, T, d_m), what it says beside each word
        present : modality -> (B,) bool; an absent one adds nothing, whatever its values are
        """
        return self.dropout(self.norm(words + self.shift(words, shifts, present)))

    def shift(self, words: Tensor, shifts: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """λh with h = Σ_m g^m ⊙ Linear(x^m), g^m = act(Linear([x^m; w])) (3), (4): (B, T, D)."""
        words = full_precision(words)
        total = torch.zeros_like(words)
        for name, project in self.project.items():
            absent = ~present[name][:, None, None]
            x = full_precision(shifts[name]).masked_fill(absent, 0.0)
            gate = self.activation(self.gate[name](torch.cat([x, words], dim=-1)))
            total = total + full_precision(gate * project(x)).masked_fill(absent, 0.0)
        return shift_scale(words, total, self.epsilon) * total


def shift_scale(words: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """λ of (6), min(ε ‖w‖ / (‖h‖ + 1e-6), 1): (..., D), (..., D) -> (..., 1), so that ‖λh‖ ≤ ε ‖w‖."""
    word, length = (x.norm(dim=-1, keepdim=True) for x in (words, shift))
    return (epsilon * word / (length + 1e-6)).clamp(max=1.0).masked_fill(length == 0, 1.0)


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

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), y (B, L, D), mask (B, L) with a True in each row -> (B, T, D)."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, D/H)
        key, value = self.key_value(y).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        attended = attention(query, key, value, mask[:, None, None, :], dropout)
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

    def forward(self, x: Tensor, y: Tensor, mask1: Tensor, mask2: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T1, D), (B, T2, D), masks (B, T1), (B, T2) -> both anew; the two cross at the same time."""
        x, y = self.cross1(x, y, mask2), self.cross2(y, x, mask1)
        return self.inner1(self.self1(x, x, mask1)), self.inner2(self.self2(y, y, mask2))


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
        """Last states of the two learnt tokens, (B, D) each.

        Parameters
        ----------
        first, second : (B, T1, D), (B, T2, D), finite also where masked
        mask1, mask2 : (B, T1), (B, T2)
        """
        x, mask1 = self._begun(self.token1, first, mask1)
        y, mask2 = self._begun(self.token2, second, mask2)
        for layer in self.layers:
            x, y = layer(x, y, mask1, mask2)
        return x[:, 0], y[:, 0]

    @staticmethod
    def _begun(token: Tensor, sequence: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The sequence and its mask with the learnt token before them."""
        begun = torch.cat([token.to(sequence).expand(len(sequence), 1, -1), sequence], dim=1)
        return begun, F.pad(mask, (1, 0), value=True)
