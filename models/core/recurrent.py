"""LSTMs over sequences of different lengths, in one direction or both.

The result is that of a packed sequence, which would have a GPU wait for the lengths: padding stands last,
where no real step reads it, and for the way back the real steps alone are turned round.

Shapes: B clips, T steps, F features, W width of all directions together. Masks: True = real, these first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.core.blocks import full_precision


class LSTM(nn.LSTM):
    """One layer in one direction.

    On a CPU it computes in float32, under autocast too: oneDNN has LSTMs of bfloat16 for some processors
    only, and raises on the others.
    """

    def __init__(self, features: int, width: int):
        super().__init__(features, width, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, F) -> states (B, T, W)."""
        with torch.autocast("cpu", enabled=False):
            return super().forward(full_precision(values))[0]


class Recurrent(nn.Module):
    """An LSTM, or one in each direction."""

    def __init__(self, features: int, width: int, *, both: bool = False):
        super().__init__()
        self.ahead = LSTM(features, width)
        self.back = LSTM(features, width) if both else None

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F), mask (B, T) -> states (B, T, W), of no meaning where masked, and the last (B, W).

        The last of each direction is the one that has read all real steps; 0 where there is none.
        """
        number = mask.sum(dim=1, keepdim=True)  # (B, 1)
        states = [self.ahead(values)]
        if self.back is not None:
            steps = torch.arange(values.shape[1], device=values.device)
            turned = torch.where(mask, number - 1 - steps, steps)[..., None]  # (B, T, 1)
            states.append(self.back(values.gather(1, turned.expand_as(values))))
        last = (number - 1).clamp(min=0)[..., None]  # (B, 1, 1), the same place in both
        ends = [state.gather(1, last.expand(-1, -1, state.shape[-1])).squeeze(1) for state in states]
        if self.back is not None:
            states[1] = states[1].gather(1, turned.expand_as(states[1]))
        return torch.cat(states, dim=-1), torch.cat(ends, dim=-1).masked_fill(number == 0, 0.0)


class SentenceVector(nn.Module):
    """One vector of a sequence: the last states, dropout, a Linear."""

    def __init__(self, features: int, hidden: int, width: int, dropout: float, *, both: bool = False):
        super().__init__()
        self.recurrent = Recurrent(features, hidden, both=both)
        self.project = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden if both else hidden, width))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, F), mask (B, T) -> (B, width); that of zeros where a row has no real step."""
        _, last = self.recurrent(values, mask)
        return self.project(last)
