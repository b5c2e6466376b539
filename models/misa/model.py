"""MISA: modality-invariant and modality-specific representations.

Hazarika et al., "MISA: Modality-Invariant and -Specific Representations for Multimodal Sentiment Analysis",
ACM MM 2020; the authors' code [C] and MMSA's [R] were read. In the paper's order, m ∈ {text, audio, visual}:

    X^m ─mean, or two BiLSTMs─▶ ─Linear, ReLU, LayerNorm─▶ u_m ─┬─private_m─▶ h^p_m ─┐
                                                                └─shared────▶ h^c_m ─┴─decoder_m─▶ û_m
    {h^p_m, h^c_m of all m} ─transformer layer─▶ ─one behind the other─▶ head ─▶ ŷ

One loss pushes what is private away from what is shared, one draws shared vectors together, one rebuilds u_m.
The 4-class classifier of subspaces that stands in [C] without a loss is not built.

Shapes: B clips, T steps, h width, M modalities of the model. A clip without a modality keeps its rows in
every shape: the transformer does not attend to them, and terms leave them out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.blocks import Linear, full_precision, masked_mean, mean_over_time, together
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from models.core.recurrent import Recurrent
from pipeline.core.section import Section

MOMENTS = 5  # [P] K of the central moment discrepancy
# [D] The public difference is a mean over h x h entries of sums over the clips: twice the clips give four
# times the loss. Ours, of any batch and width, has the scale of MOSI's 64 clips and h = 128, which α is for.
DIFFERENCE_SCALE = (64 / 128) ** 2


# [P] = the paper, [C] = the authors' code, [R] = MMSA's, [D] = our decision
class MISAWeights(Section):
    """Weight of each term; 0 = the term is not computed."""

    prediction: NonNegativeFloat = 1.0  # [P]
    difference: NonNegativeFloat = 0.3  # [C] α
    similarity: NonNegativeFloat = 1.0  # [C] β
    reconstruction: NonNegativeFloat = 1.0  # [C] γ


class MISATraining(Training):
    """[C], whose clipping of each gradient at 1 is the loop's of their norm here."""

    lr_backbone: NonNegativeFloat = 1e-4  # [C] one rate for all
    lr_other: NonNegativeFloat = 1e-4  # [C]
    batch_size: PositiveInt = 64  # [C]
    warmup: Share = 0.0  # [C]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"  # [C]
    patience: PositiveInt = 8  # [D]; 6 in [C]


class MISASettings(MethodSettings):
    """Settings of MISA, section `models.misa` of params.yaml."""

    weights: MISAWeights = MISAWeights()
    training: MISATraining = MISATraining()
    width: PositiveInt = 128  # [C] h
    heads: PositiveInt = 2  # [C] of the transformer layer
    feedforward: PositiveInt = 2048  # [C]
    fusion_dropout: Share = 0.1  # [C] of the transformer layer
    dropout: Share = 0.5  # [C] of the head

    @model_validator(mode="after")
    def _heads_fit(self) -> MISASettings:
        if self.width % self.heads:
            raise ValueError(
                f"models.misa: width is {self.width}, which does not divide into {self.heads} heads; "
                "change one"
            )
        return self


@dataclass
class MISAOutput(FusedOutput):
    """`fused` is (B, 2Mh): the private vectors, then the shared ones; 0 where absent."""

    projected: Tensor  # (M, B, h) u_m
    private: Tensor  # (M, B, h) h^p_m, in (0, 1)
    shared: Tensor  # (M, B, h) h^c_m, in (0, 1)
    reconstruction: Tensor | None  # (M, B, h) û_m; None where not needed


