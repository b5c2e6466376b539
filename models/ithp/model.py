"""ITHP: text compressed until it just predicts the sound, then the face; what is left shifts the words.

Xiao et al., "Neuro-Inspired Information-Theoretic Hierarchical Perception for Multimodal Learning", ICLR
2024; the authors' code was read [C]. For a token with the text encoder's state x:

    x ─encoder─▶ N(μ₀, σ₀²) ∋ b₀ ─head─▶ audio beside the token
                             b₀ ─encoder─▶ N(μ₁, σ₁²) ∋ b₁ ─head─▶ visual beside the token
    LayerNorm(x + β_shift Linear(b₁)), dropout ─pooler─▶ dropout ─▶ Linear ─▶ ŷ

Audio and visual are targets of the training alone. ŷ does not depend on them: the method reads text when it
predicts, and its rows under noise in sound and sight, or without them, are flat by construction. Frozen text:
x are the extracted states.

What differs:

- [C] samples b at test too; here it is μ, so that a clip has one prediction [D].
- In [C] padding counts in the KL and is predicted (zeros, as beside special tokens). Here it is masked, and
  the heads are asked for what is beside words alone [D].
- Targets lie in [0, 1] by the smallest and largest value of each feature on the words of the train split,
  clipped [D]; [C] takes those of each batch, so that a loss depends on who else is in it.
- [C] has dropout behind the heads' sigmoid, which makes estimates 1/(1 - p) too large; here is none [D].
- Words are split evenly unless a set is aligned, see models/core/word_frames.py [D].
- [C] tests the last epoch, and drops clips with the label 0 before its metrics; validation chooses here.

Shapes: B clips, T tokens, W width of the text, d_m of modality m.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch, Sequences, Tokens
from models.core.blocks import full_precision, kl_to_prior, masked_mean, mean_over_time
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from models.core.word_frames import beside_words
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section


class ITHPWeights(Section):
    """L = L_task + 2 / (β + γ) · IB with IB = KL₀ + β MSE₀ + λ (KL₁ + γ MSE₁), β 8, γ 32, λ 0.3 [C]."""

    prediction: NonNegativeFloat = 1.0  # [C]
    compression_audio: NonNegativeFloat = 0.05  # [C] of KL₀
    relevance_audio: NonNegativeFloat = 0.4  # [C] of MSE₀
    compression_visual: NonNegativeFloat = 0.015  # [C] of KL₁
    relevance_visual: NonNegativeFloat = 0.48  # [C] of MSE₁


class ITHPTraining(Training):
    """One rate for all."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [C]
    lr_backbone: NonNegativeFloat = 1e-5  # [C]
    lr_other: NonNegativeFloat = 1e-5  # [C]
    weight_decay: NonNegativeFloat = 0.01  # [C]
    batch_size: PositiveInt = 8  # [C]
    epochs: PositiveInt = 30  # [C]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "linear"  # [C]
    schedule_every: Literal["epoch", "step"] = "step"  # [C]
    patience: PositiveInt = 8  # [D]


class ITHPWidths(Section):
    """Width of what is left when a modality has been told."""

    audio: PositiveInt = 128  # [C] of b₀
    visual: PositiveInt = 64  # [C] of b₁


class ITHPSettings(MethodSettings):
    """Settings of ITHP, section `models.ithp` of params.yaml."""

    weights: ITHPWeights = ITHPWeights()
    training: ITHPTraining = ITHPTraining()
    widths: ITHPWidths = ITHPWidths()
    hidden: PositiveInt = 256  # [C] inside encoders and heads
    level_dropout: Share = 0.3  # [C] inside them
    beta_shift: PositiveFloat = 1.0  # [C]
    shift_dropout: Share = 0.5  # [C] of shifted states
    pool: Literal["mean", "cls"] = "mean"  # [D] of shifted states; cls = the first, [CLS] [C]
    dropout: Share = 0.1  # [C] of what the head reads: the text encoder's own


@dataclass
class LevelStates:
    """What a level of the hierarchy made of each token."""

    mean: Tensor  # (B, T, Z) μ
    logvar: Tensor  # (B, T, Z) 2 ln σ
    estimate: Tensor  # (B, T, d_m) in [0, 1]
    target: Tensor  # (B, T, d_m) in [0, 1], the frames of the modality beside each word
    known: Tensor  # (B, T) bool, where there are such


@dataclass
class ITHPOutput(FusedOutput):
    """The output, with the levels by modality; `real` (B, T) are the tokens that are no padding."""

    levels: dict[str, LevelStates]
    real: Tensor


