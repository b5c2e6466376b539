"""KuDA: knowledge-guided dynamic modality attention fusion.

Feng et al., "Knowledge-Guided Dynamic Modality Attention Fusion Framework for Multimodal Sentiment Analysis",
Findings of EMNLP 2024. [P] marks what stands in the paper, [C] the code of its authors (its defaults are for
SIMS), [D] our decision. Encoders with adapters, pretrained on the sentiment of each modality alone, also say
what each of them predicts; that tells which modality dominates a clip, and how much it counts in the fusion.
core/harvest.py and core/stage_one.py have encoders, adapters and their pretraining. In the paper's order:

    I_m ─encoder, adapters─▶ X_m ─┬─▶ pretrained head ─▶ ŷ_m ─▶ ρ_m                  m ∈ {text, audio, visual}
                                  └─▶ H_m of one length ─layers that read all H_m by ρ_m─▶ mean ─▶ MLP ─▶ ŷ

Shapes: B clips, T input steps, S fused steps (`steps`), d width, M modalities of the model.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Batch
from models.core.blocks import full_precision, masked_logsumexp, masked_mean, mean_over_time, row_similarity
from models.core.crossmodal import CrossAttention
from models.core.harvest import Harvester, HarvestSettings
from models.core.method import REGRESSION, FusedOutput, Method, Share, Training
from models.core.stage_one import load_stage_one, stage_one_methods, unimodal_head
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section


class KuDAWeights(Section):
    """Weight of each term; 0 = the term is not computed."""

    prediction: NonNegativeFloat = (
        1.0  # [P]; the squared error there, here the task's loss of all methods [D]
    )
    contrastive: NonNegativeFloat = 0.1  # [C]


class KuDATraining(Training):
    """AdamW, one rate, a tenth of the epochs to warm up, then a cosine [C]; there epoch 1 has the rate 0."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [C]
    lr_backbone: NonNegativeFloat = 3e-5  # [C]
    lr_other: NonNegativeFloat = 3e-5  # [C]
    weight_decay: NonNegativeFloat = 1e-5  # [C]
    batch_size: PositiveInt = 32  # [C]
    epochs: PositiveInt = 50  # [C]


class KuDASettings(HarvestSettings):
    """Settings of KuDA, section `models.kuda` of params.yaml."""

    weights: KuDAWeights = KuDAWeights()
    training: KuDATraining = KuDATraining()
    steps: PositiveInt = 50  # [C] S, the longest text; 39 on SIMS
    width: PositiveInt = 256  # [C] d
    layers: PositiveInt = 3  # [C]
    heads: PositiveInt = 8  # [C]
    head_dim: PositiveInt = 64  # [C]
    feedforward: PositiveInt = 512  # [C]
    dropout: Share = 0.3  # [C] where the modalities are read; none elsewhere
    sharpness: NonNegativeFloat = 0.1  # [C] of ρ; 0 = all modalities count alike
    predictor_widths: tuple[PositiveInt, ...] = (64, 32)  # [C]


@dataclass
class KuDAOutput(FusedOutput):
    """ŷ and what the contrast compares."""

    ratio: Tensor  # (M, B) ρ, 0 where absent
    aligned: Tensor  # (M, B, d) means of H_m over the steps


def dominance(unimodal: Tensor, reference: Tensor, present: Tensor, sharpness: float) -> Tensor:
    """ρ: (M, B) predictions of each modality alone, (B,), (M, B) bool -> (M, B), 0 where absent.

    exp(-k (ŷ_m - reference)²) over its sum: who is near counts more.
    """
    known = present | ~present.any(dim=0)  # a softmax of nothing is NaN
    scores = -sharpness * (unimodal - reference).square()
    return torch.softmax(scores.masked_fill(~known, -torch.inf), dim=0).masked_fill(~present, 0.0)


def feedforward(config: KuDASettings, dropout: float) -> nn.Sequential:
    """(..., d) -> (..., d), a LayerNorm of its own before it [C]."""
    return nn.Sequential(
        nn.LayerNorm(config.width),
        nn.Linear(config.width, config.feedforward),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(config.feedforward, config.width),
        nn.Dropout(dropout),
    )


