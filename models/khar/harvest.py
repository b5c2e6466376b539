"""Knowledge harvest of KHaR (3.3): encoders, adapters, and the stage-1 training that fills the adapters.

The paper says of the adapters only that their parameters are "pretrained". [R] marks what is taken from the
code of the method that KHaR's figure 3 follows (KuDA, Findings of EMNLP 2024), [P] the paper, [D] us.

    I_m ─encoder─▶ h_0 ... h_n ─▶ O_m                 (1)
                   └─ adapters ─▶ A_m ─▶ X_m = [A_m; O_m]   (2), (3)    m ∈ {text, audio, visual}

(3) writes [A; H], but H is the list of the layers' states and not T x d; the sentence above it combines "the
above two", which are A and O, and so does [R].

Shapes: B clips, T steps, w width of a modality's states: d_m, or a fine-tuned text encoder's.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.core.batch import Batch, Inputs, Sequences, Tokens
from models.core.blocks import masked_mean, mean_over_time
from models.core.method import (
    REGRESSION,
    Method,
    MethodSettings,
    Output,
    Settings,
    Share,
    Task,
    Training,
    attended,
)
from pipeline.core.errors import FormatError, MissingModelError, ParamsError

TEXT_STATES = (3, 6, 9, 11)  # [R] the layers of a 12-layer text encoder that its adapters read
Part = Annotated[float, Field(gt=0, le=4)]  # of a width


# ------------------------------------------------------------------------------------------------- settings
class Epochs(Settings):
    """Epochs of stage 1; the best on the validation split counts."""

    text: PositiveInt = 100  # [R]
    audio: PositiveInt = 50  # [R]
    visual: PositiveInt = 100  # [R]


class KHaRPretraining(Settings):
    """What shapes encoders and adapters, and how stage 1 trains them; section `models.khar.pretraining`."""

    adapters: Literal["pretrained", "scratch", "none"] = "pretrained"
    """[R] filled by stage 1 and then frozen; `scratch`: random, trained with the rest, no stage 1; `none`:
    X_m = O_m, no stage 1"""
    width: PositiveInt = 128  # [P] d_m; 256 on MOSEI
    max_steps: PositiveInt = 512  # [D] longest sequence of features; sizes the tables of positions
    layers: PositiveInt = 4  # [R] of an encoder; an adapter reads each of its states but first and last
    heads: PositiveInt = 8  # [R]
    feedforward: Part = 0.5  # [R] of d_m
    dropout: Share = 0.2  # [R]
    adapter_width: Part = 0.5  # [R] of w, inside an adapter
    adapter_layers: PositiveInt = 2  # [R]
    adapter_heads: PositiveInt = 4  # [R]
    adapter_feedforward: Part = 0.25  # [R] of w
    adapter_dropout: Share = 0.1  # [R]

    lr: NonNegativeFloat = 1e-4  # [R] of all parameters
    weight_decay: NonNegativeFloat = 1e-3  # [R]
    batch_size: PositiveInt = 32  # [R]
    epochs: Epochs = Epochs()
    warmup: Share = 0.1  # [R] then a cosine, by the epoch
    patience: PositiveInt = 100  # [R] no early stop

    def training(self, modality: str) -> Training:
        """How the loop trains stage 1 of a modality."""
        return Training(
            optimizer="adamw",
            lr_backbone=self.lr,
            lr_other=self.lr,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            epochs=getattr(self.epochs, modality),
            warmup=self.warmup,
            patience=self.patience,
        )


class HarvestSettings(MethodSettings):
    """What both stages read."""

    pretraining: KHaRPretraining = KHaRPretraining()


# ------------------------------------------------------------------------------------- encoder and adapters
def text_states(layers: int) -> tuple[int, ...]:
    """The states of a text encoder of so many layers that adapters read: 3, 6, 9, 11 of 12.

    Of another depth those at the same heights, rounded, halves up [D]; fewer than four where the encoder has
    fewer layers.
    """
    return tuple(sorted({max(1, (layers * state + 6) // 12) for state in TEXT_STATES}))


def transformer_layers(
    width: int, layers: int, heads: int, feedforward: int, dropout: float, whose: str
) -> nn.ModuleList:
    """Post-norm layers with GELU, as in [R].

    Raises
    ------
    ParamsError : the heads do not divide the width
    """
    if width % heads:
        raise ParamsError(
            f"{whose}: a width of {width} does not divide into {heads} heads; change width, adapter_width, "
            "heads or adapter_heads under models.khar.base.pretraining"
        )
    return nn.ModuleList(
        nn.TransformerEncoderLayer(width, heads, feedforward, dropout, activation="gelu", batch_first=True)
        for _ in range(layers)
    )


class SequenceEncoder(nn.Module):
    """Encoder_m of a sequence of features (1): Linear, learned positions, transformer layers."""

    def __init__(self, features: int, config: KHaRPretraining):
        super().__init__()
        width = config.width
        self.project = nn.Linear(features, width)
        self.positions = nn.Parameter(torch.zeros(config.max_steps, width))  # [R]
        feedforward = max(1, round(width * config.feedforward))
        self.layers = transformer_layers(
            width, config.layers, config.heads, feedforward, config.dropout, "encoder"
        )

    def forward(self, values: Tensor, mask: Tensor) -> list[Tensor]:
        """values (B, T, features), mask (B, T) without empty rows -> h_0 ... h_n, (B, T, d_m) each."""
        states = [self.project(values) + self.positions[: values.shape[1]]]
        for layer in self.layers:
            states.append(layer(states[-1], src_key_padding_mask=~mask))
        return states


class Adapter(nn.Module):
    """One adapter of figure 3: down, transformer layers, up, and its own input added."""

    def __init__(self, width: int, config: KHaRPretraining):
        super().__init__()
        inner = max(1, round(width * config.adapter_width))
        feedforward = max(1, round(width * config.adapter_feedforward))
        self.down = nn.Linear(width, inner)
        self.layers = transformer_layers(
            inner, config.adapter_layers, config.adapter_heads, feedforward, config.adapter_dropout, "adapter"
        )
        self.up = nn.Linear(inner, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, w), mask (B, T) without empty rows -> (B, T, w)."""
        hidden = self.down(x)
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=~mask)
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

    Parameters
    ----------
    width : w
    reads : the states that adapters read, one adapter each; none of either where there are no adapters
    normalises : O_m goes through the LayerNorm too; not that of a text encoder, which ends in one [R]
    """

    def __init__(self, width: int, reads: Sequence[int], normalises: bool, config: KHaRPretraining):
        super().__init__()
        self.reads = tuple(reads)
        self.normalises = normalises
        self.adapters = Adapters(Adapter(width, config) for _ in reads)
        self.norm = nn.LayerNorm(width) if reads or normalises else nn.Identity()

    def forward(self, states: Sequence[Tensor], mask: Tensor) -> Tensor:
        """h_0 ... h_n (B, T, w), mask (B, T) without empty rows -> X_m (B, T, 2w); O_m without adapters."""
        comprehensive = self.norm(states[-1]) if self.normalises else states[-1]  # O_m
        if not self.reads:
            return comprehensive
        enhanced = states[0]
        for read, adapter in zip(self.reads, self.adapters, strict=True):
            enhanced = adapter(self.norm(enhanced + states[read]), mask)  # A_m (2) at the end
        return torch.cat([enhanced, comprehensive], dim=-1)  # (3)


class Harvester(Method):
    """A method that begins with the harvest: stage 1 with one modality, KHaR with all."""

    NEEDS = ("text", "audio", "visual")
    config: HarvestSettings

    def __init__(
        self,
        config: HarvestSettings,
        dims: dict[str, int],
        task: Task = REGRESSION,
        backbones: dict[str, nn.Module] | None = None,
    ):
        super().__init__(config, dims, task, backbones)
        shape = config.pretraining
        self.encoder = nn.ModuleDict()
        self.harvest = nn.ModuleDict()
        self.harvest_width: dict[str, int] = {}
        """of X_m, by modality"""
        for name, features in self.dims.items():
            finetuned = name == "text" and self.backbone is not None
            width = features if finetuned else shape.width
            reads: tuple[int, ...] = tuple(range(1, max(2, shape.layers)))
            if finetuned:
                reads = text_states(self.backbone.config.num_hidden_layers)
            else:
                self.encoder[name] = SequenceEncoder(features, shape)
            if shape.adapters == "none":
                reads = ()
            self.harvest[name] = Harvest(width, reads, not finetuned, shape)
            self.harvest_width[name] = 2 * width if reads else width

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
            if isinstance(source, Tokens):
                encoded = self.backbone(
                    input_ids=source.ids, attention_mask=mask.long(), output_hidden_states=True
                )
                states = encoded.hidden_states  # (1)
            else:
                longest = self.config.pretraining.max_steps
                if (steps := source.values.shape[1]) > longest:
                    raise ParamsError(
                        f"{name} has {steps} steps, but models.khar takes {longest} at most; lower "
                        f"assemble.<dataset>.max_steps.{name} or raise models.khar.base.pretraining.max_steps"
                    )
                states = self.encoder[name](source.values, mask)  # (1)
            found[name] = Sequences(self.harvest[name](states, mask), source.mask, source.present)
        return found


# -------------------------------------------------------------------------------------------------- stage 1
class UnimodalWeights(Settings):
    """The one term of stage 1."""

    error: NonNegativeFloat = 1.0  # [R]


class UnimodalSettings(HarvestSettings):
    """Settings of stage 1 of one modality; `UnimodalRegressor.of` makes them from KHaR's."""

    weights: UnimodalWeights = UnimodalWeights()


