"""Text only: the words alone decide; the reference for every method.

    tokens ─text encoder─▶ h_1 ... h_T ─mean of the real ones─▶ dropout ─▶ Linear ─▶ ŷ

It is of no paper: the text encoder that all of them have, with the smallest head. A method that is not better
than this, with the same encoder, has gained nothing by its other modalities.

Shapes: B clips, T tokens, D width of the text features or of the encoder.
"""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt
from torch import nn

from models.core.method import MethodSettings, Share, Training
from models.core.pooled import PooledMethod, PredictionWeight


# All are our decisions [D]
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

    weights: PredictionWeight = PredictionWeight()
    training: TextOnlyTraining = TextOnlyTraining()
    dropout: Share = 0.1  # of the mean


class TextOnly(PooledMethod):
    """The model and its loss. A clip without text has the mean 0, and in training its score is the bias."""

    TERMS = ("prediction",)
    NEEDS = ("text",)
    Config = TextOnlySettings
    config: TextOnlySettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        self.hidden = nn.Identity()
        self.dropout = nn.Dropout(self.config.dropout)
        self.score = nn.Linear(self.dims["text"], self.task.outputs)
