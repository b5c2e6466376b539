"""Late fusion: a head for each modality, trained as if alone, and a weighted mean of their predictions.

    text ── mean ──────────────────────────────────────▶ dropout ─▶ Linear ─▶ ŷ^t ┐
    audio ─ mean, standard deviation ─▶ Linear ─▶ ReLU ─▶ dropout ─▶ Linear ─▶ ŷ^a ┼─ Σ w_m ŷ^m ─▶ ŷ
    visual  mean, standard deviation ─▶ Linear ─▶ ReLU ─▶ dropout ─▶ Linear ─▶ ŷ^v ┘

It is of no paper: the heads are those of text only, audio only and visual only. They share no parameter, and
the loss is the sum of their own, so that none learns anything of another; but `train.gradient_clip` is of all
gradients together, and they are all taken from one epoch. Of classes it is the logits that are averaged.

Shapes: B clips, M modalities, C classes (no such dimension for a score or two classes), G weightings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.method import FusedOutput, Method, MethodSettings, Share
from models.core.pooled import PooledTraining, PredictionWeight, hidden_layer, pooled, pooled_width
from pipeline.core.section import Section

STEPS = 10  # of a weight from 0 to 1


# All are our decisions [D]
class HeadDropout(Section):
    """Dropout of each head."""

    text: Share = 0.1  # of the mean
    audio: Share = 0.3  # of the hidden layer
    visual: Share = 0.3


class LateFusionSettings(MethodSettings):
    """Settings of late fusion, section `models.late_fusion` of params.yaml."""

    weights: PredictionWeight = PredictionWeight()
    training: PooledTraining = PooledTraining()
    weighting: Literal["mean", "valid"] = "valid"  # all alike, or the w with the lowest validation loss
    hidden: PositiveInt = 64  # of audio and visual
    dropout: HeadDropout = HeadDropout()


@dataclass
class HeadsOutput(FusedOutput):
    """The output of late fusion; `fused` is what the heads read, end to end."""

    scores: Tensor  # (M, B) or (M, B, C), each head's own


def mixed(scores: Tensor, present: Tensor, weight: Tensor) -> Tensor:
    """Σ w_m ŷ^m over the modalities that a clip has: (M, B, ...), (M, B), (M,) -> (B, ...).

    Their weights are scaled to the sum 1; where all are 0 it is the plain mean. 0 where nothing is there.
    """
    share = weight[:, None] * present  # (M, B)
    share = torch.where(share.sum(dim=0) > 0, share, present.to(share))
    share = share / share.sum(dim=0).clamp(min=1 / STEPS)
    return (share.reshape(*share.shape, *[1] * (scores.dim() - 2)) * scores).sum(dim=0)


def simplex(modalities: int) -> Tensor:
    """(G, M) all weightings in steps of 0.1 that sum to 1, the largest of the first modality first."""
    steps = product(range(STEPS, -1, -1), repeat=modalities)
    return torch.tensor([row for row in steps if sum(row) == STEPS], dtype=torch.float64) / STEPS


class LateFusion(Method):
    """The model and its loss."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = LateFusionSettings
    config: LateFusionSettings
    weight: Tensor

    def build(self, backbones: dict[str, nn.Module]) -> None:
        hidden, dropout = self.config.hidden, self.config.dropout
        self.hidden, self.dropout, self.score = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name, dim in self.dims.items():
            width = pooled_width(name, dim)
            self.hidden[name] = nn.Identity() if name == "text" else hidden_layer(width, hidden)
            self.dropout[name] = nn.Dropout(getattr(dropout, name))
            self.score[name] = nn.Linear(width if name == "text" else hidden, self.task.outputs)
        self.register_buffer("weight", torch.full((len(self.dims),), 1 / len(self.dims)))  # (M,)

    def forward(self, batch: Batch) -> HeadsOutput:
        sources = self.inputs(batch)
        read = {name: self.hidden[name](pooled(name, source)) for name, source in sources.items()}
        scores = torch.stack(
            [self.task.predict(self.score[name], self.dropout[name](x)) for name, x in read.items()]
        )
        present = torch.stack([source.present for source in sources.values()])
        fused = torch.cat(list(read.values()), dim=-1)
        return HeadsOutput(mixed(scores, present, self.weight), fused, present, scores)

    def losses(self, batch: Batch, output: HeadsOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The sum of the heads' own losses, each of the labeled clips that have its modality."""
        return {"prediction": self.own_losses(batch, output).sum()} if "prediction" in terms else {}

    def own_losses(self, batch: Batch, output: HeadsOutput) -> Tensor:
        """(M,) the task's loss of each head."""
        heads = zip(output.scores, output.present, strict=True)
        return torch.stack(
            [self.task.loss(score, batch.label, among=batch.labeled & has) for score, has in heads]
        )

    @torch.no_grad()
    def calibrate(self, valid: Iterable[Batch]) -> None:
        """Of all weightings the one with the lowest validation loss; of equals the larger weight of text."""
        if self.config.weighting == "mean":
            return
        self.eval()
        found = [(self(batch), batch.label) for batch in valid]
        scores = torch.cat([output.scores for output, _ in found], dim=1).double()
        present = torch.cat([output.present for output, _ in found], dim=1)
        label = torch.cat([label for _, label in found]).double()
        grid = simplex(len(self.dims)).to(scores.device)
        losses = [self.task.loss(mixed(scores, present, weight), label).item() for weight in grid]
        self.weight.copy_(grid[losses.index(min(losses))])  # the first of equals

    def diagnostics(self, batch: Batch, output: HeadsOutput) -> dict[str, Tensor]:
        """The loss of each head, and its weight."""
        own = self.own_losses(batch, output).detach()
        return {
            **{name: own[i] for i, name in enumerate(self.dims)},
            **{f"weight_{name}": self.weight[i] for i, name in enumerate(self.dims)},
        }

    def internals(self, batch: Batch, output: HeadsOutput) -> dict[str, dict[str, float]]:
        """The weight of each head."""
        return {"weight": dict(zip(self.dims, self.weight.tolist(), strict=True))}
