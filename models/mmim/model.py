"""MMIM: hierarchical maximisation of mutual information.

Han et al., "Improving Multimodal Fusion with Hierarchical Mutual Information Maximization for Multimodal
Sentiment Analysis", EMNLP 2021; the authors' code [C] and MMSA's [R] were read. In the paper's order:

    X^text ─first state─▶ x_text ─┐                          m ∈ {text, audio, visual}
    X^m ─BiLSTM, Linear─▶ x_m ────┴─▶ two layers of tanh ─▶ Z ─Linear─▶ ŷ
                                                            Z ─G_m─▶ x̂_m, to be most like x_m of all (CPC)

Text is to share information with audio and with visual: I(x_text; x_m) ≥ E ln q(x_m | x_text) + H(x_m). The
nets of q are estimators: they learn first in every step; in the code, in an epoch of their own before every
epoch of the rest. H is that of one Gaussian a polarity (negative, positive), or a class, fitted to the batch
and the one before.

Shapes: B clips, d width of x_m, e that of the entropy, P pairs of text and another modality, C polarities or
classes. A clip without a modality keeps its rows in every shape: its x_m is 0, and terms leave it out.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.blocks import (
    full_precision,
    masked_logsumexp,
    masked_mean,
    mean_over_time,
    row_similarity,
)
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from models.core.recurrent import SentenceVector
from pipeline.core.section import Section

LOGVAR_BOUND = 5.0  # [D] |ln σ²| of q
RIDGE = 1e-4  # [D] added to the variances, for few points lie in a plane, whose entropy is -inf
FEWEST = 5  # [D] points of a polarity; of fewer no entropy is taken


# [P] = the paper, [C] = the authors' code, [R] = MMSA's, [D] = our decision
class MMIMWeights(Section):
    """Weight of each term; 0 = the term is not computed, and what only it needs is not built."""

    prediction: NonNegativeFloat = 1.0  # [P]
    contrastive: NonNegativeFloat = 0.1  # [C] α
    information: NonNegativeFloat = 0.1  # [C] β


class MMIMTraining(Training):
    """[C], whose halving of the rate after 20 epochs without gain comes after the end by patience."""

    lr_backbone: NonNegativeFloat = 5e-5  # [C]
    lr_other: NonNegativeFloat = 1e-3  # [C]
    weight_decay: NonNegativeFloat = 1e-4  # [C]
    epochs: PositiveInt = 40  # [C]
    warmup: Share = 0.0  # [C]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"  # [C]
    patience: PositiveInt = 10  # [C]


class MMIMSettings(MethodSettings):
    """Settings of MMIM, section `models.mmim` of params.yaml."""

    weights: MMIMWeights = MMIMWeights()
    training: MMIMTraining = MMIMTraining()
    text_pooling: Literal["cls", "mean"] = "cls"  # [P] x_text: the first state, or the mean of all [D]
    hidden: PositiveInt = 16  # [C] of the LSTMs, each direction
    width: PositiveInt = 16  # [C] d of audio and visual
    fused_width: PositiveInt = 128  # [C] of Z
    entropy_width: PositiveInt = 4  # [C] e
    dropout: Share = 0.1  # [C] of the LSTMs' last states, and before Z
    estimator_hidden: PositiveInt = 16  # [C]
    estimator_lr: PositiveFloat = 1e-3  # [C]
    estimator_steps: PositiveInt = 1  # [C] for one update of the model


@dataclass
class MMIMOutput(FusedOutput):
    """`fused` is Z. By modality, in training where an active term needs it:"""

    vectors: dict[str, Tensor]  # (B, d) x_m, 0 where absent
    predicted: dict[str, Tensor]  # (B, d) x̂_m
    points: Tensor | None  # (P, B, e) of audio and visual beside text, what H is taken of


class Conditional(nn.Module):
    """q(y | x), a Gaussian with diagonal covariance."""

    def __init__(self, x_width: int, y_width: int, hidden: int):
        super().__init__()
        nets = (
            nn.Sequential(nn.Linear(x_width, hidden), nn.ReLU(), nn.Linear(hidden, y_width)) for _ in range(2)
        )
        self.mean, self.logvar = nets

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """ln q(y | x) without its constant, summed over the width: (B, x), (B, y) -> (B,).

        The public code leaves −½ ln σ² out, and is best with infinite variance.
        """
        logvar = self.logvar(x).clamp(-LOGVAR_BOUND, LOGVAR_BOUND)
        return -0.5 * ((y - self.mean(x)).square() * (-logvar).exp() + logvar).sum(dim=-1)


def entropy(points: Tensor, member: Tensor) -> Tensor:
    """½ ln det Σ_c, a mean over the groups c of enough points; 0 where there is none.

    Without the Gaussian's constant. Points (P, B, e), and those of each group, member (P, C, B) -> (P,).
    """
    number = member.sum(dim=-1)  # (P, C)
    among = member.flatten(0, 1)  # (PC, B)
    own = points[:, None].expand(-1, member.shape[1], -1, -1).flatten(0, 1)  # (PC, B, e)
    away = (own - mean_over_time(own, among)[:, None]).masked_fill(~among[..., None], 0.0)
    covariance = away.mT @ away / among.sum(dim=-1).clamp(min=1)[:, None, None]
    ridge = RIDGE * torch.eye(points.shape[-1], device=points.device, dtype=points.dtype)
    halves = 0.5 * torch.logdet(covariance + ridge).view_as(number)
    enough = number >= FEWEST
    return halves.masked_fill(~enough, 0.0).sum(dim=-1) / enough.sum(dim=-1).clamp(min=1)


def contrast(vectors: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
    """−mean ln of the share of x̂_i among all x̂_j, by cosines with x_i: (B, d) twice, (B,) -> scalar."""
    similarity = row_similarity(vectors, predicted)  # (B, B)
    return masked_mean(masked_logsumexp(similarity, present[None], dim=1) - similarity.diagonal(), present)


class MMIM(Method):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "contrastive", "information")
    NEEDS = ("text", "audio", "visual")
    Config = MMIMSettings
    config: MMIMSettings
    memory: Tensor
    memory_label: Tensor

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config = self.config
        widths = {m: width if m == "text" else config.width for m, width in self.dims.items()}
        self.sequence = nn.ModuleDict(
            {
                m: SentenceVector(self.dims[m], config.hidden, config.width, config.dropout, both=True)
                for m in self.dims
                if m != "text"
            }
        )
        self.fusion = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(sum(widths.values()), config.fused_width),
            nn.Tanh(),
            nn.Linear(config.fused_width, config.fused_width),
            nn.Tanh(),
        )
        self.score = nn.Linear(config.fused_width, self.task.outputs)
        contrasted = widths if config.weights.contrastive > 0 else {}
        self.decoder = nn.ModuleDict(  # G_m
            {m: nn.Linear(config.fused_width, width) for m, width in contrasted.items()}
        )
        # without text there is no pair
        told = tuple(self.sequence) if "text" in widths and config.weights.information > 0 else ()
        self.estimators = nn.ModuleDict(
            {m: Conditional(widths["text"], config.width, config.estimator_hidden) for m in told}
        )
        # In [C] it lies among the parameters of q, whose step has no loss of it, and never learns.
        self.entropy = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(config.width, config.entropy_width), nn.Tanh()) for m in told}
        )
        # the points of the batch before, and their clips' labels, NaN where there is no point
        places = (len(told), config.training.batch_size)
        self.register_buffer("memory", torch.zeros(*places, config.entropy_width))
        self.register_buffer("memory_label", torch.full(places, math.nan))

    def forward(self, batch: Batch) -> MMIMOutput:
        inputs = self.inputs(batch)
        vectors: dict[str, Tensor] = {}
        for m, source in inputs.items():
            if m in self.sequence:
                vector = self.sequence[m](source.values, source.mask)
            elif self.config.text_pooling == "cls":
                vector = source.values[:, 0]
            else:
                vector = mean_over_time(source.values, source.mask)
            vectors[m] = full_precision(vector).masked_fill(~source.present[:, None], 0.0)
        fused = full_precision(self.fusion(torch.cat([*vectors.values()], dim=-1)))
        wanted = self.active_terms if self.training else ()
        predicted = {m: net(fused) for m, net in self.decoder.items()} if "contrastive" in wanted else {}
        points = None
        if self.entropy and "information" in wanted:
            points = full_precision(torch.stack([net(vectors[m]) for m, net in self.entropy.items()]))
        return MMIMOutput(
            prediction=self.task.predict(self.score, fused),
            fused=fused,
            present=torch.stack([source.present for source in inputs.values()]),
            vectors=vectors,
            predicted=predicted,
            points=points,
        )

    # -------------------------------------------------------------------------------------------- losses
    def losses(self, batch: Batch, output: MMIMOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms, unweighted."""
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:
            losses["prediction"] = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        if "contrastive" in terms:
            if not output.predicted:
                raise ValueError("contrastive needs a forward in training mode with the term active")
            present = self.having(output)
            parts = [contrast(output.vectors[m], x, present[m]) for m, x in output.predicted.items()]
            losses["contrastive"] = torch.stack(parts).sum()
        if "information" in terms:  # the loop clears the gradient left at the estimators
            losses["information"] = -(self.likelihood(output) + self.entropies(batch, output).sum())
        return losses

    def having(self, output: MMIMOutput) -> dict[str, Tensor]:
        """Clips that have each modality, (B,) bool."""
        return dict(zip(self.dims, output.present, strict=True))

    def likelihood(self, output: MMIMOutput) -> Tensor:
        """Σ_m of the mean ln q(x_m | x_text) over the clips that have both."""
        present, x = self.having(output), output.vectors
        parts = [
            masked_mean(q(x["text"], x[m]), present["text"] & present[m]) for m, q in self.estimators.items()
        ]
        return torch.stack(parts).sum() if parts else output.prediction.new_zeros(())

    def entropies(self, batch: Batch, output: MMIMOutput) -> Tensor:
        """H of each modality beside text, (P,), over this batch and the one before, which has no gradient.

        [C] waits for the third batch of every epoch; here it counts whether there are points enough.
        """
        if not self.entropy:
            return output.prediction.new_zeros(0)
        if output.points is None:
            raise ValueError("information needs a forward in training mode with the term active")
        points = torch.cat([output.points, self.memory.to(output.points)], dim=1)
        label = torch.cat([self.labels(batch, output), self.memory_label.to(output.points)], dim=1)
        if self.task.classes:
            member = label[:, None] == torch.arange(self.task.classes, device=label.device)[:, None]
        else:
            member = torch.stack([label < 0, label > 0], dim=1)
        return entropy(points, member)

    def labels(self, batch: Batch, output: MMIMOutput) -> Tensor:
        """Of the clips of each point, (P, B); NaN where the clip has not the modality."""
        present = self.having(output)
        there = torch.stack([present[m] for m in self.entropy])
        return batch.label.expand(there.shape).masked_fill(~there, math.nan)

    @torch.no_grad()
    def remember(self, batch: Batch, output: MMIMOutput) -> None:
        if output.points is None:
            return
        number = min(len(batch.clip_ids), self.memory.shape[1])
        self.memory[:, :number] = output.points[:, :number].to(self.memory)
        self.memory_label.fill_(math.nan)
        self.memory_label[:, :number] = self.labels(batch, output)[:, :number].to(self.memory_label)

    # ---------------------------------------------------------------------------------------- estimators
    def estimator_steps(self) -> int:
        return self.config.estimator_steps if self.estimators and "information" in self.active_terms else 0

    def estimator_groups(self) -> list[dict[str, Any]]:
        if not self.estimators:
            return []
        return [
            {
                "params": list(self.estimators.parameters()),
                "lr": self.config.estimator_lr,
                "weight_decay": self.config.training.weight_decay,  # [C] one of all
            }
        ]

    def estimator_loss(self, batch: Batch, output: MMIMOutput) -> Tensor:
        """The negative log-likelihood of both pairs."""
        return -self.likelihood(replace(output, vectors={m: x.detach() for m, x in output.vectors.items()}))

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: MMIMOutput) -> dict[str, Tensor]:
        """Both parts of the bound: mean ln q, without its constant, and H."""
        if output.points is None:
            return {}
        entropies = self.entropies(batch, output).sum()
        return {"bound/likelihood": self.likelihood(output), "bound/entropy": entropies}