class HierarchyLevel(nn.Module):
    """A level: x -> N(μ, σ²) ∋ b -> what the modality says beside the token."""

    low: Tensor
    high: Tensor

    def __init__(self, width: int, latent: int, features: int, config: ITHPSettings):
        super().__init__()

        def layers(inner: int, out: int) -> list[nn.Module]:
            hidden, dropout = config.hidden, nn.Dropout(config.level_dropout)
            return [nn.Linear(inner, hidden), nn.ReLU(), dropout, nn.Linear(hidden, out)]

        self.encoder = nn.Sequential(*layers(width, 2 * latent))
        self.head = nn.Sequential(*layers(latent, features), nn.Sigmoid())
        self.register_buffer("low", torch.zeros(features))  # of the targets, on the train split
        self.register_buffer("high", torch.ones(features))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, T, W) -> μ and 2 ln σ in float32 at least, b (B, T, Z) and the estimate (B, T, d_m)."""
        mean, logvar = full_precision(self.encoder(x)).chunk(2, dim=-1)
        b = mean + (0.5 * logvar).exp() * torch.randn_like(mean) if self.training else mean
        return mean, logvar, b, full_precision(self.head(b))

    def target(self, beside: Tensor) -> Tensor:
        """(B, T, d_m) scaled into [0, 1]; a feature that is always the same is 0."""
        spread = self.high - self.low
        return ((beside - self.low) / spread.masked_fill(spread == 0, torch.inf)).clamp(0, 1)


class ITHP(Method):
    """The model and its losses; without audio (visual) in a whole run the other is the only level."""

    TERMS = ("prediction", "compression_audio", "relevance_audio", "compression_visual", "relevance_visual")
    NEEDS = ("text", "audio", "visual")
    Config = ITHPSettings
    config: ITHPSettings
    special: Tensor

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config = self.config
        if "text" not in self.dims:
            raise ParamsError(
                "ITHP needs text, which is all it predicts from; name a text folder under `assemble`, or set "
                "models.ithp.base.text to finetune in params.yaml"
            )
        empty = self.tokenizer.encode([""], config.max_tokens)[0].tolist() if self.tokenizer else []
        self.register_buffer("special", torch.tensor(empty, dtype=torch.int64), persistent=False)
        text = left = self.dims["text"]
        self.levels = nn.ModuleDict()
        for name, features in self.dims.items():
            if name != "text":
                latent: int = getattr(config.widths, name)
                self.levels[name] = HierarchyLevel(left, latent, features, config)
                left = latent
        self.expand = nn.Linear(left, text) if self.levels else None
        self.norm = nn.LayerNorm(text)
        self.shift_dropout = nn.Dropout(config.shift_dropout)
        self.pooler = nn.Sequential(nn.Linear(text, text), nn.Tanh())
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(text, self.task.outputs)

    @torch.no_grad()
    def prepare(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """Smallest and largest value of each feature beside the words of the train split."""
        lows: dict[str, list[Tensor]] = {name: [] for name in self.levels}
        highs: dict[str, list[Tensor]] = {name: [] for name in self.levels}
        for batch in train:
            for name, (beside, known) in self.beside(self.sources(batch)).items():
                absent = ~known[..., None]
                lows[name].append(beside.masked_fill(absent, torch.inf).amin(dim=(0, 1)))
                highs[name].append(beside.masked_fill(absent, -torch.inf).amax(dim=(0, 1)))
        for name, level in self.levels.items():
            assert isinstance(level, HierarchyLevel)
            low, high = torch.stack(lows[name]).amin(dim=0), torch.stack(highs[name]).amax(dim=0)
            some = low <= high  # not so where no clip has the modality
            level.low.copy_(low.where(some, 0))
            level.high.copy_(high.where(some, 1))

    def beside(self, sources: dict[str, Sequences | Tokens]) -> dict[str, tuple[Tensor, Tensor]]:
        """What each modality says beside each token, (B, T, d_m), and where that is known, (B, T)."""
        text = sources["text"]
        words = text.mask
        if isinstance(text, Tokens):  # of frozen text a batch does not say which are special
            words = words & ~torch.isin(text.ids, self.special)
        frames = {name: source for name, source in sources.items() if isinstance(source, Sequences)}
        return {name: beside_words(frames[name], words) for name in self.levels}

    def forward(self, batch: Batch) -> ITHPOutput:
        sources = self.sources(batch)
        source = sources["text"]
        text = self.encode_text(source) if isinstance(source, Tokens) else source
        x, levels = text.values, {}
        for name, (beside, known) in self.beside(sources).items():
            level = self.levels[name]
            assert isinstance(level, HierarchyLevel)
            mean, logvar, x, estimate = level(x)
            levels[name] = LevelStates(mean, logvar, estimate, level.target(full_precision(beside)), known)
        shift = 0.0 if self.expand is None else self.config.beta_shift * self.expand(x)
        states = self.shift_dropout(self.norm(full_precision(text.values + shift)))
        pooled = mean_over_time(states, text.mask) if self.config.pool == "mean" else states[:, 0]
        fused = full_precision(self.pooler(pooled))  # (B, W)
        prediction = self.task.predict(self.score, self.dropout(fused))
        present = torch.stack([one.present for one in sources.values()])
        return ITHPOutput(prediction, fused, present, levels, text.mask)

    def losses(self, batch: Batch, output: ITHPOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms, unweighted: means over the tokens (words, of relevance) and over widths.

        The task's is L1 as in all our methods [D], squared in [C]; 0 for a level that is not there.
        """
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:
            losses["prediction"] = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        for name in ("audio", "visual"):
            level = output.levels.get(name)
            for term in (f"compression_{name}", f"relevance_{name}"):
                if term not in terms:
                    continue
                if level is None:
                    losses[term] = output.prediction.new_zeros(())
                elif term.startswith("compression"):
                    losses[term] = masked_mean(kl_to_prior(level.mean, level.logvar), output.real)
                else:
                    losses[term] = masked_mean((level.estimate - level.target).square(), level.known)
        return losses
