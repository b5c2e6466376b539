"""The parts of MIRD around its private representations: encoders, decoders, and the OC baseline.

Equation numbers are those of MIRD, see mird.py; section 3.2, 3.4 and 3.5 of the paper.

Shapes: B clips, T steps, d width of a representation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.blocks import full_precision, masked_mean

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


# ------------------------------------------------------------------------------------------ 3.5: OC baseline
def orthogonality(first: Tensor, second: Tensor, among1: Tensor, among2: Tensor) -> Tensor:
    """‖Z¹ Z²ᵀ‖_F² (9), as a mean over its entries [D]: (B, d) twice, rows that count (B,) -> scalar."""
    return masked_mean((first @ second.T).square(), among1[:, None] & among2)


# ------------------------------------------------------------------------------------------------ 3.7: losses
def log_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of the selected entries' mean, at least ln 1e-6; 0 where there is none."""
    return torch.where(mask.any(), masked_mean(values, mask).clamp(min=SMALLEST).log(), 0.0)
