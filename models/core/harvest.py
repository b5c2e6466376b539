"""Knowledge harvest of KuDA, and of KHaR (3.3) after it: encoders and adapters; stage_one.py fills them.

Equation numbers are KHaR's, whose paper says of the adapters only that their parameters are "pretrained". [R]
marks what is taken from the code of KuDA (Findings of EMNLP 2024), [P] KHaR's paper, [D] us.

    I_m ─encoder─▶ h_0 ... h_n ─▶ O_m                 (1)
                   └─ adapters ─▶ A_m ─▶ X_m = [A_m; O_m]   (2), (3)    m ∈ {text, audio, visual}

(3) writes [A; H], but H is the list of the layers' states and not T x d; the sentence above it combines "the
above two", which are A and O, and so does [R].

Shapes: B clips, T steps, w width of a modality's states: d_m, or a fine-tuned text encoder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Inputs, Sequences, Tokens
from models.core.blocks import attention, key_bias
from models.core.method import Method, MethodSettings, Share, Training, attended
from models.core.packing import text_rows
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section

TEXT_STATES = (3, 6, 9, 11)  # [R] the layers of a 12-layer text encoder that its adapters read
WidthRatio = Annotated[float, Field(gt=0, le=4)]  # of a width


class StageOneEpochs(Section):
    """Epochs of stage 1; the best on the validation split counts."""

    text: PositiveInt = 100  # [R]
    audio: PositiveInt = 50  # [R]
    visual: PositiveInt = 100  # [R]


class HarvestPretraining(Section):
    """What shapes encoders and adapters, and how stage 1 trains them; `pretraining` of a method."""

    # [R] filled by stage 1, then frozen; without stage 1: scratch = learn with the rest, none = X_m is O_m
    adapters: Literal["pretrained", "scratch", "none"] = "pretrained"
    width: PositiveInt = 128  # [P] d_m; 256 on MOSEI
    max_steps: PositiveInt = 512  # [D] longest sequence of features; sizes the tables of positions
    layers: PositiveInt = 4  # [R] of an encoder; an adapter reads each of its states but first and last
    heads: PositiveInt = 8  # [R]
    feedforward: WidthRatio = 0.5  # [R] of d_m
    dropout: Share = 0.2  # [R]
    adapter_width: WidthRatio = 0.5  # [R] of w, inside an adapter
    adapter_layers: PositiveInt = 2  # [R]
    adapter_heads: PositiveInt = 4  # [R]
    adapter_feedforward: WidthRatio = 0.25  # [R] of w
    adapter_dropout: Share = 0.1  # [R]

    lr: NonNegativeFloat = 1e-4  # [R] of all parameters
    weight_decay: NonNegativeFloat = 1e-3  # [R]
    batch_size: PositiveInt = 32  # [R]
    epochs: StageOneEpochs = StageOneEpochs()
    warmup: Share = 0.1  # [R] then a cosine, by the epoch
    patience: PositiveInt = 100  # [R] no early stop

    def training(self, modality: str) -> Training:
        """How the loop trains stage 1 of a modality."""
        shared = self.model_dump(include={"weight_decay", "batch_size", "warmup", "patience"})
        epochs = getattr(self.epochs, modality)
        return Training(optimizer="adamw", lr_backbone=self.lr, lr_other=self.lr, epochs=epochs, **shared)


class HarvestSettings(MethodSettings):
    """What both stages read."""

    pretraining: HarvestPretraining = HarvestPretraining()


def text_states(layers: int) -> tuple[int, ...]:
    """The states of a text encoder of so many layers that adapters read: 3, 6, 9, 11 of 12.

    Of another depth those at the same heights, rounded, halves up [D]; fewer than four where the encoder has
    fewer layers.
    """
    return tuple(sorted({max(1, (layers * state + 6) // 12) for state in TEXT_STATES}))


class PostNormLayer(nn.TransformerEncoderLayer):
    """A layer of torch with GELU, as in [R], but for the attention, which is that of all methods here."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float):
        super().__init__(width, heads, feedforward, dropout, batch_first=True)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:  # type: ignore[override]
        """(B, T, width), `key_bias` of the steps -> (B, T, width)."""
        part, dropout = self.self_attn, self.dropout.p if self.training else 0.0
        qkv = F.linear(x, part.in_proj_weight, part.in_proj_bias).unflatten(-1, (3, part.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, width/H) each
        mixed = attention(query, key, value, bias, dropout).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.dropout1(part.out_proj(mixed)))
        inner = self.dropout(F.gelu(self.linear1(x)))
        return self.norm2(x + self.dropout2(self.linear2(inner)))


def transformer_layers(
    width: int, layers: int, heads: int, feedforward: int, dropout: float, whose: str
) -> nn.ModuleList:
    """ParamsError where the heads do not divide the width."""
    if width % heads:
        raise ParamsError(
            f"{whose}: a width of {width} does not divide into {heads} heads; change width, adapter_width, "
            "heads or adapter_heads under models.<method>.base.pretraining"
        )
    return nn.ModuleList(PostNormLayer(width, heads, feedforward, dropout) for _ in range(layers))


