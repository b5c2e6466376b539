"""The small method of tiny_set.py, learning of all clips before its first step, choosing after each epoch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from made.tiny_set import Tiny, TinyOutput, TinySettings
from torch import Tensor, nn

from models.core.batch import Batch


class Prepared(Tiny):
    """Adds a number that training moves, and one that the validation clips choose after each epoch."""

    TERMS = ("prediction", "spread")
    NEEDS = ("text", "audio", "visual")
    Config = TinySettings
    chosen: Tensor

    def build(self, backbones: dict[str, nn.Module]) -> None:
        super().build(backbones)
        self.start = nn.Parameter(torch.zeros(()))
        self.register_buffer("chosen", torch.zeros(()))

    @torch.no_grad()
    def prepare(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """The mean label, and something by chance."""
        self.start.copy_(torch.cat([batch.label for batch in train]).mean() + 0.1 * torch.rand(()))

    @torch.no_grad()
    def calibrate(self, valid: Iterable[Batch]) -> None:
        self.eval()
        away = torch.cat([batch.label - self(batch).prediction for batch in valid])
        self.chosen += 0.5 * away.median()

    def forward(self, batch: Batch) -> TinyOutput:
        output = super().forward(batch)
        output.prediction = output.prediction + self.start + self.chosen
        return output
