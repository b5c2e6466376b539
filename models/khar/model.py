"""KHaR: knowledge harvesting and refinement for multimodal sentiment analysis.

Anonymous ACL submission, no code of the authors. Equation numbers are the paper's; where the paper is silent,
the choice stands beside the line: [R] follows the code of its relatives (KuDA, CLGSI, MIB), [D] is ours.
In the paper's order: core/harvest.py and core/stage_one.py have the harvest (3.3) and its pretraining,
refinement.py the refinement (3.4), this file the fusion (3.5) and the model, contrast.py the contrast (3.6):

    I_m ─harvest─▶ X_m ─MoE_m─▶ x̂_m ─┬─▶ fusion ─▶ x ─▶ N(μ, σ²) ─▶ z ─▶ D ─▶ ŷ     m ∈ {text, audio, visual}
                                     └─▶ contrast of all pairs of clips by their labels

docs/methods.md has what the paper leaves open: the doubled error of (22), the sign of (8), Σ in (24).

Shapes: B clips, T steps, D width of X_m, F = 50 width of x̂_m, E experts, Z width of z. A clip without a
modality keeps its rows in every shape, with x̂_m = 0.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Batch
from models.core.blocks import full_precision, kl_to_prior, mean_over_time
from models.core.harvest import Harvester, HarvestSettings
from models.core.method import Method, Output, Share, Training, attended
from models.core.stage_one import load_stage_one, stage_one_methods
from models.khar.contrast import sentiment_contrast
from models.khar.refinement import (
    AttentionRefinement,
    ConvolutionRefinement,
    Expert,
    ExpertRefinement,
    Mixture,
    SparseGate,
    Usage,
    squared_cv,
)
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section

SMALLEST_SIGMA = 1e-6  # under the logarithm of the KL


class KHaRWeights(Section):
    """Weight of each term in (22); 0 = the term is not computed."""

    task: NonNegativeFloat = 1.0  # [P] L_Task; 0 leaves the error in L_MIB alone
    bottleneck_error: NonNegativeFloat = 1.0  # [P] -log q(y|z) of (12)
    compression: NonNegativeFloat = 1e-3  # [R] β of (12)
    balance: NonNegativeFloat = 1e-2  # [D] ω of (6)
    contrastive: NonNegativeFloat = 0.05  # [P] λ; 1 on SIMS and SIMS v2, 0.45 on MOSEI


class KHaRTraining(Training):
    """The paper's optimisation of stage 2: AdamW with a linear warm-up and weight decay."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [P]
    lr_backbone: NonNegativeFloat = 3e-5  # [P] 1e-5 on MOSEI
    lr_other: NonNegativeFloat = 3e-5  # [P] one rate for all
    weight_decay: NonNegativeFloat = 1e-5  # [R] amount unreported
    batch_size: PositiveInt = 64  # [P] 36 on MOSEI
    epochs: PositiveInt = 70  # [P]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "linear"  # [D]
    schedule_every: Literal["epoch", "step"] = "step"  # [D]


class KHaRSettings(HarvestSettings):
    """Settings of KHaR, section `models.khar` of params.yaml."""

    weights: KHaRWeights = KHaRWeights()
    training: KHaRTraining = KHaRTraining()

    refine: Literal["moe", "mlp", "attention", "cnn"] = "moe"  # [P] table 3; L_MoE = 0 in all but moe
    refined_width: PositiveInt = 50  # [P] F, "fine-grained dimension"
    experts: Annotated[int, Field(ge=2)] = 3  # [P] s
    k: PositiveInt = 2  # [D] experts a row uses, below s; with 1 the softmax of (4) has no gradient
    moe_level: Literal["token", "utterance"] = "token"  # [D] rows of the MoE: steps, or clips pooled before
    noisy_gate: bool = False  # [P] (4) has no noise; True = in training, as Shazeer's mixtures
    load: Literal["softmax", "smooth"] = "softmax"  # [D] of (6): smooth = Shazeer's, which needs the noise
    expert_width: PositiveInt | None = None  # [D] inside an expert; null = 2 d_m
    expert_dropout: Share = 0.1  # [D]

    fusion: Literal["mib", "sum", "concat", "attention", "product"] = "mib"  # [P] table 3; L_MIB in mib alone
    fusion_width: PositiveInt = 128  # [R] of x
    bottleneck_width: PositiveInt = 1024  # [R] inside the encoder of z
    latent_width: PositiveInt = 128  # [R] Z
    predictor_width: PositiveInt = 64  # [R] inside D
    kl_reduction: Literal["mean", "sum"] = "mean"  # [R] over the Z dimensions; β belongs to it

    kappa: NonNegativeFloat | None = 0.4  # [P] κ of (14), in units of the label; null for classes
    temperature: PositiveFloat = 0.1  # [D] τ of (21)

    @model_validator(mode="after")
    def _a_smooth_load_has_noise(self) -> KHaRSettings:
        if self.load == "smooth" and not self.noisy_gate:
            raise ValueError(
                "load smooth is a probability under the gate's noise; set noisy_gate to true, or load to "
                "softmax"
            )
        return self

    @model_validator(mode="after")
    def _there_is_something_to_learn(self) -> KHaRSettings:
        if self.fusion != "mib" and self.weights.task == 0:
            raise ValueError(
                f"fusion {self.fusion} has no bottleneck error to stand in for weights.task: 0; "
                "set weights.task to 1, or fusion to mib"
            )
        return self


