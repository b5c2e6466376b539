"""The encoders that TFN and LMF share, one vector z^m of each modality, and the 1 that both put before it.

    text            ─LSTM─▶ state at the last real step ─dropout─▶ Linear ─▶ z^text
    audio, visual   ─mean of the real steps─▶ BatchNorm ─dropout─▶ 3 x (Linear, ReLU) ─▶ z^m

These are the encoders of MMSA [R], whose TFN and LMF are the ones in tables since 2020. There the mean is
over padding too, and the LSTM's last step is padding in clips shorter than the array; not here [D].

Shapes: B clips, T steps, D features, h width of a vector.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Sequences
from models.core.blocks import last_step, mean_over_time
from models.core.method import Share
from models.core.recurrent import LSTM
from pipeline.core.section import Section


class HiddenWidths(Section):
    """Widths inside the encoders; audio's and visual's are those of their vectors too."""

    text: PositiveInt = 128
    audio: PositiveInt = 32
    visual: PositiveInt = 128


class Dropouts(Section):
    """Shares that are dropped: of the LSTM's state, and of the normalised means."""

    text: Share = 0.3  # [D] applied; [R] sets it to 0 where the LSTM has one layer, as it always has
    audio: Share = 0.3
    visual: Share = 0.3


class TextLSTM(nn.Module):
    """One vector of a text: the LSTM's state at the last token, and a linear layer without activation."""

    def __init__(self, features: int, hidden: int, width: int, dropout: float):
        super().__init__()
        self.lstm = LSTM(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(hidden, width)

    def forward(self, text: Sequences) -> Tensor:
        """(B, T, D) -> (B, h)."""
        return self.project(self.dropout(last_step(self.lstm(text.values), text.mask)))


class PresentBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the clips that have the modality; with fewer than two, by the running statistics [D].

    [R] counts all, and cannot train on a batch of one clip.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, input: Tensor, present: Tensor) -> Tensor:  # type: ignore[override]
        """(B, D), rows of absent clips 0; present (B,) bool."""
        if not self.training:
            return super().forward(input)
        count, rows = present.sum(), present[:, None].to(input)
        mean = input.sum(dim=0) / count.clamp(min=1)
        variance = ((input - mean).square() * rows).sum(dim=0) / count.clamp(min=1)
        enough = count > 1
        with torch.no_grad():
            seen = {"running_mean": mean, "running_var": variance * count / (count - 1).clamp(min=1)}
            for name, value in seen.items():
                running = getattr(self, name)
                running += (self.momentum * (value - running)).masked_fill(~enough, 0.0)
            self.num_batches_tracked += enough
        mean, variance = mean.where(enough, self.running_mean), variance.where(enough, self.running_var)
        return (input - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


class MeanEncoder(nn.Module):
    """One vector of a sequence of frames, from its mean."""

    def __init__(self, features: int, width: int, dropout: float):
        super().__init__()
        self.norm = PresentBatchNorm(features)
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(features, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    def forward(self, frames: Sequences) -> Tensor:
        """(B, T, D) -> (B, h)."""
        return self.layers(self.norm(mean_over_time(frames.values, frames.mask), frames.present))


class Subnets(nn.ModuleDict):
    """An encoder a modality.

    Parameters
    ----------
    text_width : of the text's vector

    Attributes
    ----------
    widths : of the vectors, by modality
    """

    def __init__(self, dims: dict[str, int], hidden: HiddenWidths, text_width: int, dropout: Dropouts):
        super().__init__()
        self.widths = {name: text_width if name == "text" else getattr(hidden, name) for name in dims}
        for name, features in dims.items():
            width, share = self.widths[name], getattr(dropout, name)
            if name == "text":
                self[name] = TextLSTM(features, hidden.text, width, share)
            else:
                self[name] = MeanEncoder(features, width, share)

    def forward(self, inputs: dict[str, Sequences]) -> dict[str, Tensor]:
        """z̃^m = [1; z^m] by modality, (B, 1 + h) each; [1; 0] where the clip has not the modality [D].

        So a product of all keeps what the others say, alone and together.
        """
        vectors = {
            name: self[name](part).masked_fill(~part.present[:, None], 0.0) for name, part in inputs.items()
        }
        return {name: F.pad(vector, (1, 0), value=1.0) for name, vector in vectors.items()}
