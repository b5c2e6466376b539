"""MulT: multimodal transformer.

Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019. Each modality is
rewritten by reading, layer after layer, each of the others, whose steps need not be aligned with its own.
Where the paper is silent, the choice is that of the authors' code [C]; the sizes are MMSA's [R].

    X^m ─convolution─▶ x^m ─▶ √d x^m + positions
    for each m: every other n ─read by m─▶ (T, d) ─concatenated over n─▶ self-attention ─▶ last real step
    last steps of all m ─▶ residual block ─▶ Linear ─▶ ŷ

Shapes: B clips, T steps of the target, L steps of the source, d width, M modalities.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Batch, Sequences
from models.core.blocks import attention, last_step, sinusoids
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training, attended
from pipeline.core.section import Section

MEMORY_LAYERS = 3  # [C] of the self-attention, at least


# [R] = MMSA, values of MOSI; [C] = the authors' code; [D] = our decision
class MulTWeights(Section):
    """Weight of the one term."""

    prediction: NonNegativeFloat = 1.0


class MulTTraining(Training):
    """Adam without weight decay, early stop after 8 [R]; its plateau schedule is not there [D]."""

    lr_backbone: NonNegativeFloat = 5e-5  # [D] of an encoder of MiniLM's size; 2e-5 of BERT-base
    lr_other: NonNegativeFloat = 2e-3  # [R]
    batch_size: PositiveInt = 128  # [R] 16 in 8 steps that are one update
    warmup: Share = 0.0  # [R]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"  # [D]
    patience: PositiveInt = 8  # [R]


class Kernels(Section):
    """Steps that the convolution of a modality reads at once."""

    text: PositiveInt = 5
    audio: PositiveInt = 5
    visual: PositiveInt = 5


class AttentionDropouts(Section):
    """Of the attention weights, by the modality that is read; of the self-attention, text's [C]."""

    text: Share = 0.3
    audio: Share = 0.2
    visual: Share = 0.0


class MulTSettings(MethodSettings):
    """Settings of MulT, section `models.mult` of params.yaml."""

    weights: MulTWeights = MulTWeights()
    training: MulTTraining = MulTTraining()
    width: PositiveInt = 50  # [R] d
    heads: PositiveInt = 10  # [R]
    layers: PositiveInt = 4  # [R] of each stack
    kernels: Kernels = Kernels()  # [R]
    positions: bool = True  # [P]; [R] has them off
    causal: bool = True  # [C] a step reads no later ones
    attention_dropout: AttentionDropouts = AttentionDropouts()  # [R]
    text_dropout: Share = 0.5  # [R] of the text's states
    embedding_dropout: Share = 0.2  # [R] of Z
    residual_dropout: Share = 0.0  # [R] of what a layer adds
    relu_dropout: Share = 0.0  # [R] inside the feed-forward part
    output_dropout: Share = 0.5  # [R] inside the residual block

    @model_validator(mode="after")
    def _width_is_shared_out(self) -> MulTSettings:
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, which does not divide into {self.heads} heads")
        return self