@dataclass
class KHaROutput(Output):
    """ŷ (B,), or (B, C), and representations by modality."""

    present: dict[str, Tensor]  # (B,) bool, the clip has the modality
    refined: dict[str, Tensor]  # (B, F) x̂_m, 0 where absent
    importance: dict[str, Tensor]  # (E,) each, the experts' `Usage`; empty with another `refine`
    load: dict[str, Tensor]
    rows: dict[str, Tensor]
    mean: Tensor | None  # (B, Z) μ of the bottleneck
    sigma: Tensor | None  # (B, Z) σ


def refinement(width: int, config: KHaRSettings) -> nn.Module:
    """MoE_m, or what an ablation puts in its place, for X_m of this width."""
    if config.refine == "attention":
        return AttentionRefinement(width, config.refined_width)
    if config.refine == "cnn":
        return ConvolutionRefinement(width, config.refined_width)
    hidden = config.expert_width or 2 * config.pretraining.width
    expert = partial(Expert, width, config.refined_width, hidden, config.expert_dropout)
    if config.refine == "mlp":
        return ExpertRefinement(expert())
    gate = SparseGate(
        width, config.experts, config.k, noisy=config.noisy_gate, smooth=config.load == "smooth"
    )
    return Mixture(gate, (expert() for _ in range(config.experts)), by_token=config.moe_level == "token")


# ------------------------------------------------------------------------------------------- fusion (3.5)
class Fusion(nn.Module):
    """x̂_m of all modalities -> x (B, fusion_width): one Linear with ReLU over how they are put together."""

    def __init__(self, modalities: int, config: KHaRSettings):
        super().__init__()
        width = config.refined_width
        self.kind = config.fusion
        attends = self.kind == "attention"
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True) if attends else None
        slots = modalities if self.kind in ("mib", "concat") else 1
        self.out = nn.Linear(slots * width, config.fusion_width)

    def forward(self, refined: Tensor, present: Tensor) -> Tensor:
        """x̂ (B, M, F), 0 where absent, present (B, M) bool -> x (B, fusion_width)."""
        if self.attention is not None:  # [D] the modalities as tokens; the mean of those that a clip has
            keys = ~attended(present)
            mixed, _ = self.attention(refined, refined, refined, key_padding_mask=keys, need_weights=False)
            joint = mean_over_time(mixed, present)
        elif self.kind == "sum":
            joint = refined.sum(dim=1)
        elif self.kind == "product":  # [D] what is absent changes no product
            joint = refined.masked_fill(~present[..., None], 1.0).prod(dim=1)
        else:
            joint = refined.flatten(1)
        return F.relu(self.out(joint))


