"""The settings of MISR, section `models.misr` of params.yaml; equation numbers are the paper's."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from models.core.method import MethodSettings, Share, Training
from pipeline.core.section import Section


# [P] = stated in the paper, [D] = our decision
class MISRWeights(Section):
    """λ of each term (13); 0 = the term is not computed."""

    prediction: NonNegativeFloat = 1.0  # [P] λ1
    prior: NonNegativeFloat = 0.4  # [P] λ2; 0.5 on SIMS
    alignment: NonNegativeFloat = 0.4  # [P] λ2
    reconstruction: NonNegativeFloat = 0.4  # [P] λ2
    invariance: NonNegativeFloat = 1.0  # [P] λ3


class MISRTraining(Training):
    """The paper's optimisation: Adam, batches of 32, 100 epochs [P]; warm-up, cosine, early stop [D]."""

    lr_backbone: NonNegativeFloat = 5e-6  # [P]
    lr_other: NonNegativeFloat = 1e-4  # [P]


class MISRSettings(MethodSettings):
    """Settings of MISR, section `models.misr` of params.yaml."""

    weights: MISRWeights = MISRWeights()
    training: MISRTraining = MISRTraining()
    max_steps: PositiveInt = 512  # [D] longest frozen input, L; sizes the table of positions
    num_tokens: PositiveInt = 50  # [P] "vector length T"; 39 on SIMS
    width: PositiveInt = 128  # [P] d
    predictor_width: PositiveInt | None = None  # [P] of its hidden layer; null = width, 1024 on CHERMA
    heads: PositiveInt = 8  # [D] with head_dim: the sizes that give the paper's parameter counts
    head_dim: PositiveInt = 64  # [D]
    feedforward: PositiveInt = 128  # [D]
    layers: PositiveInt = 2  # [P] transformer layers in each of ME, VE and VD
    dropout: Share = 0.1  # [D]
    # [P] of (11): the risks are means over the batch's clips; clip = each clip's error, as its prose reads
    invariance_over: Literal["batch", "clip"] = "batch"
    sp_over_envs: Literal["none", "mean"] = "none"  # [P] L_SP of H^u alone; mean = of all environments
    predictor_dropout: Share = 0.0  # [D] one mask a batch, the same in all environments
    predict_from: tuple[Literal["text", "audio", "visual"], ...] = ()  # [P] S of ŷ; others: table 8
