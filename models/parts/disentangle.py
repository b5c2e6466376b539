"""The parts of MIRD around its private representations: encoders, decoders, estimators, and the OC baseline.

Equation numbers are those of MIRD, see mird.py; section 3.2, 3.4 and 3.5 of the paper.

Shapes: B clips, T steps, d width of a representation, P pairs (x, y), each for q(y|x), h hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.common import full_precision, masked_mean

SMALLEST = 1e-6  # of a mean whose logarithm is a loss


# ----------------------------------------------------------------------------------- 3.2, 3.4: there and back
class PrivateEncoder(nn.Module):
    """z^m (1): an LSTM's state at the last real step, and a linear layer."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.lstm = nn.LSTM(features, width, batch_first=True)
        self.project = nn.Linear(width, width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, features), mask (B, T), real steps first -> (B, d).

        The authors' code takes the last step, padding or not [D]. A packed sequence would give the same as
        this, but have a GPU wait for the lengths.
        """
        states, _ = self.lstm(values)
        last = (mask.sum(dim=1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[-1])
        return self.project(states.gather(1, last).squeeze(1))


class Decoder(nn.Module):
    """X̂^m (8): an LSTM cell that hears [z^S; z^m] first, and from then on its own last state [R]."""

    def __init__(self, width: int, features: int):
        super().__init__()
        self.cell = nn.LSTMCell(width, width)
        self.out = nn.Linear(width, features)

    def forward(self, start: Tensor, steps: int) -> Tensor:
        """[z^S; z^m] (B, 2d) -> (B, steps, features).

        With its last state h as input, the cell computes W_ih h + W_hh h. So this is an LSTM with recurrent
        weights W_ih + W_hh that starts from zero and hears `start`, then zeros: one call, no loop.
        """
        cell, width = self.cell, start.shape[1]
        parts = (cell.weight_ih, cell.weight_ih + cell.weight_hh, cell.bias_ih, cell.bias_hh)
        piece = torch.cat([part.flatten() for part in parts])  # cuDNN wants them one behind the other
        flat = piece.split([part.numel() for part in parts])
        weights = [values.view_as(part) for values, part in zip(flat, parts, strict=True)]
        heard = F.pad(start[None], (0, 0, 0, 0, 0, steps - 1))  # (T, B, 2d)
        zero = start.new_zeros(1, len(start), width)
        states, *_ = torch.lstm(heard, [zero, zero], weights, True, 1, 0.0, self.training, False, False)
        return self.out(states.transpose(0, 1))


@dataclass
class Rebuilt:
    """A decoder's result beside what it should have been.

    Attributes
    ----------
    values : (B, T, D) X̂^m, or logits over the vocabulary
    target : (B, T, D) X^m, or (B, T) token ids
    mask : (B, T) bool, steps that count
    """

    values: Tensor
    target: Tensor
    mask: Tensor

    def errors(self) -> Tensor:
        """Squared errors (B, T, D), or cross-entropies (B, T), in float32 at least."""
        values = full_precision(self.values)
        if self.target.dtype == torch.int64:
            flat = F.cross_entropy(values.flatten(0, 1), self.target.flatten(), reduction="none")
            return flat.view_as(self.target)
        return (values - self.target).square()


# ----------------------------------------------------------------------- 3.5: mutual information, OC baseline
class Estimators(nn.Module):
    """q(y|x) = N(μ(x), e^lv(x)) of all pairs, lv through tanh: `common.Club` for each, in a few products.

    One `Club` after the other would be some thousand small kernels in the T' steps before each update.

    Parameters
    ----------
    x_widths : of x, of each pair
    width, hidden : of every y, and of the hidden layer
    """

    def __init__(self, x_widths: list[int], width: int, hidden: int):
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(x, 2 * hidden) for x in x_widths)  # of μ, then of lv
        bound = hidden**-0.5  # as nn.Linear begins
        self.weight = nn.Parameter(torch.empty(len(x_widths), 2, hidden, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(len(x_widths), 2, 1, width).uniform_(-bound, bound))

    def forward(self, xs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """P of (B, x_width) -> μ and lv = ln σ², (P, B, d)."""
        inner = torch.stack([layer(x) for layer, x in zip(self.inner, xs, strict=True)])  # (P, B, 2h)
        hidden = F.relu(inner).unflatten(-1, (2, -1)).transpose(1, 2)  # (P, 2, B, h)
        mean, logvar = (hidden @ self.weight + self.bias).unbind(dim=1)
        return mean, torch.tanh(logvar)

    def nll(self, xs: list[Tensor], ys: Tensor, among: Tensor) -> Tensor:
        """(13), (15) of each pair, (P,): mean_i Σ_d (y − μ)² e^−lv + lv, without ½ and constants [R].

        Parameters
        ----------
        xs, ys : P of (B, x_width), and (P, B, d); finite in all rows
        among : (P, B) bool, rows that count; a pair without any gives 0
        """
        mean, logvar = self(xs)
        return row_mean(((ys - mean).square() * (-logvar).exp() + logvar).sum(dim=-1), among)

    def upper_bounds(self, xs: list[Tensor], ys: Tensor, among: Tensor) -> Tensor:
        """Î (12), (14) of each pair, (P,); may be negative. Arguments as of `nll`.

        The mean over j is taken in closed form: mean_j (y_j − μ_i)² = (ȳ − μ_i)² + mean_j (y_j − ȳ)².
        """
        mean, logvar = self(xs)
        counts = among.sum(dim=1).clamp(min=1)[:, None, None]
        outside = ~among[..., None]
        centre = ys.masked_fill(outside, 0.0).sum(dim=1, keepdim=True) / counts  # (P, 1, d)
        spread = (ys - centre).square().masked_fill(outside, 0.0).sum(dim=1, keepdim=True) / counts
        excess = (centre - mean).square() + spread - (ys - mean).square()
        return row_mean((0.5 * excess * (-logvar).exp()).sum(dim=-1), among)


def row_mean(values: Tensor, among: Tensor) -> Tensor:
    """Mean of each row's selected entries: (P, B), (P, B) -> (P,); 0 where none is."""
    return values.masked_fill(~among, 0.0).sum(dim=1) / among.sum(dim=1).clamp(min=1)


def orthogonality(first: Tensor, second: Tensor, among1: Tensor, among2: Tensor) -> Tensor:
    """‖Z¹ Z²ᵀ‖_F² (9), as a mean over its entries [D]: (B, d) twice, rows that count (B,) -> scalar."""
    return masked_mean((first @ second.T).square(), among1[:, None] & among2)


# ------------------------------------------------------------------------------------------------ 3.7: losses
def log_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of the selected entries' mean, at least ln 1e-6; 0 where there is none."""
    return torch.where(mask.any(), masked_mean(values, mask).clamp(min=SMALLEST).log(), 0.0)
