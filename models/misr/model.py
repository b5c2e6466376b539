"""MISR: multimodal invariant sentiment representation learning.

Zhu et al., "Multimodal Invariant Sentiment Representation Learning", Findings of ACL 2025. No code of the
authors is available. Equation numbers are the paper's; where the paper is silent, the choice stands beside
the line. One file, in the paper's order:

    X^m ─ME─▶ H^m ─VE─▶ N(μ^m, σ^m²) ─ω─▶ H^u ─┬─▶ predictor ─▶ ŷ          m ∈ {text, audio, visual}
               │              └─z^m─VD─▶ Ĥ^m   └─ + any subset of {H^m} ─▶ predictor ─▶ ŷ^e

Shapes: B clips, L input steps, T learnt tokens (`num_tokens`), d width, M modalities of the model,
E = 2^M environments. A clip without a modality keeps its rows in every shape; means leave them out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Batch
from models.core.blocks import (
    Linear,
    TransformerLayer,
    full_precision,
    key_bias,
    kl_to_prior,
    masked_mean,
    together,
)
from models.core.method import Method, Output
from models.misr.settings import MISRSettings
from pipeline.core.errors import ParamsError

LOGVAR_BOUND = 4.0  # |2 ln σ| stays below it: σ in (0.135, 7.39), 1/σ < 7.39
# [D] of learnt tokens and positions at the start; of std 1 they would drown the input in every H^m
TOKEN_STD = 0.02
SMALLEST = 1e-12  # norm of a gradient that divides


@dataclass
class MISROutput(Output):
    """ŷ (B,), from H^u alone unless `predict_from` says otherwise, and representations of the modalities."""

    present: Tensor  # (M, B) bool, the clip has the modality
    embedding: Tensor  # (M, B, T, d) H^m
    mean: Tensor  # (M, B, T, d) μ^m
    logvar: Tensor  # (M, B, T, d) 2 ln σ^m
    joint: Tensor  # (B, T, d) H^u
    hidden: Tensor  # (E, B, h) what the predictor's last layer reads in each environment
    environments: Tensor  # (E, B) ŷ^e, or (E, B, C), the first row from H^u alone, up to `prediction` or all
    reconstruction: Tensor | None  # (M, B, T, d) Ĥ^m; None where not needed


class LayerStack(nn.Module):
    """The paper's "transformer layers"; no LayerNorm after the last."""

    def __init__(self, config: MISRSettings):
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(config.width, config.heads, config.head_dim, config.feedforward, config.dropout)
            for _ in range(config.layers)
        )

    def forward(self, x: Tensor, bias: Tensor | None = None, steps: int | None = None) -> Tensor:
        """(..., T, d), `key_bias` of the T steps -> (..., T, d), or of the first `steps` alone."""
        *layers, last = self.layers
        for layer in layers:
            x = layer(x, bias)
        return last(x, bias, steps)


class MultimodalEncoding(nn.Module):
    """ME of one modality (3.2): T learnt tokens read the sequence; their last states are H^m."""

    def __init__(self, features: int, max_steps: int, config: MISRSettings):
        super().__init__()
        self.project = nn.Linear(features, config.width)
        # Random: tokens and positions at zero would get equal gradients, and all T stay one for ever.
        self.tokens = nn.Parameter(TOKEN_STD * torch.randn(config.num_tokens, config.width))
        self.positions = nn.Parameter(TOKEN_STD * torch.randn(config.num_tokens + max_steps, config.width))
        self.stack = LayerStack(config)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """values (B, L, features), mask (B, L) -> H^m (B, T, d), no step of which is padding."""
        clips, tokens = values.shape[0], self.tokens.shape[0]
        x = torch.cat([self.tokens.expand(clips, -1, -1), self.project(values)], dim=1)  # (B, T+L, d)
        bias = key_bias(F.pad(mask, (tokens, 0), value=True))
        return self.stack(x + self.positions[: x.shape[1]], bias, tokens)