class TimeAlignment(nn.Module):
    """X_m of any length as H_m of S steps: a Linear over the features, then one over the time."""

    def __init__(self, features: int, limit: int, config: KuDASettings):
        super().__init__()
        self.project = nn.Linear(features, config.width)
        self.time = nn.Linear(limit, config.steps)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, features), (B, T) -> (B, S, d); padding counts as zeros [D], in [C] as what stands there."""
        x = self.project(values).masked_fill(~mask[..., None], 0.0)
        return F.linear(x.mT, self.time.weight[:, : x.shape[1]], self.time.bias).mT


class ModalityReading(nn.Module):
    """What the fused steps read in one modality: attention and feed-forward, both with a norm after them."""

    def __init__(self, config: KuDASettings):
        super().__init__()
        self.attention = CrossAttention(config.width, config.heads, config.head_dim, config.dropout)
        self.feedforward = feedforward(config, config.dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(config.width) for _ in range(3))

    def forward(self, fused: Tensor, aligned: Tensor) -> Tensor:
        """(B, S, d), H_m (B, S, d) -> LN(c_m), (B, S, d)."""
        x = self.norm1(fused + self.attention(fused, aligned, aligned))
        return self.norm3(self.norm2(x + self.feedforward(x)))


class DynamicLayer(nn.Module):
    """The fused steps read every modality as much as it dominates, then each other.

    [D] what is read is LN(Σ (1 + ρ_m) LN(c_m)), in training and evaluation. [C] has LN((1 + ρ_m) c_m), whose
    norm takes the factor out again, and in evaluation LN(Σ c_m), which is not what was trained.
    """

    def __init__(self, names: Collection[str], config: KuDASettings):
        super().__init__()
        width = config.width
        self.reading = nn.ModuleDict({name: ModalityReading(config) for name in names})
        self.read_norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, config.heads, config.head_dim, 0.0)
        self.feedforward = feedforward(config, 0.0)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))

    def forward(self, fused: Tensor, aligned: dict[str, Tensor], weight: Tensor) -> Tensor:
        """(B, S, d), H_m (B, S, d) by modality, weight (M, B), 0 where absent -> (B, S, d)."""
        parts = torch.stack([self.reading[name](fused, x) for name, x in aligned.items()])  # (M, B, S, d)
        read = self.read_norm((weight[..., None, None] * parts).sum(dim=0))
        x = self.norm1(fused + read)
        x = self.norm2(x + self.attention(x, x, x))
        return self.norm3(x + self.feedforward(x))


class KuDA(Harvester):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "contrastive")
    NEEDS = ("text", "audio", "visual")
    Config = KuDASettings
    config: KuDASettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        super().build(backbones)
        config = self.config
        self.limits = dict.fromkeys(self.dims, config.pretraining.max_steps)
        if self.backbone is not None:
            self.limits["text"] = config.max_tokens
        self.classifier = nn.ModuleDict()  # of each modality alone; from stage 1
        if config.pretraining.adapters == "pretrained":
            for name, width in self.harvest_width.items():
                self.classifier[name] = unimodal_head(width, width // 2)
            self.classifier.requires_grad_(False)  # [C]
            self.freeze_adapters()  # [C]
        self.alignment = nn.ModuleDict(
            {
                name: TimeAlignment(width, self.limits[name], config)
                for name, width in self.harvest_width.items()
            }
        )
        self.layers = nn.ModuleList(DynamicLayer(self.dims, config) for _ in range(config.layers))
        widths = (config.width, *config.predictor_widths)
        hidden = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.GELU())]
        self.predictor = nn.Sequential(*hidden, nn.Linear(widths[-1], self.task.outputs))

    @classmethod
    def pretraining_methods(cls, config: KuDASettings, dims: dict[str, int]) -> dict[str, Method]:
        """Stage 1 by modality; nothing unless the adapters are to be pretrained."""
        return stage_one_methods(config, dims)

    def load_pretrained(self, folder: Path) -> None:
        """Encoders, adapters and heads of stage 1, from `folder/<modality>.safetensors`."""
        if self.config.pretraining.adapters == "pretrained":
            for name in self.dims:
                load_stage_one(self, name, folder / f"{name}.safetensors")

    def forward(self, batch: Batch) -> KuDAOutput:
        """ŷ, and what the contrast compares.

        Raises
        ------
        ParamsError : a sequence is longer than the alignment is wide
        MsaError : see `Method.sources`
        """
        harvested = self.harvested(batch)
        aligned, unimodal = {}, []
        for name, x in harvested.items():
            if (steps := x.values.shape[1]) > self.limits[name]:
                raise ParamsError(
                    f"{name} has {steps} steps, but models.kuda takes at most {self.limits[name]}; raise "
                    "models.kuda.base.max_tokens"
                )
            aligned[name] = self.alignment[name](x.values, x.mask)
            unimodal.append(self.alone(name, mean_over_time(x.values, x.mask)))
        present = torch.stack([x.present for x in harvested.values()])
        ratio = self.ratio(torch.stack(unimodal), present)
        weight = (1 + ratio).masked_fill(~present, 0.0)
        fused = torch.stack(list(aligned.values())).masked_fill(~present[..., None, None], 0.0).sum(dim=0)
        for layer in self.layers:
            fused = layer(fused, aligned, weight)
        pooled = full_precision(fused).mean(dim=1)
        means = torch.stack([full_precision(x).mean(dim=1) for x in aligned.values()])
        return KuDAOutput(self.task.predict(self.predictor, pooled), pooled, present, ratio, means)

    @torch.no_grad()
    def alone(self, name: str, pooled: Tensor) -> Tensor:
        """ŷ_m (B,), a score whatever the task is; 0 without a pretrained head: all count alike [D]."""
        if name not in self.classifier:
            return pooled.new_zeros(len(pooled))
        return REGRESSION.predict(self.classifier[name], pooled)

    def ratio(self, unimodal: Tensor, present: Tensor) -> Tensor:
        """ρ (M, B) by the distance from the mean of a clip's ŷ_m [D], (M, B) each.

        [C] takes the distance from the label, which nothing has that is to be predicted.
        """
        known = unimodal.masked_fill(~present, 0.0)
        reference = known.sum(dim=0) / present.sum(dim=0).clamp(min=1)
        return dominance(known, reference, present, self.config.sharpness)

    def losses(self, batch: Batch, output: KuDAOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms, unweighted."""
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:
            losses["prediction"] = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        if "contrastive" in terms:  # of every modality, among the clips that have it
            parts = [
                contrast(x, output.fused, has) for x, has in zip(output.aligned, output.present, strict=True)
            ]
            losses["contrastive"] = torch.stack(parts).sum()
        return losses

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: KuDAOutput) -> dict[str, Tensor]:
        """Mean ρ of each modality, among the clips that have it."""
        shares = zip(self.dims, output.ratio, output.present, strict=True)
        return {f"ratio/{name}": masked_mean(ratio, has) for name, ratio, has in shares}

    def internals(self, batch: Batch, output: KuDAOutput) -> dict[str, dict[str, float]]:
        """`dominance`: ρ of each modality; they sum to 1."""
        return {"dominance": dict(zip(self.dims, output.ratio[:, 0].tolist(), strict=True))}


def contrast(aligned: Tensor, fused: Tensor, rows: Tensor) -> Tensor:
    """-ln of e^cosine of a clip's H_m with its own fused vector over the sum with all: (B, d) both -> scalar.

    Mean over the `rows`, (B,) bool, and against them alone; 0 where there is none.
    """
    similarity = row_similarity(aligned, fused)
    total = masked_logsumexp(similarity, rows[None], dim=1).masked_fill(~rows, 0.0)
    return masked_mean(total - similarity.diagonal(), rows)
