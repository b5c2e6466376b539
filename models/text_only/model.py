"""Text only: what is said decides alone. The line of reference that every method of a paper is seen against.

    tokens ─text encoder─▶ h_1 ... h_T ─mean of the real ones─▶ dropout ─▶ Linear ─▶ ŷ

It is of no paper: the text encoder that all of them have, with the smallest head. A method that is not better
than this, with the same encoder, has gained nothing by its other modalities.

Shapes: B clips, T tokens, D width of the text features or of the encoder.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.blocks import mean_over_time
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from pipeline.core.section import Section


# All are our decisions [D]
class TextOnlyWeights(Section):
    """Weight of the one term."""

    prediction: NonNegativeFloat = 1.0


class TextOnlyTraining(Training):
    """For a Linear on frozen features; params.yaml has what an encoder that learns needs, under `corpora`."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    lr_backbone: NonNegativeFloat = 5e-5  # of an encoder of MiniLM's size; 2e-5 of BERT-base
    lr_other: NonNegativeFloat = 1e-2  # of the Linear; 1e-3 on an encoder that learns
    weight_decay: NonNegativeFloat = 0.01
    epochs: PositiveInt = 20  # 8 of an encoder that learns
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "linear"
    schedule_every: Literal["epoch", "step"] = "step"
    patience: PositiveInt = 8


class TextOnlySettings(MethodSettings):
    """Settings of text only, section `models.text_only` of params.yaml."""

    weights: TextOnlyWeights = TextOnlyWeights()
    training: TextOnlyTraining = TextOnlyTraining()
    dropout: Share = 0.1  # of the mean


class TextOnly(Method):
    """The model and its loss. A clip without text has the mean 0, and in training its score is the bias."""

    TERMS = ("prediction",)
    NEEDS = ("text",)
    Config = TextOnlySettings
    config: TextOnlySettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        self.dropout = nn.Dropout(self.config.dropout)
        self.score = nn.Linear(self.dims["text"], self.task.outputs)

    def forward(self, batch: Batch) -> FusedOutput:
        text = self.inputs(batch)["text"]
        pooled = mean_over_time(text.values, text.mask)  # (B, D), 0 where the clip has no text
        return FusedOutput(self.task.predict(self.score, self.dropout(pooled)), pooled, text.present[None])

    def losses(self, batch: Batch, output: FusedOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The task's loss, of labeled clips: the mean absolute error, or the cross-entropy."""
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        return {"prediction": error} if "prediction" in terms else {}
