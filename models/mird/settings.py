"""The settings of MIRD, section `models.mird` of params.yaml; equation numbers are the paper's."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import nn

from models.core.backbones import load_text_backbone
from models.core.method import MethodSettings, Share, Training
from pipeline.core.section import Section


# [P] = stated in the paper, [R] = the authors' code, [D] = our decision
class MIRDWeights(Section):
    """Weight of each term (21); 0 = the term is not computed, and what only it needs is not built."""

    prediction: NonNegativeFloat = 1.0  # [P]
    reconstruction: NonNegativeFloat = 1.0  # [P]
    information: NonNegativeFloat = 0.1  # [P] α; 1 on MOSEI
    orthogonality: NonNegativeFloat = 0.0  # [P] not part of MIRD; stands for `information` in Table 5


class MIRDTraining(Training):
    """The paper's optimisation: AdamW, one rate, batches of 32, 100 epochs [P].

    In the authors' code the schedule's arguments are swapped, and the rate rises over the whole run: `ramp`.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [P]
    lr_backbone: NonNegativeFloat = 1e-5  # [P]
    lr_other: NonNegativeFloat = 1e-5  # [P]
    weight_decay: NonNegativeFloat = 0.01  # [R]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "linear"  # [D]
    schedule_every: Literal["epoch", "step"] = "step"  # [D]


class DecoderSteps(Section):
    """Steps that are reconstructed of a longer sequence: the paper's input lengths."""

    text: PositiveInt = 50  # [R]
    audio: PositiveInt = 400  # [R]
    visual: PositiveInt = 55  # [R]


class MIRDSettings(MethodSettings):
    """Settings of MIRD, section `models.mird` of params.yaml."""

    weights: MIRDWeights = MIRDWeights()
    training: MIRDTraining = MIRDTraining()
    unlabeled_ratio: NonNegativeInt = 0  # [P] unlabeled clips beside each labeled one; 3 in MIRD² on MOSI
    unlabeled_use: Literal["both", "information", "reconstruction"] = "both"  # [P] terms they join (Table 6)
    width: PositiveInt = 64  # [P] d
    private: bool = True  # [P] False: z^S alone, no encoder and decoder of a modality (Table 4, last row)
    text_encoder: Literal["lstm", "bert"] = "lstm"  # [P] private one of fine-tuned text; bert = a second [R]
    token_width: PositiveInt = 128  # [R] of the embedding before the private text LSTM
    inject_layer: NonNegativeInt = 0  # [R] words are shifted after it; 0 = after the embedding
    score_scale: PositiveFloat | None = None  # [D] of the attention's scores: 1/√W; 1 in the code
    gate: Literal["sigmoid", "relu"] = "sigmoid"  # [P]; relu in the code
    epsilon: PositiveFloat = 1.0  # [P] longest shift, as a share of the word's length
    pool: Literal["mean", "cls"] = "mean"  # [P]; cls = BERT's pooler [R], of frozen text the first step
    mag_dropout: Share = 0.5  # [R]
    pool_dropout: Share = 0.5  # [R]
    regressor_width: PositiveInt = 64  # [R]
    regressor_dropout: Share = 0.5  # [R]
    decoder_steps: DecoderSteps = DecoderSteps()
    recon_mask: bool = True  # [D] False, as in the code: padding up to decoder_steps is reconstructed too
    # [R] six pairs of z; nine [P] adds (X^m, z^S), which punishes z^S for knowing the text it is to tell
    mi_pairs: Literal["six", "nine"] = "six"
    # [D] of z on its way into the estimators: standardised over the batch's clips; none [P]
    mi_norm: Literal["batch", "none"] = "batch"
    estimator_hidden: PositiveInt = 32  # [P]; 16 in the code
    estimator_lr: PositiveFloat = 1e-3  # [P] η₁
    estimator_steps: PositiveInt = 5  # [P] T'
    frozen_width: PositiveInt = 128  # [D] W of frozen text, and its layers in place of BERT's
    frozen_layers: PositiveInt = 2  # [D]
    frozen_heads: PositiveInt = 4  # [D]
    frozen_head_dim: PositiveInt = 32  # [D]
    frozen_feedforward: PositiveInt = 256  # [D]
    frozen_dropout: Share = 0.1  # [D]

    @model_validator(mode="after")
    def _parts_fit(self) -> MIRDSettings:
        if self.text_encoder == "bert" and self.text == "frozen":
            raise ValueError(
                "models.mird: text_encoder is bert, but text is frozen; set text to finetune, or "
                "text_encoder to lstm"
            )
        without = [name for name, weight in self.weights if name != "prediction" and weight > 0]
        if not self.private and without:
            raise ValueError(
                f"models.mird: private is false, which leaves nothing for {', '.join(without)}; set "
                f"{' and '.join(f'weights.{name}' for name in without)} to 0"
            )
        return self

    def open_backbones(self, config_only: bool = False) -> dict[str, nn.Module]:
        """The shared text encoder and, with `text_encoder: bert`, the private one."""
        if self.text == "frozen":
            return {}
        names = ("text", "private") if self.private and self.text_encoder == "bert" else ("text",)
        return {
            name: load_text_backbone(
                self.text_backbone, self.text_revision, pooler=self.pool == "cls", config_only=config_only
            )
            for name in names
        }
