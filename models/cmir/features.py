"""The feature encoders of CmIR, one vector X_m of a modality's sequence; the paper leaves them open [D].

Shapes: B clips, T steps, x = d_x. Masks: True = real.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.cmir.settings import CmIRSettings
from models.core.blocks import TransformerLayer, key_bias, mean_over_time, sinusoids
from models.core.method import attended
from models.core.recurrent import Recurrent


class TextFeature(nn.Module):
    """One vector of the text encoder's states."""

    def __init__(self, states: int, config: CmIRSettings):
        super().__init__()
        self.pooling = config.text_pooling
        self.project = nn.Linear(states, config.d_x)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, states), mask (B, T) -> (B, x)."""
        return self.project(mean_over_time(values, mask) if self.pooling == "mean" else values[:, 0])


class SequenceFeature(nn.Module):
    """One vector of a sequence of frames: Linear, layers, mean over time, Linear."""

    def __init__(self, frame: int, config: CmIRSettings):
        super().__init__()
        self.embed = nn.Linear(frame, config.width)
        sizes = (config.width, config.heads, config.head_dim, config.feedforward, config.dropout)
        self.positional = config.feature_encoder == "transformer"
        self.layers = nn.ModuleList(
            TransformerLayer(*sizes) if self.positional else BiLSTMLayer(config.width, config.dropout)
            for _ in range(config.layers)
        )
        self.project = nn.Linear(config.width, config.d_x)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, frame), mask (B, T), real steps first -> (B, x)."""
        states = self.embed(values)
        if self.positional:
            states = states + sinusoids(states)
        keys = key_bias(attended(mask)) if self.positional else attended(mask)
        for layer in self.layers:
            states = layer(states, keys)
        return self.project(mean_over_time(states, mask))


class BiLSTMLayer(nn.Module):
    """An LSTM in each direction, half of the width each."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.lstm = Recurrent(width, width // 2, both=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, width), mask (B, T), real steps first -> (B, T, width)."""
        states, _ = self.lstm(x, mask)
        return self.dropout(states)
