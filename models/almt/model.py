"""ALMT: adaptive language-guided multimodal transformer.

Zhang et al., "Learning Language-guided Adaptive Hyper-modality Representation for Multimodal Sentiment
Analysis", EMNLP 2023. [P] marks what stands in the paper, [C] the code of its authors, [D] our decision. Each
modality becomes a few tokens; those of the text ask voice and face what goes into a further, learnt set of
tokens, the hyper-modality, and then read that. In the paper's order:

    X^m ─Linear, tokens, a layer─▶ H^m        H^text ─layers─▶ H^1, H^2, H^3         m ∈ {text, audio, visual}
    H^hyper ← LN(H^hyper) + what H^j reads in H^audio and H^visual,   j = 1, 2, 3
    H^3 ─layers that read H^hyper─▶ mean ─▶ Linear ─▶ ŷ

Shapes: B clips, L input steps, T learnt tokens (`num_tokens`), d width, M modalities of the model. A clip
without a modality has its tokens all the same; but nothing that they answer goes into the hyper-modality.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Batch
from models.core.blocks import attention, full_precision, key_bias
from models.core.crossmodal import CrossAttention, joined_heads, split_heads
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section


class ALMTWeights(Section):
    """Weight of the one term."""

    prediction: NonNegativeFloat = (
        1.0  # [P]; the squared error there, here the task's loss of all methods [D]
    )


class ALMTTraining(Training):
    """AdamW, one rate, a tenth of the epochs to warm up, then a cosine [C].

    In [C] the first epoch has the rate 0, and the first two after the warm-up the same one.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [C]
    lr_backbone: NonNegativeFloat = 1e-4  # [C]
    lr_other: NonNegativeFloat = 1e-4  # [C]
    weight_decay: NonNegativeFloat = 1e-4  # [C]
    batch_size: PositiveInt = 64  # [C]
    epochs: PositiveInt = 200  # [C]


class ALMTSettings(MethodSettings):
    """Settings of ALMT, section `models.almt` of params.yaml."""

    weights: ALMTWeights = ALMTWeights()
    training: ALMTTraining = ALMTTraining()
    max_steps: PositiveInt = 512  # [D] longest frozen input, L; sizes the table of positions
    num_tokens: PositiveInt = 8  # [P] T
    width: PositiveInt = 128  # [P] d
    heads: PositiveInt = 8  # [P]
    head_dim: PositiveInt = 64  # [C]
    feedforward: PositiveInt = 128  # [C]
    dropout: Share = 0.0  # [C]
    hyper_layers: PositiveInt = 3  # [P] and as many scales of the text, H^1 being one
    hyper_head_dim: PositiveInt = 16  # [C]
    fusion_layers: PositiveInt = 2  # [P] 4 on MOSEI and SIMS


