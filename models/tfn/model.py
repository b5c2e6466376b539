"""TFN: tensor fusion network.

Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP 2017. A 1 before the vector of
each modality, and the outer product of all: it has every product of one, two and three modalities. The model
is the one in tables since 2020, MMSA's [R]; the original [P] reads word vectors, and has other encoders.

    X^m ─encoder─▶ z^m
    [1; z^text] ⊗ [1; z^audio] ⊗ [1; z^visual] ─dropout─▶ 2 x (Linear, ReLU) ─▶ Linear ─▶ ŷ

Shapes: B clips, h_m width of z^m, p width after the fusion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from models.core.subnets import Dropouts, HiddenWidths, Subnets
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section


# [R] = MMSA, values of MOSI; [D] = our decision
class TFNWeights(Section):
    """Weight of the one term."""

    prediction: NonNegativeFloat = 1.0


class TFNTraining(Training):
    """Adam at one rate, no weight decay, early stop after 8 [R]."""

    lr_backbone: NonNegativeFloat = 5e-5  # [D] of an encoder of MiniLM's size; 2e-5 of BERT-base
    lr_other: NonNegativeFloat = 1e-3  # [R]
    warmup: Share = 0.0  # [R]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"  # [R]
    patience: PositiveInt = 8  # [R]


class TFNSettings(MethodSettings):
    """Settings of TFN, section `models.tfn` of params.yaml."""

    weights: TFNWeights = TFNWeights()
    training: TFNTraining = TFNTraining()
    hidden: HiddenWidths = HiddenWidths()  # [R]
    text_width: PositiveInt = 32  # [R] of z^text
    dropout: Dropouts = Dropouts()  # [R]
    fusion_dropout: Share = 0.5  # [R] of the tensor
    fusion_width: PositiveInt = 64  # [R] p
    label_scale: PositiveFloat = 3.0  # [P] a score lies between its negative and it; 1 on SIMS


class TFN(Method):
    """The model and its loss; without a modality, the product is over those that there are."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = TFNSettings
    config: TFNSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config, width = self.config, self.config.fusion_width
        self.subnets = Subnets(self.dims, config.hidden, config.text_width, config.dropout)
        self.inner = nn.Sequential(
            nn.Dropout(config.fusion_dropout),
            nn.Linear(prod(1 + size for size in self.subnets.widths.values()), width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.score = nn.Linear(width, self.task.outputs)

    def prepare(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """ParamsError where a label of the train split lies beyond all that can be predicted."""
        if self.task.classes:
            return
        scale = self.config.label_scale
        largest = max(float(batch.label[batch.labeled].abs().max()) for batch in train)
        if largest > scale:
            raise ParamsError(
                f"models.tfn.label_scale is {scale:g}, and no prediction lies further from 0, but a label "
                f"does, at {largest:g}; set it to at least that"
            )

    def forward(self, batch: Batch) -> FusedOutput:
        inputs = self.inputs(batch)
        fused = self.inner(tensor_fusion(list(self.subnets(inputs).values())))
        prediction = self.task.predict(self.score, fused)
        if not self.task.classes:
            prediction = squashed(prediction, self.config.label_scale)
        return FusedOutput(prediction, fused, torch.stack([part.present for part in inputs.values()]))

    def losses(self, batch: Batch, output: FusedOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The task's loss, of labeled clips: the mean absolute error, or the cross-entropy."""
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        return {"prediction": error} if "prediction" in terms else {}


def tensor_fusion(vectors: list[Tensor]) -> Tensor:
    """The outer product of each clip's vectors, flattened: (B, n), (B, m) ... -> (B, n · m ...)."""
    first, *others = vectors
    for vector in others:
        first = (first[:, :, None] * vector[:, None]).flatten(1)
    return first


def squashed(score: Tensor, scale: float) -> Tensor:
    """Between -scale and scale: lo + (hi - lo) σ(x). [R] has -3 and 3 everywhere, also on SIMS."""
    return scale * (2 * torch.sigmoid(score) - 1)