class VariationalEncoder(nn.Module):
    """VE of one modality: the posterior q(z^m | h^m) = N(μ, σ²) (1), σ being the standard deviation."""

    def __init__(self, config: MISRSettings):
        super().__init__()
        self.body = nn.Sequential(Linear(config.width, config.width), nn.ReLU(), LayerStack(config))
        self.mean = Linear(config.width, config.width)
        self.spread = Linear(config.width, config.width)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """H^m (..., T, d) -> μ^m, 2 ln σ^m, both (..., T, d) in float32 at least."""
        hidden = self.body(embedding)
        return full_precision(self.mean(hidden)), bounded_logvar(full_precision(self.spread(hidden)))


class VariationalDecoder(nn.Sequential):
    """VD of one modality: z^m (..., T, d) -> Ĥ^m (..., T, d)."""

    def __init__(self, config: MISRSettings):
        width = config.width
        super().__init__(Linear(width, width), nn.ReLU(), LayerStack(config), Linear(width, width))


def bounded_logvar(s: Tensor) -> Tensor:
    """4 tanh(s/4): a soft bound [D], for a hard clamp would have no gradient outside."""
    return LOGVAR_BOUND * torch.tanh(s / LOGVAR_BOUND)


def uncertainty_fusion(mean: Tensor, sigma: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the modalities by their certainty (2), and the joint representation (3).

    Elementwise over token and channel. softmax subtracts the maximum, so that exp(1/σ) cannot overflow.
    mean, sigma > 0 (M, B, T, d), present (M, B) bool -> H^u (B, T, d), ω (M, B, T, d), whose sum over M is 1;
    absent ones weigh 0. A clip without any is fused as if it had all, for a softmax of nothing is NaN.
    """
    known = present | ~present.any(dim=0)
    certainty = sigma.reciprocal().masked_fill(~known[..., None, None], -torch.inf)
    weights = torch.softmax(certainty, dim=0)  # (2)
    return (weights * mean).sum(dim=0), weights  # (3)


def kl_between(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL(N(μ₁, σ₁²) ‖ N(μ₂, σ₂²)) per element: ln(σ₂/σ₁) + (σ₁² + (μ₁ − μ₂)²) / (2 σ₂²) − ½."""
    distance = (mean1 - mean2).square()
    return 0.5 * (logvar2 - logvar1 + (logvar1 - logvar2).exp() + distance * (-logvar2).exp() - 1)


def summed_means(values: Tensor, present: Tensor) -> Tensor:
    """Mean over the clips that count, tokens and channels, summed over modalities or their pairs.

    (..., B, T, d), present (..., B) bool -> scalar.
    """
    clips = values.mean(dim=(-2, -1)).masked_fill(~present, 0.0)
    return (clips.sum(dim=-1) / present.sum(dim=-1).clamp(min=1)).sum()


def counted(batch: Batch, output: MISROutput) -> Tensor:
    """Clips with a label and a modality at least, (B,) bool."""
    return batch.labeled & output.present.any(dim=0)


def environment_variance(values: Tensor) -> Tensor:
    """Population variance over environments: risks (E,) or errors of clips (E, B) -> scalar or (B,) (11)."""
    return (values - values.mean(dim=0)).square().mean(dim=0)


class MISR(Method):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "prior", "alignment", "reconstruction", "invariance")
    NEEDS = ("text", "audio", "visual")
    Config = MISRSettings
    config: MISRSettings
    members: Tensor

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config, names, width = self.config, tuple(self.dims), self.config.width
        self.limits = dict.fromkeys(names, config.max_steps)
        if self.backbone is not None:
            self.limits["text"] = config.max_tokens
        self.encoding = nn.ModuleDict(
            {name: MultimodalEncoding(self.dims[name], self.limits[name], config) for name in names}
        )
        self.encoder = nn.ModuleDict({name: VariationalEncoder(config) for name in names})
        self.decoder = nn.ModuleDict({name: VariationalDecoder(config) for name in names})
        # (9): every subset of the modalities beside H^u, ∅ first
        self.subsets = tuple(subset for size in range(len(names) + 1) for subset in combinations(names, size))
        members = torch.tensor([[name in subset for name in names] for subset in self.subsets])
        self.register_buffer("members", members, persistent=False)  # (E, M) bool
        unknown = [name for name in config.predict_from if name not in names]
        if unknown:
            raise ParamsError(
                f"models.misr.predict_from names {', '.join(unknown)}, but the model has {', '.join(names)}"
            )
        # number of the environment that predicts
        self.chosen = self.subsets.index(tuple(name for name in names if name in config.predict_from))
        hidden = config.predictor_width or width
        self.hidden = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, self.task.outputs)

    def forward(self, batch: Batch) -> MISROutput:
        """ŷ and the representations.

        In evaluation only what ŷ needs; in training also the decoder and the environments where an
        active term asks for them.

        Raises
        ------
        ParamsError : a sequence is longer than the table of positions
        MsaError : see `Method.inputs`
        """
        inputs = self.inputs(batch)
        for name, sequence in inputs.items():
            if (steps := sequence.values.shape[1]) > self.limits[name]:
                raise ParamsError(
                    f"{name} has {steps} steps, but models.misr takes at most {self.limits[name]}; lower "
                    f"assemble.<dataset>.max_steps.{name} or raise models.misr.base.max_steps"
                )
        present = torch.stack([sequence.present for sequence in inputs.values()])
        embedding = torch.stack([self.encoding[m](x.values, x.mask) for m, x in inputs.items()])  # H^m
        mean, logvar = together(self.encoder.values(), embedding)  # (1)
        sigma = (0.5 * logvar).exp()
        joint, _ = uncertainty_fusion(mean, sigma, present)
        reconstruction = None
        if self.training and "reconstruction" in self.active_terms:
            z = mean + sigma * torch.randn_like(sigma)  # (6)
            reconstruction = full_precision(together(self.decoder.values(), z))
        asking = {"invariance"} | ({"prediction"} if self.config.sp_over_envs == "mean" else set())
        number = len(self.subsets) if self.training and asking & self.active_terms else self.chosen + 1
        hidden, environments = self.predict(self.environments(joint, embedding, present, number))
        return MISROutput(
            prediction=environments[self.chosen],
            present=present,
            embedding=embedding,
            mean=mean,
            logvar=logvar,
            joint=joint,
            hidden=hidden,
            environments=environments,
            reconstruction=reconstruction,
        )

    def environments(self, joint: Tensor, embedding: Tensor, present: Tensor, number: int) -> Tensor:
        """Mean over T of H^{f(u, S)}, S the first `number` subsets, with those members that a clip has (9).

        H^u (B, T, d), H^m (M, B, T, d), present (M, B) -> (number, B, d).

        The paper leaves f open. Here it is H^u + the mean of the members' LN(H^m), and H^u bit for bit of ∅.
        LN has no parameters: fusion weights (or the scale of H^m) would be trained by L_IC alone, which is
        smallest when they shut the unimodal cues out. Φ begins with the mean over T, which commutes with f;
        taken before f it costs an eighth.
        """
        unified = joint.mean(dim=1)
        if number == 1:
            return unified[None]
        cues = F.layer_norm(embedding, embedding.shape[-1:]).mean(dim=2)  # (M, B, d)
        members = self.members[:number, :, None] & present  # (E, M, B)
        share = members / members.sum(dim=1, keepdim=True).clamp(min=1)  # 1/|S|, or 0
        return unified + torch.einsum("emb,mbd->ebd", share.to(cues), cues)

    def predict(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """The MLP, one for all environments: (E, B, d) -> hidden (E, B, h), ŷ^e (E, B) or (E, B, C)."""
        with torch.autocast(pooled.device.type, enabled=False):
            hidden = F.relu(self.hidden(full_precision(pooled)))
        # One mask for all: different ones would put noise under L_IC that no environment has made.
        kept = F.dropout(torch.ones_like(hidden[0]), self.config.predictor_dropout, self.training)
        hidden = hidden * kept
        return hidden, self.task.predict(self.score, hidden)

    def losses(self, batch: Batch, output: MISROutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms of (13), unweighted. Means over the clips that have the modality (or both), over
        tokens and channels [D]: a sum over T·d would make λ2 weigh thousands of times more.
        """
        if "invariance" in terms and len(output.environments) < len(self.subsets):
            raise ValueError("invariance needs a forward in training mode with the term active")
        mean, logvar, present = output.mean, output.logvar, output.present
        errors, risks = self.errors(batch, output)
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:  # L_SP (12)
            losses["prediction"] = risks.mean() if self.config.sp_over_envs == "mean" else risks[self.chosen]
        if "prior" in terms:  # L_NA (4): to N(0, I)
            losses["prior"] = summed_means(kl_to_prior(mean, logvar), present)
        if "alignment" in terms:  # L_CMA (5): ordered pairs, no gradient stopped; 0 of m with itself
            divergence = kl_between(mean[:, None], logvar[:, None], mean, logvar)  # (M, M, B, T, d)
            losses["alignment"] = summed_means(divergence, present[:, None] & present)
        if "reconstruction" in terms:  # L_DR (7); detached [D]: a constant H^m would be a free minimum
            if output.reconstruction is None:
                raise ValueError("reconstruction needs a forward in training mode with the term active")
            error = output.embedding.detach() - output.reconstruction
            losses["reconstruction"] = summed_means(error.square(), present)
        if "invariance" in terms:  # L_IC (11): gradient through every environment
            if self.config.invariance_over == "batch":
                losses["invariance"] = environment_variance(risks)
            else:
                losses["invariance"] = masked_mean(environment_variance(errors), counted(batch, output))
        return losses

    def errors(self, batch: Batch, output: MISROutput) -> tuple[Tensor, Tensor]:
        """Errors of the clips in each environment, (E, B), |ŷ^e − y| or a cross-entropy; and R^e, (E,)."""
        errors = self.task.errors(output.environments, batch.label)
        clips = counted(batch, output)
        return errors, errors.masked_fill(~clips, 0.0).sum(dim=1) / clips.sum().clamp(min=1)

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: MISROutput) -> dict[str, Tensor]:
        """Risk of each environment that was computed; in training how much L_IC asks for beside L_SP."""
        _, risks = self.errors(batch, output)
        curves = {
            f"risk/{'+'.join(subset) or 'joint'}": risk
            for subset, risk in zip(self.subsets, risks, strict=False)  # evaluation has the first alone
        }
        if len(risks) == len(self.subsets) and output.environments.requires_grad:
            curves["gradient/invariance"] = self.gradient_share(batch, output)
        return curves

    @torch.enable_grad()
    def gradient_share(self, batch: Batch, output: MISROutput) -> Tensor:
        """‖∂L_IC‖ / ‖∂L_SP‖, unweighted, at the weights of the predictor's last layer.

        All environments share it, and a gradient there is one at ŷ^e times what the layer has read: the
        share costs no pass through the model.
        """
        scores = output.environments.detach().requires_grad_()
        again = replace(output, environments=scores)
        losses = self.losses(batch, again, ("prediction", "invariance"))
        read = output.hidden.detach().flatten(0, 1)  # (EB, h)
        wanted, asked = (
            (torch.autograd.grad(loss, scores, retain_graph=True)[0].reshape(len(read), -1).mT @ read).norm()
            for loss in losses.values()
        )
        return asked / wanted.clamp(min=SMALLEST)

    def internals(self, batch: Batch, output: MISROutput) -> dict[str, dict[str, float]]:
        """`weight`: ω of (2), a mean over tokens and channels; sums to 1."""
        _, weights = uncertainty_fusion(output.mean, (0.5 * output.logvar).exp(), output.present)
        shares = weights.flatten(1).mean(dim=1).tolist()  # of (M, 1, T, d)
        return {"weight": dict(zip(self.dims, shares, strict=True))}