class PreNormLayer(nn.Module):
    """x + MHA(LN(x), LN(y), LN(y)), then x + FFN(LN(x)); the three of y and x are not the same norm [C]."""

    def __init__(self, config: ALMTSettings):
        super().__init__()
        width = config.width
        self.query_norm, self.key_norm, self.value_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = CrossAttention(width, config.heads, config.head_dim, config.dropout)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.feedforward),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, width),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor, source: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (B, T, d) reads source (B, L, d), with `key_bias` of its steps -> (B, T, d)."""
        read = self.attention(self.query_norm(x), self.key_norm(source), self.value_norm(source), bias)
        x = x + read
        return x + self.feedforward(x)


class TokenEmbedding(nn.Module):
    """A sequence of any length as T tokens, H^m (3.2)."""

    def __init__(self, features: int, max_steps: int, config: ALMTSettings):
        super().__init__()
        self.project = nn.Linear(features, config.width)
        self.tokens = nn.Parameter(torch.zeros(config.num_tokens, config.width))  # [C]
        self.positions = nn.Parameter(torch.randn(config.num_tokens + max_steps, config.width))  # [C]
        self.layer = PreNormLayer(config)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """values (B, L, features), mask (B, L) -> (B, T, d); [C] attends to the padding too."""
        number = len(self.tokens)
        x = torch.cat([self.tokens.expand(len(values), -1, -1), self.project(values)], dim=1)
        x = x + self.positions[: x.shape[1]]
        return self.layer(x[:, :number], x, key_bias(F.pad(mask, (number, 0), value=True)))


class HyperLayer(nn.Module):
    """One layer of adaptive hyper-modality learning (3.3): text asks, voice and face answer."""

    def __init__(self, sources: Collection[str], config: ALMTSettings):
        super().__init__()
        width, inner = config.width, config.heads * config.hyper_head_dim
        self.heads = config.heads
        self.hyper_norm, self.text_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in sources})
        self.key, self.value = (
            nn.ModuleDict({name: nn.Linear(width, inner, bias=False) for name in sources}) for _ in range(2)
        )
        self.out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(config.dropout))

    def forward(
        self, hyper: Tensor, text: Tensor, sources: dict[str, Tensor], present: dict[str, Tensor]
    ) -> Tensor:
        """H^hyper, H^j and H^m (B, T, d) each, present (B,) bool by modality -> H^hyper anew.

        The residual is the normalised hyper-modality: [C] adds in place to what its norm gave.
        """
        query = split_heads(self.query(self.text_norm(text)), self.heads)
        answers = []
        for name, source in sources.items():
            x = self.norm[name](source)
            key, value = (split_heads(part[name](x), self.heads) for part in (self.key, self.value))
            answer = joined_heads(attention(query, key, value, None))
            answers.append(answer.masked_fill(~present[name][:, None, None], 0.0))
        return self.hyper_norm(hyper) + self.out(torch.stack(answers).sum(dim=0))


class HyperFusion(nn.Module):
    """The last scale of the text, with a token before it, reads the hyper-modality (3.4)."""

    def __init__(self, config: ALMTSettings):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(config.width))  # [C] before both
        self.text_positions, self.hyper_positions = (
            nn.Parameter(torch.randn(1 + config.num_tokens, config.width)) for _ in range(2)
        )
        self.layers = nn.ModuleList(PreNormLayer(config) for _ in range(config.fusion_layers))

    def forward(self, text: Tensor, hyper: Tensor) -> Tensor:
        """H^3, H^hyper (B, T, d) -> (B, d): the mean of all that has read [D].

        [C] takes the token alone. It reads the hyper-modality and never the text, for these layers have no
        self-attention: of what is said nothing but the weights in `HyperLayer` would reach ŷ, and nothing at
        all of a clip without voice and face.
        """
        first = self.token.expand(len(text), 1, -1)
        x = torch.cat([first, text], dim=1) + self.text_positions
        source = torch.cat([first, hyper], dim=1) + self.hyper_positions
        for layer in self.layers:
            x = layer(x, source)
        return full_precision(x).mean(dim=1)


class ALMT(Method):
    """The model and its loss; see the module's text."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = ALMTSettings
    config: ALMTSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config = self.config
        if "text" not in self.dims:
            raise ParamsError(
                "ALMT is guided by text, but the training set has no text; name a feature folder under "
                "assemble.<dataset>.text in params.yaml, or set text: finetune"
            )
        self.limits = dict.fromkeys(self.dims, config.max_steps)
        if self.backbone is not None:
            self.limits["text"] = config.max_tokens
        self.embedding = nn.ModuleDict(
            {name: TokenEmbedding(dim, self.limits[name], config) for name, dim in self.dims.items()}
        )
        scales = config.hyper_layers
        self.text_positions = nn.Parameter(torch.randn(config.num_tokens, config.width))  # [C]
        self.text_layers = nn.ModuleList(PreNormLayer(config) for _ in range(scales - 1))
        self.hyper_tokens = nn.Parameter(torch.ones(config.num_tokens, config.width))  # [C]
        sources = [
            name for name in self.dims if name != "text"
        ]  # without one the hyper-modality stays learnt
        self.hyper = nn.ModuleList(HyperLayer(sources, config) for _ in range(scales if sources else 0))
        self.fusion = HyperFusion(config)
        self.score = nn.Linear(config.width, self.task.outputs)

    def forward(self, batch: Batch) -> FusedOutput:
        """ŷ.

        Raises
        ------
        ParamsError : a sequence is longer than the table of positions
        MsaError : see `Method.inputs`
        """
        inputs = self.inputs(batch)
        for name, sequence in inputs.items():
            if (steps := sequence.values.shape[1]) > self.limits[name]:
                raise ParamsError(
                    f"{name} has {steps} steps, but models.almt takes at most {self.limits[name]}; lower "
                    f"assemble.<dataset>.max_steps.{name} or raise models.almt.base.max_steps"
                )
        present = {name: sequence.present for name, sequence in inputs.items()}
        sources = {name: self.embedding[name](x.values, x.mask) for name, x in inputs.items()}
        text = sources.pop("text")
        scales = [text + self.text_positions]  # H^1 to H^3
        for layer in self.text_layers:
            scales.append(layer(scales[-1], scales[-1]))
        hyper = self.hyper_tokens.expand(len(text), -1, -1)
        for layer, scale in zip(self.hyper, scales, strict=False):  # no layer where there are no sources
            hyper = layer(hyper, scale, sources, present)
        fused = self.fusion(scales[-1], hyper)
        return FusedOutput(self.task.predict(self.score, fused), fused, torch.stack(list(present.values())))

    def losses(self, batch: Batch, output: FusedOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The task's loss, of labeled clips."""
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        return {"prediction": error} if "prediction" in terms else {}
