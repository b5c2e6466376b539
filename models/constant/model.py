"""Constant: the same prediction for every clip; the floor for every method.

    median (mean, zero) of the training labels ─▶ ŷ        log-odds of the classes in training ─▶ ŷ

It is of no paper, and reads no modality. A regressor that keeps near its prior is as good as this and no
better, whatever its name. Its correlation is undefined, and its accuracies are those of one sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from models.core.batch import Batch
from models.core.method import MethodSettings, Output
from models.core.pooled import FittedTraining, PredictionWeight, TaskAlone

RARE = 0.5  # clips that a class without any counts as: no logit is without end


# All are our decisions [D]
class ConstantSettings(MethodSettings):
    """Settings of the constant, section `models.constant` of params.yaml."""

    weights: PredictionWeight = PredictionWeight()
    training: FittedTraining = FittedTraining()
    text: Literal["frozen"] = "frozen"  # none is read
    value: Literal["median", "mean", "zero"] = "median"  # of a regression; the median has the lowest error


class Constant(TaskAlone):
    """The constant and its loss. No step moves it: the learning rate is 0."""

    TERMS = ("prediction",)
    NEEDS = ()
    Config = ConstantSettings
    SCORES_ABSENT = True
    config: ConstantSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        self.value = nn.Parameter(torch.zeros(self.task.outputs))

    @torch.no_grad()
    def prepare(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """Of the training labels alone; the most frequent class has the largest logit."""
        label = torch.cat([batch.label[batch.labeled] for batch in train]).cpu().double()
        if self.task.classes:
            counts = label.long().bincount(minlength=self.task.classes).double().clamp(min=RARE).log()
            value = counts[1] - counts[0] if self.task.outputs == 1 else counts - counts.logsumexp(dim=0)
        else:
            kinds = {"median": label.quantile(0.5), "mean": label.mean(), "zero": torch.zeros(())}
            value = kinds[self.config.value]
        self.value.copy_(value.expand_as(self.value))

    def forward(self, batch: Batch) -> Output:
        return Output(self.task.shaped(self.value.repeat(len(batch.clip_ids), 1)))