@dataclass
class UnimodalOutput(Output):
    """A modality's own sentiment.

    Attributes
    ----------
    prediction : (B,)
    present : (B,) bool, the clip has the modality
    """

    present: Tensor


class UnimodalRegressor(Harvester):
    """Stage 1 of one modality [R]: encoder, adapters and a head learn the modality's own sentiment.

    Always a regression; `batch.label` is the label. KHaR takes everything but the head (`load_pretrained`).
    """

    TERMS = ("error",)
    Config = UnimodalSettings

    def __init__(
        self,
        config: UnimodalSettings,
        dims: dict[str, int],
        backbones: dict[str, nn.Module] | None = None,
    ):
        super().__init__(config, dims, REGRESSION, backbones)
        if len(self.dims) != 1:
            raise ParamsError(f"stage 1 of KHaR takes one modality, not {', '.join(self.dims)}")
        (self.modality,) = self.dims
        width = self.dims["text"] if self.backbone is not None else config.pretraining.width
        sizes = [self.harvest_width[self.modality], *(max(1, width // part) for part in (2, 4, 8))]  # [R]
        hidden = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.GELU())]
        self.classifier = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))

    @classmethod
    def of(cls, config: HarvestSettings, modality: str, dims: dict[str, int]) -> UnimodalRegressor:
        """Stage 1 of a modality for a KHaR of these settings; a text encoder is opened for it alone."""
        finetunes = modality == "text" and config.text == "finetune"
        settings = UnimodalSettings(
            training=config.pretraining.training(modality),
            text="finetune" if finetunes else "frozen",
            text_backbone=config.text_backbone,
            text_revision=config.text_revision,
            max_tokens=config.max_tokens,
            pretraining=config.pretraining,
        )
        return cls(settings, {} if finetunes else {modality: dims[modality]})

    def forward(self, batch: Batch) -> UnimodalOutput:
        """Sentiment from the mean over the real steps of X_m."""
        harvested = self.harvested(batch)[self.modality]
        pooled = mean_over_time(harvested.values, harvested.mask)
        return UnimodalOutput(self.task.shaped(self.classifier(pooled)), harvested.present)

    def losses(self, batch: Batch, output: Output, terms: Collection[str]) -> dict[str, Tensor]:
        """Mean squared error of the clips that have the modality and a label."""
        assert isinstance(output, UnimodalOutput)
        among = output.present & batch.labeled & ~batch.label.isnan()
        squared = (output.prediction - batch.label.nan_to_num(0.0)).square()
        return {"error": masked_mean(squared, among)} if "error" in terms else {}


