"""MIRD's private representations: encoders, decoders, the estimators of their information, the OC baseline.

Equation numbers are those of MIRD, see model.py.

Shapes: B clips, T steps, d width of a representation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.blocks import full_precision, last_step, masked_mean, mean_over_time
from models.core.recurrent import LSTM

SMALLEST = 1e-6  # of a mean whose logarithm is a loss
NEAR_ZERO = 1e-6  # variance over clips that counts as none


# ----------------------------------------------------------------------------------- 3.2, 3.4: there and back
class PrivateEncoder(nn.Module):
    """z^m (1): an LSTM's state at the last real step, and a linear layer."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.lstm = LSTM(features, width)
        self.project = nn.Linear(width, width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, features), mask (B, T), real steps first -> (B, d).

        The authors' code takes the last step, padding or not [D].
        """
        return self.project(last_step(self.lstm(values), mask))


class Decoder(nn.Module):
    """X̂^m (8): an LSTM cell whose first input is [z^S; z^m], and each later one its own last state [R]."""

    def __init__(self, width: int, features: int):
        super().__init__()
        self.cell = nn.LSTMCell(width, width)
        self.out = nn.Linear(width, features)

    def forward(self, start: Tensor, steps: int) -> Tensor:
        """[z^S; z^m] (B, 2d) -> (B, steps, features).

        With its last state h as input, the cell computes W_ih h + W_hh h. So this is an LSTM with recurrent
        weights W_ih + W_hh that starts from zero and reads `start`, then zeros: one call, no loop.
        """
        cell, width = self.cell, start.shape[1]
        parts = (cell.weight_ih, cell.weight_ih + cell.weight_hh, cell.bias_ih, cell.bias_hh)
        piece = torch.cat([part.flatten() for part in parts])  # cuDNN wants them one behind the other
        flat = piece.split([part.numel() for part in parts])
        weights = [values.view_as(part) for values, part in zip(flat, parts, strict=True)]
        inputs = F.pad(full_precision(start)[None], (0, 0, 0, 0, 0, steps - 1))  # (T, B, 2d)
        zero = inputs.new_zeros(1, len(start), width)
        with torch.autocast("cpu", enabled=False):  # as models.core.recurrent.LSTM
            states, *_ = torch.lstm(inputs, [zero, zero], weights, True, 1, 0.0, self.training, False, False)
        return self.out(states.transpose(0, 1))


@dataclass
class Reconstruction:
    """A decoder's result beside what it should have been."""

    values: Tensor  # (B, T, D) X̂^m, or logits over the vocabulary
    target: Tensor  # (B, T, D) X^m, or (B, T) token ids
    mask: Tensor  # (B, T) bool, steps that count

    def errors(self) -> Tensor:
        """Squared errors (B, T, D), or cross-entropies (B, T), in float32 at least."""
        values = full_precision(self.values)
        if self.target.dtype == torch.int64:
            flat = F.cross_entropy(values.flatten(0, 1), self.target.flatten(), reduction="none")
            return flat.view_as(self.target)
        return (values - self.target).square()


# ------------------------------------------------------------------------------- 3.5: mutual information
def standardized(z: Tensor, among: Tensor) -> Tensor:
    """z (N, B, d) with mean 0 and variance 1 over the rows that count (N, B), width by width; 0 in others.

    Mutual information does not depend on the scale of z, but a bound by estimators whose variance is at
    least 1/e does: it falls as z shrinks. Without its scale, which has no gradient then, it has to lose
    information. (A LayerNorm of z is no cure: z shrinks beside a vector that all clips share.)
    """
    centred = (z - mean_over_time(z, among)[:, None]).masked_fill(~among[..., None], 0.0)
    variance = mean_over_time(centred.square(), among)[:, None]
    return centred * (variance + NEAR_ZERO).rsqrt()


class Clubs(nn.Module):
    """CLUB of all pairs (x, y) at once: upper bounds of their mutual information, and the estimators q(y|x).

    MIRD (12) to (15); the bound is CLUB's (Cheng et al., ICML 2020). q(y|x) is N(μ(x), e^lv(x)), with a net
    for μ and one for lv, whose tanh keeps the variance within [1/e, e]. All y have one width, and so all nets
    are a few products; one pair after the other would be some thousand small kernels in the steps that MIRD's
    estimators take before each update.

    Shapes: P pairs, N rows, d width of every y, h hidden width. `x_widths` has that of x for each pair.
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

        xs: P of (N, x_width), and ys (P, N, d), finite in all rows; among (P, N) bool, rows that count. A
        pair without any gives 0.
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


# ------------------------------------------------------------------------------------------ 3.5: OC baseline
def orthogonality(first: Tensor, second: Tensor, among1: Tensor, among2: Tensor) -> Tensor:
    """‖Z¹ Z²ᵀ‖_F² (9), as a mean over its entries [D]: (B, d) twice, rows that count (B,) -> scalar."""
    return masked_mean((first @ second.T).square(), among1[:, None] & among2)


# ------------------------------------------------------------------------------------------------ 3.7: losses
def log_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of the selected entries' mean, at least ln 1e-6; 0 where there is none."""
    return torch.where(mask.any(), masked_mean(values, mask).clamp(min=SMALLEST).log(), 0.0)