class DirectedAttention(nn.Module):
    """Multi-head attention of one sequence to another, or to itself."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = xavier(nn.Linear(width, 3 * width))  # to queries, keys, values
        self.out = xavier(nn.Linear(width, width))

    def forward(self, target: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """(B, T, d), (B, L, d), bias (B, 1, T, L) of the scores -> (B, T, d)."""
        width = target.shape[-1]
        weight, offset = self.project.weight, self.project.bias
        query = F.linear(target, weight[:width], offset[:width])
        key, value = F.linear(source, weight[width:], offset[width:]).chunk(2, dim=-1)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        read = attention(query, key, value, bias, self.dropout if self.training else 0.0)  # (B, H, T, d/H)
        return self.out(read.transpose(1, 2).flatten(2))


class DirectedLayer(nn.Module):
    """Pre-norm transformer layer that may read another sequence, under the same norm [C]."""

    def __init__(self, width: int, dropout: float, config: MulTSettings):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = DirectedAttention(width, config.heads, dropout)
        self.dropout = nn.Dropout(config.residual_dropout)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            xavier(nn.Linear(width, 4 * width)),
            nn.ReLU(),
            nn.Dropout(config.relu_dropout),
            xavier(nn.Linear(4 * width, width)),
            nn.Dropout(config.residual_dropout),
        )

    def forward(self, x: Tensor, source: Tensor | None, bias: Tensor, known: Tensor) -> Tensor:
        """(B, T, d), source (B, L, d) or None = x itself; known (B,), clips that have a source."""
        target = self.attention_norm(x)
        read = self.attention(target, target if source is None else self.attention_norm(source), bias)
        x = x + self.dropout(read).masked_fill(~known[:, None, None], 0.0)
        return x + self.feedforward(x)


class CrossModalStack(nn.Module):
    """Layers of one direction, source to target, or of self-attention; a LayerNorm at the end.

    Every layer reads the source as it came in. Where a clip lacks the source, the feed-forward parts alone
    change the target [D].
    """

    def __init__(self, width: int, layers: int, dropout: float, config: MulTSettings):
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList(DirectedLayer(width, dropout, config) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def embed(self, x: Tensor) -> Tensor:
        """√d x and positions. [C] drops a source twice, as keys and as values; here it is one [D]."""
        x = x.shape[-1] ** 0.5 * x
        return self.dropout(x + sinusoids(x) if self.config.positions else x)

    def forward(self, target: Sequences, source: Sequences | None = None) -> Tensor:
        """(B, T, d), anything where the target is masked; source None = the target itself."""
        read = target if source is None else source
        bias = visible(target.mask, read.mask, self.config.causal)
        x, values = self.embed(target.values), None if source is None else self.embed(source.values)
        for layer in self.layers:
            x = layer(x, values, bias, read.present)
        return self.norm(x)


class MulT(Method):
    """The model and its loss."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = MulTSettings
    config: MulTSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config, names, width = self.config, tuple(self.dims), self.config.width
        dropouts = config.attention_dropout
        self.convolutions = nn.ModuleDict(
            {
                name: nn.Conv1d(self.dims[name], width, getattr(config.kernels, name), bias=False)
                for name in names
            }
        )
        self.crossed = nn.ModuleDict(
            {
                f"{target}_reads_{source}": CrossModalStack(
                    width, config.layers, getattr(dropouts, source), config
                )
                for target in names
                for source in names
                if source != target
            }
        )
        joined = width * max(len(names) - 1, 1)
        depth = max(config.layers, MEMORY_LAYERS)
        self.memories = nn.ModuleDict(
            {name: CrossModalStack(joined, depth, dropouts.text, config) for name in names}
        )
        total = joined * len(names)
        self.text_dropout = nn.Dropout(config.text_dropout)
        self.block = nn.Sequential(
            nn.Linear(total, total),
            nn.ReLU(),
            nn.Dropout(config.output_dropout),
            nn.Linear(total, total),
        )
        self.score = nn.Linear(total, self.task.outputs)

    def forward(self, batch: Batch) -> FusedOutput:
        inputs = {name: self.convolved(name, part) for name, part in self.inputs(batch).items()}
        last = []
        for name, target in inputs.items():
            crossed = [
                self.crossed[f"{name}_reads_{other}"](target, source)
                for other, source in inputs.items()
                if other != name
            ]
            # [D] one modality alone goes into its self-attention as it is
            joined = torch.cat(crossed, dim=-1) if crossed else target.values
            memory = self.memories[name](Sequences(joined, target.mask, target.present))
            # in [C] and [R] the last step of the array, which is padding in most clips
            last.append(last_step(memory, target.mask).masked_fill(~target.present[:, None], 0.0))
        states = torch.cat(last, dim=-1)  # (B, M (M - 1) d)
        fused = states + self.block(states)
        present = torch.stack([part.present for part in inputs.values()])
        return FusedOutput(self.task.predict(self.score, fused), fused, present)

    def convolved(self, name: str, part: Sequences) -> Sequences:
        """The T - k + 1 windows of k steps, (B, T - k + 1, d); of a shorter clip one, filled with zeros [D].

        [C] and [R] leave the convolution out where the features are d wide already; here it is always there.
        """
        kernel = getattr(self.config.kernels, name)
        values = self.text_dropout(part.values) if name == "text" else part.values
        values = F.pad(values, (0, 0, 0, max(kernel - values.shape[1], 0)))
        values = self.convolutions[name](values.mT).mT
        lengths = (part.mask.sum(dim=1) - kernel + 1).clamp(min=1)
        steps = torch.arange(values.shape[1], device=values.device)
        return Sequences(values, (steps < lengths[:, None]) & part.present[:, None], part.present)

    def losses(self, batch: Batch, output: FusedOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The task's loss, of labeled clips: the mean absolute error, or the cross-entropy."""
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        return {"prediction": error} if "prediction" in terms else {}


def visible(target: Tensor, source: Tensor, causal: bool) -> Tensor:
    """What is added to the scores of attention: 0 for steps that are read, else -inf.

    Step i of a target of n steps reads the steps j <= i + |m - n| of a source of m, if causal. [C] counts
    those of the padded arrays, so that a clip depends on its batch. Of a source without steps the first is
    read, for a softmax of nothing is NaN.

    target (B, T) bool, source (B, L) bool, real steps first -> (B, 1, T, L).
    """
    read = attended(source)[:, None]  # (B, 1, L)
    if causal:
        steps, keys = (torch.arange(mask.shape[1], device=mask.device) for mask in (target, source))
        ahead = (source.sum(dim=1) - target.sum(dim=1)).abs()[:, None, None]
        read = read & (keys <= steps[:, None] + ahead)
    bias = torch.zeros(read.shape, device=read.device).masked_fill(~read, -torch.inf)
    return bias.expand(-1, target.shape[1], -1)[:, None]


def xavier(layer: nn.Linear) -> nn.Linear:
    """The layer as the code begins: uniform by Glorot, no bias [C]."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
