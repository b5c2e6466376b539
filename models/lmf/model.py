"""LMF: low-rank multimodal fusion.

Liu et al., "Efficient Low-rank Multimodal Fusion With Modality-Specific Factors", ACL 2018. The weights on
TFN's tensor are a sum of r tensors of rank one, so that the tensor is never made: each modality is projected
by its own factors, and what they give is multiplied. Sizes and encoders are those of MMSA [R].

    X^m ─encoder─▶ z^m ─▶ [1; z^m] ─factors─▶ (r, o) ─product over m─▶ weighed sum over r ─▶ ŷ

Shapes: B clips, M modalities, h_m width of z^m, r rank, o outputs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.blocks import full_precision
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from models.core.subnets import Dropouts, HiddenWidths, Subnets
from pipeline.core.section import Section


# [R] = MMSA, values of MOSI; [D] = our decision
class LMFWeights(Section):
    """Weight of the one term."""

    prediction: NonNegativeFloat = 1.0


class LMFTraining(Training):
    """Adam with weight decay, early stop after 8 [R]."""

    lr_backbone: NonNegativeFloat = 5e-5  # [D] of an encoder of MiniLM's size; 2e-5 of BERT-base
    lr_other: NonNegativeFloat = 1e-3  # [R]
    lr_factors: PositiveFloat = 1e-3  # [R]; 5e-4 on SIMS
    weight_decay: NonNegativeFloat = 5e-3  # [R]
    batch_size: PositiveInt = 64  # [R]
    warmup: Share = 0.0  # [R]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"  # [R]
    patience: PositiveInt = 8  # [R]


class LMFSettings(MethodSettings):
    """Settings of LMF, section `models.lmf` of params.yaml. z^text has half the LSTM's width [R]."""

    weights: LMFWeights = LMFWeights()
    training: LMFTraining = LMFTraining()
    hidden: HiddenWidths = HiddenWidths(audio=16)  # [R]
    dropout: Dropouts = Dropouts()  # [R]; one after the fusion too, which its code makes and never applies
    rank: PositiveInt = 3  # [R]


class RankSum(nn.Module):
    """Σ_r w_r Z_r + b. The paper has w = 1; that it learns is of the authors' code, and so is b [C].

    In [R] both stay as they begin: its optimiser takes the parameters by position, and leaves out these two.
    """

    def __init__(self, rank: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, rank)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, terms: Tensor) -> Tensor:
        """(B, r · o) -> (B, o)."""
        return (self.weight @ terms.unflatten(1, (self.weight.shape[1], -1))).squeeze(1) + self.bias


class LMF(Method):
    """The model and its loss; without a modality, the product is over those that there are."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = LMFSettings
    config: LMFSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config, outputs = self.config, self.task.outputs
        self.subnets = Subnets(self.dims, config.hidden, max(config.hidden.text // 2, 1), config.dropout)
        self.factors = nn.ParameterDict(
            {
                name: nn.Parameter(nn.init.xavier_normal_(torch.empty(config.rank, 1 + width, outputs)))
                for name, width in self.subnets.widths.items()
            }
        )
        self.score = RankSum(config.rank, outputs)

    def forward(self, batch: Batch) -> FusedOutput:
        inputs = self.inputs(batch)
        vectors = self.subnets(inputs)
        terms = low_rank_fusion(list(vectors.values()), [self.factors[name] for name in vectors])
        present = torch.stack([part.present for part in inputs.values()])
        return FusedOutput(self.task.predict(self.score, terms), terms, present)

    def losses(self, batch: Batch, output: FusedOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The task's loss, of labeled clips: the mean absolute error, or the cross-entropy."""
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        return {"prediction": error} if "prediction" in terms else {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """As in `Method`, and the factors with their own rate."""
        factors = {id(parameter) for parameter in self.factors.values()}
        groups = super().parameter_groups()
        (other,) = (group for group in groups if group["name"] == "other")
        own = [parameter for parameter in other["params"] if id(parameter) in factors]
        other["params"] = [parameter for parameter in other["params"] if id(parameter) not in factors]
        return [*groups, {**other, "name": "factors", "params": own, "lr": self.config.training.lr_factors}]


def low_rank_fusion(vectors: list[Tensor], factors: list[Tensor]) -> Tensor:
    """Z, the product over m of z̃^m F^m, by rank: M of (B, 1 + h_m) and of (r, 1 + h_m, o) -> (B, r · o)."""
    with torch.autocast(vectors[0].device.type, enabled=False):  # what it gives is all but the score
        projected = [
            torch.einsum("bh,rho->bro", full_precision(vector), factor)
            for vector, factor in zip(vectors, factors, strict=True)
        ]
    return torch.stack(projected).prod(dim=0).flatten(1)
