"""The settings of CmIR, section `models.cmir` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from models.core.method import MethodSettings, Share, Training
from models.core.noise import Kind
from pipeline.core.section import Section


# [P] = stated in the paper, [R] = in code of the same author, [D] = our decision
class CmIRWeights(Section):
    """λ of each term; 0 = the term is not computed, and without reconstruction there is no r_m."""

    prediction: NonNegativeFloat = 1.0  # [P]
    invariance: NonNegativeFloat = 3e-4  # [D] λ1
    decorrelation: NonNegativeFloat = 0.3  # [D] λ2
    reconstruction: NonNegativeFloat = 8e-4  # [D] λ3


class CmIRTraining(Training):
    """The optimiser is the paper's; all else is our decision."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [P]
    lr_backbone: NonNegativeFloat = 1e-5  # [R]
    lr_other: NonNegativeFloat = 1e-4  # [D]; 2e-5 in the author's earlier code
    weight_decay: NonNegativeFloat = 0.01  # [D]
    batch_size: PositiveInt = 32  # [D]
    epochs: PositiveInt = 50  # [D]
    warmup: Share = 0.1  # [D]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "linear"  # [D]
    schedule_every: Literal["epoch", "step"] = "step"  # [D]
    patience: PositiveInt = 8  # [D]


class CmIRSettings(MethodSettings):
    """Settings of CmIR, section `models.cmir` of params.yaml."""

    weights: CmIRWeights = CmIRWeights()
    training: CmIRTraining = CmIRTraining()
    text_pooling: Literal["mean", "cls"] = "mean"  # [D] of the text's states; cls = the first of them
    feature_encoder: Literal["transformer", "bilstm"] = "transformer"  # [D] of audio and visual
    width: Annotated[int, Field(gt=0, multiple_of=2)] = 128  # [D] of the feature encoders
    layers: PositiveInt = 2  # [D]
    heads: PositiveInt = 4  # [D] of transformer
    head_dim: PositiveInt = 32  # [D]
    feedforward: PositiveInt = 256  # [D]
    dropout: Share = 0.1  # [D] of the feature encoders
    d_x: PositiveInt = 128  # [D] width of X_m
    d_z: PositiveInt = 64  # [D] width of each half
    hidden: PositiveInt = 256  # [D] hidden layer of g_m and r_m, "simple MLPs" [P]
    predictor_width: PositiveInt = 128  # [D]
    predictor_dropout: Share = 0.1  # [D]
    environments: PositiveInt = 3  # [D] K
    alpha: NonNegativeFloat = 0.1  # [D] α(1): noise of the first environment; X_m has spread 1
    env_mode: Literal["all", "assigned"] = "all"  # [D] all K views of a clip; assigned [P]: clean, one of K
    include_clean: bool = False  # [D] the clean view as environment 0 of `all`
    noise_site: Literal["feature", "frame"] = "feature"  # [D] X_m, or for audio and visual the input frames
    predict_views: Literal["clean", "all"] = "clean"  # [D] what L_pred is taken of; all: noisy copies too
    inv_reduction: Literal["sum", "mean"] = "sum"  # [P] L1 norms; mean over pairs of views and widths
    dec_reduction: Literal["sum", "mean"] = "sum"  # [P] squared Frobenius norm; mean over clips
    rec_reduction: Literal["sum", "mean"] = "sum"  # [P] squared L2 norm; mean over widths
    alpha_off: Share = 0.1  # [D] weight of R_dec between different clips; below 1 [P]
    z_norm: Literal["none", "layernorm"] = "none"  # [D] layernorm: a half cannot evade R_inv by shrinking
    train_noise: Literal["none"] | Kind = "none"  # [D] in training as noise.py does it in tests
    train_noise_rate: Share = 0.4  # [D] share of the steps that it hits

    @model_validator(mode="after")
    def _views_can_be_compared(self) -> CmIRSettings:
        if self.weights.invariance == 0:
            return self
        if self.environments == 1 and self.env_mode == "all" and not self.include_clean:
            raise ValueError(
                "models.cmir: one environment has nothing to be compared to; set environments to 2 or "
                "more, or include_clean to true"
            )
        if self.noise_site == "frame" and self.dropout > 0:
            raise ValueError(
                f"models.cmir: noise_site is frame and dropout is {self.dropout}, but views of a clip must "
                "differ by their noise alone; set dropout to 0"
            )
        return self