class UtteranceVector(nn.Module):
    """Last states of two BiLSTMs, the second over the normalised states of the first."""

    def __init__(self, features: int):
        super().__init__()
        self.first = Recurrent(features, features, both=True)
        self.norm = nn.LayerNorm(2 * features)
        self.second = Recurrent(2 * features, features, both=True)
        for name, parameter in self.named_parameters():
            if "weight_hh" in name:  # [C]
                nn.init.orthogonal_(parameter)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, F), mask (B, T) -> (B, 4F), 0 where a row has no real step."""
        states, first = self.first(values, mask)
        _, second = self.second(self.norm(states), mask)
        return torch.cat([first, second], dim=-1)


def difference(first: Tensor, second: Tensor, among: Tensor) -> Tensor:
    """‖AᵀB‖_F² / N² of N clips: the covariance of directions, in [0, 1]; 0 of a single clip.

    The rows of A and B are centred over the clips, then brought to length 1 (no gradient through it [C]).
    (P, B, h) twice, clips that count (P, B) -> (P,).
    """

    def directions(rows: Tensor) -> Tensor:
        centred = (rows - mean_over_time(rows, among)[:, None]).masked_fill(~among[..., None], 0.0)
        return centred / (centred.norm(dim=-1, keepdim=True).detach() + 1e-6)

    product = directions(first).mT @ directions(second)
    return product.square().sum(dim=(1, 2)) / among.sum(dim=1).clamp(min=1).square()


def moment_discrepancy(first: Tensor, second: Tensor, among: Tensor) -> Tensor:
    """CMD: distance of the means, and of the central moments 2 to K: (P, B, h) twice, (P, B) -> (P,).

    The root of 0 has no gradient, which makes the public code's NaN where two batches are alike.
    """

    def length(rows: Tensor) -> Tensor:
        return (rows.square().sum(dim=-1) + 1e-12).sqrt()

    means = [mean_over_time(rows, among) for rows in (first, second)]
    total = length(means[0] - means[1])
    away = [rows - mean[:, None] for rows, mean in zip((first, second), means, strict=True)]
    for k in range(2, MOMENTS + 1):
        moments = [mean_over_time(rows**k, among) for rows in away]
        total = total + length(moments[0] - moments[1])
    return total


class MISA(Method):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "difference", "similarity", "reconstruction")
    NEEDS = ("text", "audio", "visual")
    Config = MISASettings
    config: MISASettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config, h, names = self.config, self.config.width, tuple(self.dims)
        self.utterance = nn.ModuleDict({m: UtteranceVector(self.dims[m]) for m in names if m != "text"})
        widths = {m: self.dims[m] * (4 if m in self.utterance else 1) for m in names}
        self.project = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(widths[m], h), nn.ReLU(), nn.LayerNorm(h)) for m in names}
        )
        self.private = nn.ModuleDict({m: nn.Sequential(Linear(h, h), nn.Sigmoid()) for m in names})
        self.shared = nn.Sequential(nn.Linear(h, h), nn.Sigmoid())
        rebuilt = names if config.weights.reconstruction > 0 else ()
        self.decoder = nn.ModuleDict({m: Linear(h, h) for m in rebuilt})
        self.fusion = nn.TransformerEncoderLayer(
            h, config.heads, config.feedforward, config.fusion_dropout, batch_first=True
        )
        self.head = nn.Sequential(
            nn.Linear(2 * len(names) * h, len(names) * h),
            nn.Dropout(config.dropout),
            nn.ReLU(),
            nn.Linear(len(names) * h, self.task.outputs),
        )

    def forward(self, batch: Batch) -> MISAOutput:
        inputs = self.inputs(batch)
        present = torch.stack([source.present for source in inputs.values()])  # (M, B)
        vectors = {
            m: self.utterance[m](x.values, x.mask)
            if m in self.utterance
            else mean_over_time(x.values, x.mask)
            for m, x in inputs.items()
        }
        projected = torch.stack([self.project[m](vector) for m, vector in vectors.items()])
        private, shared = together(self.private.values(), projected), self.shared(projected)
        reconstruction = None
        if self.decoder and self.training and "reconstruction" in self.active_terms:
            reconstruction = full_precision(together(self.decoder.values(), private + shared))
        absent = ~present.T.repeat(1, 2)  # (B, 2M)
        # a softmax over no key would be NaN: a clip without anything attends to all
        masked = absent & ~absent.all(dim=1, keepdim=True)
        mixed = self.fusion(torch.cat([private, shared]).transpose(0, 1), src_key_padding_mask=masked)
        fused = full_precision(mixed).masked_fill(absent[..., None], 0.0).flatten(1)
        return MISAOutput(
            prediction=self.task.predict(self.head, fused),
            fused=fused,
            present=present,
            projected=full_precision(projected),
            private=full_precision(private),
            shared=full_precision(shared),
            reconstruction=reconstruction,
        )

    def losses(self, batch: Batch, output: MISAOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms, unweighted; of two vectors over the clips that have both modalities [D]."""
        private, shared, present = output.private, output.shared, output.present
        pairs = torch.combinations(torch.arange(len(present), device=present.device))  # (P, 2)
        first, second = pairs.unbind(dim=1)
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:  # [P] squared errors, for which α, β and γ are
            errors = self.task.errors(output.prediction, batch.label)
            errors = errors.square() if self.task.classes == 0 else errors
            losses["prediction"] = masked_mean(errors, batch.labeled)
        if "difference" in terms:  # each h^p_m and h^c_m, and the h^p of two modalities
            left, right = torch.cat([private, private[first]]), torch.cat([shared, private[second]])
            both = torch.cat([present, present[first] & present[second]])
            losses["difference"] = DIFFERENCE_SCALE * difference(left, right, both).sum()
        if "similarity" in terms:  # the h^c of two modalities
            both = present[first] & present[second]
            distances = moment_discrepancy(shared[first], shared[second], both)
            losses["similarity"] = distances.sum() / max(1, len(first))
        if "reconstruction" in terms:  # [C] also u_m is moved by it
            if output.reconstruction is None:
                raise ValueError("reconstruction needs a forward in training mode with the term active")
            squares = (output.projected - output.reconstruction).square()
            parts = [masked_mean(square, there) for square, there in zip(squares, present, strict=True)]
            losses["reconstruction"] = torch.stack(parts).mean()
        return losses