class Bottleneck(nn.Module):
    """Encoder p(z | x) = N(μ, σ²) of the information bottleneck (23) [R: after the fusion, none before]."""

    def __init__(self, config: KHaRSettings):
        super().__init__()
        hidden = config.bottleneck_width
        self.body = nn.Sequential(nn.Linear(config.fusion_width, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, config.latent_width)
        self.spread = nn.Linear(hidden, config.latent_width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, fusion_width) -> μ, σ (B, Z) in float32 at least; σ starts near softplus(-5) = 0.0067 [R]."""
        hidden = self.body(x)
        return full_precision(self.mean(hidden)), F.softplus(full_precision(self.spread(hidden)) - 5)


class KHaR(Harvester):
    """The model and its losses; see the module's text."""

    TERMS = ("task", "bottleneck_error", "compression", "balance", "contrastive")
    NEEDS = ("text", "audio", "visual")
    Config = KHaRSettings
    config: KHaRSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        super().build(backbones)
        config, task = self.config, self.task
        if task.classes and config.kappa is not None:
            raise ParamsError(
                f"models.khar.kappa is {config.kappa}, but with {task.classes} classes a pair is two clips "
                "of one class; set it to null for this dataset"
            )
        if not task.classes and config.kappa is None:
            raise ParamsError("models.khar.kappa is null, but the labels are scores; the paper uses 0.4")
        if config.pretraining.adapters == "pretrained":
            self.freeze_adapters()  # [R]
        width = config.pretraining.width * (1 if config.pretraining.adapters == "none" else 2)  # D
        self.narrow = None  # [D] a fine-tuned text encoder is wider than the others' X_m
        if self.backbone is not None:
            self.narrow = nn.Linear(self.harvest_width["text"], width)
        self.refine = nn.ModuleDict({name: refinement(width, config) for name in self.dims})
        self.fusion = Fusion(len(self.dims), config)
        self.bottleneck = Bottleneck(config) if config.fusion == "mib" else None
        latent = config.latent_width if config.fusion == "mib" else config.fusion_width
        self.predictor = nn.Sequential(
            nn.Linear(latent, config.predictor_width),
            nn.ReLU(),
            nn.Linear(config.predictor_width, task.outputs),
        )

    @classmethod
    def pretraining_methods(cls, config: KHaRSettings, dims: dict[str, int]) -> dict[str, Method]:
        return stage_one_methods(config, dims)

    def load_pretrained(self, folder: Path) -> None:
        """Encoders and adapters of stage 1, from `folder/<modality>.safetensors`; see `load_stage_one`."""
        if self.config.pretraining.adapters != "pretrained":
            return
        for name in self.dims:
            load_stage_one(self, name, folder / f"{name}.safetensors")

    def forward(self, batch: Batch) -> KHaROutput:
        """ŷ and the representations; z is μ in evaluation [D], where the MIB code draws it too.

        Raises
        ------
        ParamsError, MsaError : see `Harvester.harvested`
        """
        present, refined, usages = {}, {}, {}
        for name, harvested in self.harvested(batch).items():
            x = harvested.values  # X_m (3)
            if name == "text" and self.narrow is not None:
                x = self.narrow(x)
            vector, usage = self.refine[name](x, harvested.mask)
            present[name] = harvested.present
            refined[name] = full_precision(vector).masked_fill(~harvested.present[:, None], 0.0)  # x̂_m
            if usage is not None:
                usages[name] = usage
        x = self.fusion(torch.stack(list(refined.values()), 1), torch.stack(list(present.values()), 1))
        mean = sigma = None
        if self.bottleneck is not None:
            mean, sigma = self.bottleneck(x)
            x = mean + sigma * torch.randn_like(sigma) if self.training else mean  # z (24)
        prediction = self.task.predict(self.predictor, x)
        importance, load, rows = (
            {name: getattr(usage, kind) for name, usage in usages.items()} for kind in Usage._fields
        )
        return KHaROutput(prediction, present, refined, importance, load, rows, mean, sigma)

    def losses(self, batch: Batch, output: KHaROutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms of (22), unweighted; those of parts that an ablation has taken out are 0."""
        zero = output.prediction.new_zeros(())
        mean, sigma = output.mean, output.sigma
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        losses: dict[str, Tensor] = {}
        if "task" in terms:  # L_Task
            losses["task"] = error
        if "bottleneck_error" in terms:  # -log q(y|z) (25), its constant left out
            losses["bottleneck_error"] = error if mean is not None else zero
        if "compression" in terms:  # KL to N(0, 1) (27); the mean over Z goes with β = 1e-3 in the MIB code
            losses["compression"] = zero
            if mean is not None and sigma is not None:
                divergence = kl_to_prior(mean, 2 * sigma.clamp(min=SMALLEST_SIGMA).log())
                summed = self.config.kl_reduction == "sum"
                losses["compression"] = divergence.sum(dim=1).mean() if summed else divergence.mean()
        if "balance" in terms:  # L_MoE (6) of all modalities
            sums = [*output.importance.values(), *output.load.values()]
            losses["balance"] = sum((squared_cv(used) for used in sums), start=zero)
        if "contrastive" in terms:  # L_CL (21)
            clips = (output.refined, output.present, batch.label, batch.labeled)
            losses["contrastive"] = sentiment_contrast(*clips, self.config.kappa, self.config.temperature)
        return losses

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: KHaROutput) -> dict[str, Tensor]:
        """Of each expert its share of a modality's gates, and the share of the rows that go to it; mean σ.

        The former sum to 1 over the experts, the latter to k: an expert that serves every row has 1.
        """
        curves = {
            f"{kind}/{name}/{number}": each * share
            for kind, usage, each in (("expert", output.importance, 1), ("rows", output.rows, self.config.k))
            for name, used in usage.items()
            for number, share in enumerate(used / used.sum().clamp(min=1))
        }
        return curves if output.sigma is None else {**curves, "sigma": output.sigma.mean()}

    def internals(self, batch: Batch, output: KHaROutput) -> dict[str, dict[str, float]]:
        """`expert_<i>`: share of expert i in a modality's steps by the gates (4); sums to 1 a modality."""
        found: dict[str, dict[str, float]] = {}
        for key, share in self.diagnostics(batch, output).items():
            kind, *rest = key.split("/")
            if kind == "expert":
                modality, number = rest
                found.setdefault(f"expert_{number}", {})[modality] = float(share)
        return found
