"""What several methods share: the contract of a method, its settings, and small blocks.

Shapes: B clips, T time steps, L keys, D width. Masks: True = real.
Everything under an exp, a log or a mean of a loss is computed in float32 at least (`full_precision`),
also where autocast has made the layers' outputs bfloat16.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones import Tokenizer, load_text_backbone, load_tokenizer, longest_input
from pipeline.batches import Batch, Sequences, Tokens
from pipeline.errors import MsaError, ParamsError

Share = Annotated[float, Field(ge=0, lt=1)]


# ------------------------------------------------------------------------------------------------- settings
class Settings(BaseModel):
    """A section of a method's settings: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Training(Settings):
    """How a method is optimised. A method's own section gives the two learning rates their defaults."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr_backbone: NonNegativeFloat
    """of the fine-tuned text encoder"""
    lr_other: NonNegativeFloat
    """of everything else"""
    weight_decay: NonNegativeFloat = 0.0
    """never on biases, LayerNorm, learned tokens and positions"""
    momentum: Share = 0.0
    """of sgd"""
    batch_size: PositiveInt = 32
    epochs: PositiveInt = 100
    warmup: Share = 0.1
    """share of the epochs in which the learning rate rises linearly"""
    schedule: Literal["cosine"] = "cosine"
    """of the learning rate after the warm-up, stepped once an epoch"""
    patience: PositiveInt = 15
    """epochs without a better validation score before training stops"""


class MethodSettings(Settings):
    """The part of a method's settings that the pipeline reads."""

    weights: Settings
    """one number a loss term; 0 = the term is not computed"""
    training: Training
    text: Literal["frozen", "finetune"] = "frozen"
    """the extracted text features as they are, or a text encoder that learns with the method"""
    text_backbone: str = "minilm"
    """of finetune: `minilm`, a local folder or a hub id"""
    text_revision: str | None = None
    """commit hash of a hub id"""
    max_tokens: Annotated[int, Field(ge=3)] = 50
    """of finetune: tokens of a clip, special ones included"""


# ------------------------------------------------------------------------------------------------- contract
@dataclass
class Output:
    """What `forward` gives; a method adds its representations.

    Attributes
    ----------
    prediction : (B,) sentiment in the label's unit
    """

    prediction: Tensor


