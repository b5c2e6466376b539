"""One vector a clip and modality, and the methods that read no more than these.

    frames ─mean, of voice and face the standard deviation too─▶ [Linear ─▶ ReLU ─▶] dropout ─▶ Linear ─▶ ŷ

No paper has these: they are what a method of a paper is seen against. One that is not better than a modality
alone has gained nothing by the others; one that is not better than their vectors end to end, nothing by the
way it joins them.

Shapes: B clips, T time steps, D width of the features, P width of the pooled vector. Masks: True = real.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch, Sequences
from models.core.blocks import mean_over_time, std_over_time
from models.core.method import FusedOutput, Method, MethodSettings, Output, Share, Training
from pipeline.core.section import Section

SPREAD = ("audio", "visual")  # how far they move says as much as where they are; of text the mean is usual


def pooled_width(modality: str, width: int) -> int:
    """P of features of that width."""
    return 2 * width if modality in SPREAD else width


def pooled(modality: str, source: Sequences) -> Tensor:
    """The mean of the real steps, of voice and face also their standard deviation: (B, P), 0 where absent."""
    mean = mean_over_time(source.values, source.mask)
    if modality not in SPREAD:
        return mean
    return torch.cat([mean, std_over_time(source.values, source.mask)], dim=-1)


def hidden_layer(width: int, hidden: int) -> nn.Module:
    """(B, P) -> (B, hidden)."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU())


# All are our decisions [D]
class PredictionWeight(Section):
    """Weight of the one term."""

    prediction: NonNegativeFloat = 1.0


class PooledTraining(Training):
    """For small networks on pooled features."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    lr_backbone: NonNegativeFloat = 5e-5  # of an encoder of MiniLM's size; 2e-5 of BERT-base
    lr_other: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.01
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"
    schedule_every: Literal["epoch", "step"] = "step"
    warmup: Share = 0.0
    patience: PositiveInt = 8


class FittedTraining(Training):
    """For what `prepare` fits: one epoch at the rate 0, after which every byte is as it was."""

    lr_backbone: NonNegativeFloat = 0.0
    lr_other: NonNegativeFloat = 0.0
    epochs: PositiveInt = 1
    warmup: Share = 0.0
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"


class PooledSettings(MethodSettings):
    """Settings of one hidden layer on pooled features."""

    weights: PredictionWeight = PredictionWeight()
    training: PooledTraining = PooledTraining()
    hidden: PositiveInt = 64
    dropout: Share = 0.3  # of the hidden layer


class TextlessSettings(PooledSettings):
    """Settings of audio only and visual only."""

    text: Literal["frozen"] = "frozen"  # none is read


class TaskAlone(Method):
    """A method whose one term is the task's loss."""

    def losses(self, batch: Batch, output: Output, terms: Collection[str]) -> dict[str, Tensor]:
        """Of labeled clips: the mean absolute error, or the cross-entropy."""
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        return {"prediction": error} if "prediction" in terms else {}


class PooledMethod(TaskAlone):
    """Pooled vectors end to end, `hidden`, `dropout` and `score`; what a clip lacks is 0 there."""

    hidden: nn.Module
    dropout: nn.Module
    score: nn.Linear

    def forward(self, batch: Batch) -> FusedOutput:
        sources = self.inputs(batch)
        read = self.hidden(torch.cat([pooled(name, source) for name, source in sources.items()], dim=-1))
        present = torch.stack([source.present for source in sources.values()])
        return FusedOutput(self.task.predict(self.score, self.dropout(read)), read, present)


class PooledPerceptron(PooledMethod):
    """One hidden layer on the pooled vectors; the config has `hidden`, its width, and its `dropout`."""

    config: Any

    def build(self, backbones: dict[str, nn.Module]) -> None:
        width = sum(pooled_width(name, dim) for name, dim in self.dims.items())
        self.hidden = hidden_layer(width, self.config.hidden)
        self.dropout = nn.Dropout(self.config.dropout)
        self.score = nn.Linear(self.config.hidden, self.task.outputs)