class SequenceEncoder(nn.Module):
    """Encoder_m of a sequence of features (1): Linear, learned positions, transformer layers."""

    def __init__(self, features: int, config: HarvestPretraining):
        super().__init__()
        width = config.width
        self.project = nn.Linear(features, width)
        self.positions = nn.Parameter(torch.zeros(config.max_steps, width))  # [R]
        feedforward = max(1, round(width * config.feedforward))
        self.layers = transformer_layers(
            width, config.layers, config.heads, feedforward, config.dropout, "encoder"
        )

    def forward(self, values: Tensor, bias: Tensor) -> list[Tensor]:
        """values (B, T, features), their `key_bias` -> h_0 ... h_n, (B, T, d_m) each."""
        states = [self.project(values) + self.positions[: values.shape[1]]]
        for layer in self.layers:
            states.append(layer(states[-1], bias))
        return states


class Adapter(nn.Module):
    """One adapter of figure 3: down, transformer layers, up, and its own input added."""

    def __init__(self, width: int, config: HarvestPretraining):
        super().__init__()
        inner = max(1, round(width * config.adapter_width))
        feedforward = max(1, round(width * config.adapter_feedforward))
        self.down = nn.Linear(width, inner)
        self.layers = transformer_layers(
            inner, config.adapter_layers, config.adapter_heads, feedforward, config.adapter_dropout, "adapter"
        )
        self.up = nn.Linear(inner, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(B, T, w), `key_bias` of the steps -> (B, T, w)."""
        hidden = self.down(x)
        for layer in self.layers:
            hidden = layer(hidden, bias)
        return x + self.up(hidden)


class Adapters(nn.ModuleList):
    """The stack of a modality. Once frozen it learns nothing, and `train` leaves it in eval mode [D]."""

    frozen = False

    def freeze(self) -> None:
        self.frozen = True
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Adapters:
        super().train(mode and not self.frozen)
        return self


class Harvest(nn.Module):
    """A modality's states to X_m: its adapters, and the LayerNorm that they share with O_m [R].

    One adapter for each of the states in `reads`. With `normalises`, O_m goes through the LayerNorm too; not
    that of a text encoder, which ends in one [R].
    """

    def __init__(self, width: int, reads: Sequence[int], normalises: bool, config: HarvestPretraining):
        super().__init__()
        self.reads = tuple(reads)
        self.normalises = normalises
        self.adapters = Adapters(Adapter(width, config) for _ in reads)
        self.norm = nn.LayerNorm(width) if reads or normalises else nn.Identity()

    def forward(self, states: Sequence[Tensor], bias: Tensor) -> Tensor:
        """h_0 ... h_n (B, T, w), `key_bias` of the steps -> X_m (B, T, 2w); O_m without adapters."""
        comprehensive = self.norm(states[-1]) if self.normalises else states[-1]  # O_m
        if not self.reads:
            return comprehensive
        enhanced = states[0]
        for read, adapter in zip(self.reads, self.adapters, strict=True):
            enhanced = adapter(self.norm(enhanced + states[read]), bias)  # A_m (2) at the end
        return torch.cat([enhanced, comprehensive], dim=-1)  # (3)


class Harvester(Method):
    """A method that begins with the harvest: stage 1 with one modality, KuDA and KHaR with all."""

    NEEDS = ("text", "audio", "visual")
    config: HarvestSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        shape = self.config.pretraining
        self.encoder = nn.ModuleDict()
        self.harvest = nn.ModuleDict()
        self.harvest_width: dict[str, int] = {}  # of X_m
        for name, features in self.dims.items():
            finetuned = name == "text" and self.backbone is not None
            width = features if finetuned else shape.width
            if finetuned:
                reads = text_states(self.backbone.config.num_hidden_layers)
            else:
                reads = tuple(range(1, max(2, shape.layers)))
                self.encoder[name] = SequenceEncoder(features, shape)
            if shape.adapters == "none":
                reads = ()
            self.harvest[name] = Harvest(width, reads, not finetuned, shape)
            self.harvest_width[name] = 2 * width if reads else width

    def freeze_adapters(self) -> None:
        """Also before `load_pretrained`: a run folder brings its own weights."""
        for part in self.modules():
            if isinstance(part, Adapters):
                part.freeze()

    def harvested(self, inputs: Inputs) -> dict[str, Sequences]:
        """X_m of each modality, with its mask; what stands in masked steps means nothing, but is finite.

        Raises
        ------
        ParamsError : a sequence is longer than the table of positions
        MsaError : see `Method.sources`
        """
        found = {}
        for name, source in self.sources(inputs).items():
            mask = attended(source.mask)
            bias = key_bias(mask)
            if isinstance(source, Tokens):
                rows = text_rows(self.backbone.config, source.ids, mask, self.training)
                found_states = self.backbone(**rows.inputs, output_hidden_states=True).hidden_states
                states = [rows.unpack(state) for state in found_states]  # (1)
            else:
                longest = self.config.pretraining.max_steps
                if (steps := source.values.shape[1]) > longest:
                    raise ParamsError(
                        f"{name} has {steps} steps, but its encoder takes at most {longest}; lower assemble."
                        f"<dataset>.max_steps.{name} or raise models.<method>.base.pretraining.max_steps"
                    )
                states = self.encoder[name](source.values, bias)  # (1)
            found[name] = Sequences(self.harvest[name](states, bias), source.mask, source.present)
        return found