class Method(nn.Module, ABC):
    """One paper's model with its losses.

    The loop sets `active_terms`, calls the module on a batch (hooks and autocast act there), then
    `losses` outside autocast, and alone multiplies by the weights and adds up.

    Parameters
    ----------
    config : the method's `Config`
    dims : feature width of each modality of the training set; a modality that is not in it is built
        without its branch. With `text: finetune` the text branch is always there.
    backbone : text encoder to fine-tune in place of the one that `text_backbone` names
    """

    TERMS: ClassVar[tuple[str, ...]]  # names of the loss terms
    NEEDS: ClassVar[tuple[str, ...]]  # modalities that it can use
    Config: ClassVar[type[MethodSettings]]

    def __init__(self, config: MethodSettings, dims: dict[str, int], backbone: nn.Module | None = None):
        super().__init__()
        self.config = config
        self.active_terms = frozenset(self.TERMS)
        """terms that training asks for; `forward` leaves out in training what only other terms need"""
        widths = dict(dims)
        self.backbone: Any = None  # a transformers model where the text encoder learns
        if config.text == "finetune":
            if backbone is None:
                backbone = load_text_backbone(config.text_backbone, config.text_revision)
            self.backbone = backbone
            longest = longest_input(self.backbone.config)
            if longest is not None and config.max_tokens > longest:
                raise ParamsError(
                    f"max_tokens is {config.max_tokens}, but the text encoder {config.text_backbone!r} has "
                    f"positions for {longest} at most; lower it under `models` in params.yaml"
                )
            widths["text"] = self.backbone.config.hidden_size
        self.dims = {name: widths[name] for name in self.NEEDS if name in widths}
        if not self.dims:
            raise ParamsError(
                f"{type(self).__name__}: the training set has none of {', '.join(self.NEEDS)}; "
                "name at least one feature folder under `assemble` in params.yaml"
            )

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The fine-tuned encoder's tokenizer; None with frozen text."""
        if self.config.text == "frozen":
            return None
        return load_tokenizer(self.config.text_backbone, self.config.text_revision)

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Predictions, and in training what the active terms need."""

    @abstractmethod
    def losses(self, batch: Batch, output: Output, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms: unweighted scalars in float32 at least. Runs no layer."""

    def schedule(self, term: str, progress: float) -> float:
        """Multiplier of a term's weight when the share `progress` in [0, 1] of the training is done."""
        return 1.0

    def diagnostics(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Scalars that are worth a curve besides the losses, detached."""
        return {}

    def inputs(self, batch: Batch) -> dict[str, Sequences]:
        """The modalities of the model, with nothing left of what lies in masked steps and absent clips.

        Absent values are replaced, not multiplied by zero, so that they may even be NaN. A clip without a
        real step counts as absent. Fine-tuned text comes out of the backbone here.

        Raises
        ------
        MsaError : the batch has no place for a modality of the model, or (in evaluation) a clip has none
        """
        sequences: dict[str, Sequences] = {}
        for name in self.dims:
            finetuned = name == "text" and self.backbone is not None
            source: Sequences | Tokens | None = batch.tokens if finetuned else getattr(batch, name)
            if source is None:
                raise MsaError(f"the model was built with {name}, but the batch has no {name}")
            mask = source.mask & source.present[:, None]
            values = self._text_states(source.ids, mask) if isinstance(source, Tokens) else source.values
            values = values.masked_fill(~mask[..., None], 0.0)
            sequences[name] = Sequences(values, mask, present=mask.any(dim=1))
        if not self.training:  # assembly leaves such clips out of a training set; looking makes a GPU wait
            usable = torch.stack([sequence.present for sequence in sequences.values()]).any(dim=0).tolist()
            refused = [clip for clip, ok in zip(batch.clip_ids, usable, strict=True) if not ok]
            if refused:
                raise MsaError(
                    f"{', '.join(refused)}: no {', no '.join(sequences)}; a clip needs at least one modality "
                    "of the model, take it out"
                )
        return sequences

    def _text_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states, (B, T, D); those of masked tokens mean nothing."""
        padding = self.backbone.config.pad_token_id or 0
        attended = mask.clone()
        attended[:, 0] |= ~mask.any(dim=1)  # a softmax over no key would be NaN
        states = self.backbone(input_ids=ids.masked_fill(~mask, padding), attention_mask=attended.long())
        hidden: Tensor = states.last_hidden_state
        return hidden

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups: text backbone and the rest, each with and without weight decay."""
        training = self.config.training
        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in self.named_parameters():
            part = "backbone" if name.startswith("backbone.") else "other"
            decays = parameter.dim() > 1 and "token" not in name.split(".")[-1] and "position" not in name
            group = groups.setdefault(
                part if decays else f"{part}_no_decay",
                {
                    "params": [],
                    "lr": training.lr_backbone if part == "backbone" else training.lr_other,
                    "weight_decay": training.weight_decay if decays else 0.0,
                },
            )
            group["params"].append(parameter)
        return [{"name": name, **group} for name, group in groups.items()]


# --------------------------------------------------------------------------------------------------- blocks
class TransformerLayer(nn.Module):
    """Pre-norm transformer layer: x + MHSA(LN(x)), then x + FFN(LN(x)).

    The heads' inner width is heads x head_dim, whatever the layer's width is; the projections to queries,
    keys and values have no bias; the feed-forward part is Linear, GELU, Linear. No LayerNorm at the end.
    """

    def __init__(self, width: int, heads: int, head_dim: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.attention_out = nn.Linear(inner, width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feedforward),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D).

        Parameters
        ----------
        x : (B, T, D)
        mask : (B, T), True = a key that may be attended to, at least one a row; None = all
        """
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, H, D/H)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D/H) each
        keys = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, T)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        x = x + self.dropout(self.attention_out(attended.transpose(1, 2).flatten(2)))
        return x + self.feedforward(x)


def full_precision(x: Tensor) -> Tensor:
    """x in float32, or in float64 if it is that already."""
    return x if x.dtype == torch.float64 else x.float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries that the mask selects; 0 where it selects none.

    Parameters
    ----------
    values : (B, ...)
    mask : values' shape or its leading part, e.g. (B,)

    Returns
    -------
    scalar
    """
    selected = mask.reshape(mask.shape + (1,) * (values.dim() - mask.dim())).expand_as(values)
    return values.masked_fill(~selected, 0.0).sum() / selected.sum().clamp(min=1)


def kl_to_prior(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) per element: ½ (μ² + σ² − 1 − 2 ln σ), with logvar = 2 ln σ."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def kl_between(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """KL(N(μ₁, σ₁²) ‖ N(μ₂, σ₂²)) per element: ln(σ₂/σ₁) + (σ₁² + (μ₁ − μ₂)²) / (2 σ₂²) − ½."""
    distance = (mean1 - mean2).square()
    return 0.5 * (logvar2 - logvar1 + (logvar1 - logvar2).exp() + distance * (-logvar2).exp() - 1)
