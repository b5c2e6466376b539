"""The settings of SLaD, section `models.slad` of params.yaml; equation numbers are the paper's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from models.core.method import Share, Training
from models.core.speech import SpeechSettings
from pipeline.core.section import Section

RATE = 5e-6  # [P] one learning rate for all
RATE_WITHOUT_ENCODERS = 1e-4  # [D] a fusion that learns alone hardly leaves its start at the paper's


# [P] = stated in the paper, [R] = code of its base, MMML, [D] = our decision
class SLaDWeights(Section):
    """Weight of each term (22); 0 = the term is not computed."""

    prediction: NonNegativeFloat = 1.0  # [P] L_cls
    unimodal: NonNegativeFloat = 1.0  # [R] L_cls, of both heads
    contrastive: NonNegativeFloat = 1.0  # [P]
    repulsion: NonNegativeFloat = 0.1  # [D] λ_rep
    multilabel: NonNegativeFloat = 0.1  # [D] λ_ml


class SLaDTraining(Training):
    """The paper's optimisation: AdamW, batches of 8, 50 epochs, warm-up, cosine, early stop after 5 [P]."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [P]
    lr_backbone: NonNegativeFloat = 5e-6  # [P]; 1e-5 on SIMS
    lr_other: NonNegativeFloat = RATE
    weight_decay: NonNegativeFloat = 0.01  # [D] AdamW's usual one
    batch_size: PositiveInt = 8  # [P]; 16 on SIMS
    epochs: PositiveInt = 50  # [P]
    schedule_every: Literal["epoch", "step"] = "step"  # [D]
    patience: PositiveInt = 5  # [P]


class SLaDSettings(SpeechSettings):
    """Settings of SLaD, section `models.slad` of params.yaml."""

    weights: SLaDWeights = SLaDWeights()
    training: SLaDTraining = SLaDTraining()
    context: Annotated[int, Field(ge=0)] = 2  # [P] utterances before the clip; 0 on SIMS
    aligned_steps: PositiveInt = 96  # [D] l, bins of the sound: longest text of [R]; 64 on SIMS
    width: PositiveInt = 768  # [D] d: base encoders, as 12 does not divide 1024; 1024 of the large ones
    fusion_layers: PositiveInt = 3  # [D] [R] has 3 or 5
    heads: PositiveInt = 12  # [P]; 16 of large
    feedforward: PositiveInt = 3072  # [D]; 4096 of large
    dropout: Share = 0.3  # [P] of heads, fusion and classifier
    use_specific_in_fusion: bool = False  # [P] L_rep alone shapes S^m; True [D]: beside the summaries
    label_aware: bool = True  # [P] False = ω of (12) is 1, an ablation
    label_source: Literal["pred", "gold"] = "pred"  # [P] of ω and L_ml: the heads' y^m, or annotated ones
    label_scale: PositiveFloat = 3.0  # [D] a score over it is in [-1, 1]; 1 on SIMS
    bandwidth: PositiveFloat = 0.5  # [P] α
    temperature: PositiveFloat = 0.2  # [P] τ
    top_k: PositiveInt = 3  # [P] K
    symmetric: bool = False  # [P] L_con from text to audio alone; True = mean of both directions
    margin: float = 0.0  # [D] m, in units of R, which is in [-1/τ, 1/τ]
    rep_target: Literal["offdiag", "diag", "all"] = "offdiag"  # [P] of (17): other clips', its own, both
    ml_items: Literal["B", "2B"] = "B"  # [D] of (21): clips with two labels, or text and audio apart
    intersection: Literal["fuzzy", "crisp"] = "fuzzy"  # [D] of (20): of intensities, or of polarities

    @model_validator(mode="before")
    @classmethod
    def _rate_without_encoders(cls, values: Any) -> Any:
        """Without `training.lr_other` (or with null) the rate is that of what learns."""
        training = values.get("training", {}) if isinstance(values, dict) else None
        if not isinstance(training, dict) or training.get("lr_other") is not None:
            return values
        learns = "finetune" in (values.get("text"), values.get("audio"))
        rate = RATE if learns else RATE_WITHOUT_ENCODERS
        return values | {"training": training | {"lr_other": rate}}