def load_stage_one(method: Harvester, name: str, file: Path) -> None:
    """A modality's encoder and adapters from the weights of its `UnimodalRegressor`; the head is left.

    Where stage 1 saw features of another width (another corpus' features), the encoder's first layer stays as
    it is, with a word on stderr.

    Raises
    ------
    MissingModelError : there is no such file
    FormatError : it is not of a stage 1 with these settings
    """
    if not file.exists():
        raise MissingModelError(
            f"{file}: khar has no pretrained adapters of {name}; run its pretrain stage, or set "
            "models.khar.base.pretraining.adapters to scratch"
        )
    try:
        saved = {key: value for key, value in load_file(file).items() if not key.startswith("classifier.")}
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{file}: cannot be read ({error}); run the pretrain stage again") from error
    parts = [f"encoder.{name}.", f"harvest.{name}.", *(["backbone."] if name == "text" else [])]
    own = {key: value for key, value in method.state_dict().items() if key.startswith(tuple(parts))}
    first = f"encoder.{name}.project."
    before, now = (state.get(f"{first}weight") for state in (saved, own))
    if before is not None and now is not None and before.shape[1] != now.shape[1]:
        print(
            f"{file}: stage 1 saw {before.shape[1]} features of {name}, this set has {now.shape[1]}; "
            "the encoder's first layer starts at random",
            file=sys.stderr,
        )
        for key in (f"{first}weight", f"{first}bias"):
            del saved[key], own[key]
    shapes, expected = ({key: value.shape for key, value in state.items()} for state in (saved, own))
    if shapes != expected:
        wrong = min(key for key in shapes | expected if shapes.get(key) != expected.get(key))
        raise FormatError(
            f"{file}: the weights do not fit the settings of khar ({wrong} has another shape, or is in one "
            "of them only); run the pretrain stage again"
        )
    method.load_state_dict(saved, strict=False)
