"""The settings of Self-MM, section `models.self_mm` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from models.core.method import MethodSettings, Share, Training
from pipeline.core.section import Section


# [P] = the paper, [C] = the authors' code, [R] = MMSA's, [D] = our decision
class SelfMMWeights(Section):
    """Weight of each term; 0 = the term is not computed, and what only it needs is not built."""

    prediction: NonNegativeFloat = 1.0  # [P]
    unimodal: NonNegativeFloat = 1.0  # [P] of all three; each clip weighs by how far its labels are apart


class SelfMMTraining(Training):
    """[R], whose gradients are those of 4 batches of 16, and rates differ by part."""

    lr_backbone: NonNegativeFloat = 5e-5  # [R]
    lr_other: NonNegativeFloat = 1e-3  # [R]
    lr_audio: NonNegativeFloat = 5e-3  # [R] of its LSTM and Linear
    lr_visual: NonNegativeFloat = 5e-3  # [R]
    weight_decay: NonNegativeFloat = 1e-3  # [R]
    batch_size: PositiveInt = 64  # [R]
    warmup: Share = 0.0  # [R]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"  # [R]
    patience: PositiveInt = 8  # [R]


class SequenceSizes(Section):
    """Of what is recurrent."""

    audio: PositiveInt = 16  # [R]
    visual: PositiveInt = 32  # [R]


class BranchSizes(Section):
    """Width of each representation F."""

    fused: PositiveInt = 128  # [R]
    text: PositiveInt = 32  # [R]
    audio: PositiveInt = 16  # [R]
    visual: PositiveInt = 32  # [R]


class BranchDropout(Section):
    """Before each representation F."""

    fused: Share = 0.0  # [R]
    text: Share = 0.1  # [R]
    audio: Share = 0.1  # [R]
    visual: Share = 0.0  # [R]


class SelfMMSettings(MethodSettings):
    """Settings of Self-MM, section `models.self_mm` of params.yaml."""

    weights: SelfMMWeights = SelfMMWeights()
    training: SelfMMTraining = SelfMMTraining()
    text_pooling: Literal["cls", "mean"] = "cls"  # [P] of the text's states: the first, or the mean [D]
    hidden: SequenceSizes = SequenceSizes()  # of the LSTMs
    sequence_width: SequenceSizes = SequenceSizes()  # of the Linear behind them
    width: BranchSizes = BranchSizes()
    dropout: BranchDropout = BranchDropout()
    label_scale: PositiveFloat = 3.0  # [P] generated labels stay within; 1 on SIMS
