"""WSA-BERT: words shifted by what sound and sight say beside them. The shared encoder of MIRD (3.3).

Qian et al., "Word-wise Sparse Attention for Multimodal Sentiment Analysis", Interspeech 2022. Equation
numbers are those of MIRD, see model.py:

    text ─first layers─▶ W^mid ─ + λ MAG(what each modality says beside each word) ─other layers─▶ W^last

The layers are those of a text encoder that is fine-tuned; frozen text features have a few of our own [D].

Shapes: B clips, T words, L steps, W width of a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Sequences, Tokens
from models.core.blocks import TransformerLayer, changed_output, full_precision, key_bias, mean_over_time
from models.core.method import attended
from models.core.packing import TextRows, text_rows
from models.mird.settings import MIRDSettings
from pipeline.core.errors import ParamsError


def sparsemax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Euclidean projection of each row of scores onto the simplex (Martins and Astudillo, ICML 2016).

    Over the last dimension, (..., T) -> (..., T) in float32 at least. The mask broadcasts, True = may be
    chosen; masked entries are exactly 0 and get no gradient. A row without any gives zeros.
    """
    scores = full_precision(scores)
    mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    top = scores.detach().masked_fill(~mask, -torch.inf).amax(dim=-1, keepdim=True)
    top = top.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    # What is 1 below the largest is never chosen: with -2 there all sums stay small, whatever the scores.
    shifted = (scores - top).masked_fill(~mask, -2.0).clamp(min=-2.0)
    ordered = shifted.sort(dim=-1, descending=True).values
    sums = ordered.cumsum(dim=-1)
    ranks = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    chosen = (1 + ranks * ordered > sums).sum(dim=-1, keepdim=True)  # size of the support, at least 1
    threshold = (sums.gather(-1, chosen - 1) - 1) / chosen
    return (shifted - threshold).clamp(min=0.0).masked_fill(~mask, 0.0)


class WordwiseSparseAttention(nn.Module):
    """What a modality says beside each word (2)."""

    def __init__(self, features: int, width: int, scale: float):
        super().__init__()
        self.scale = scale
        self.key = nn.Linear(features, width)

    def forward(self, words: Tensor, source: Sequences) -> Tensor:
        """(B, T, W), a sequence of L steps -> X̃^m (B, T, features), 0 where the clip has none.

        Not scaled, as in the code, scores of z-scored features are so far apart that most words choose one
        single step; there sparsemax has no gradient, and the keys hardly learn.
        """
        scores = self.scale * words @ self.key(source.values).transpose(1, 2)  # (B, T, L)
        return sparsemax(scores, source.mask[:, None]).to(source.values) @ source.values


class MultimodalAdaptationGate(nn.Module):
    """MAG, after MAG-BERT: words shifted by what other modalities (d_m wide) add to them, (3) to (6)."""

    def __init__(
        self,
        width: int,
        dims: dict[str, int],
        gate: Literal["sigmoid", "relu"] = "sigmoid",
        epsilon: float = 1.0,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.activation = torch.sigmoid if gate == "sigmoid" else torch.relu
        self.epsilon = epsilon
        self.gate = nn.ModuleDict({name: nn.Linear(dim + width, width) for name, dim in dims.items()})
        self.project = nn.ModuleDict({name: zero_linear(dim, width) for name, dim in dims.items()})
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, shifts: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """LayerNorm and dropout of w + λh; arguments and shape as of `shift`."""
        return self.dropout(self.norm(words + self.shift(words, shifts, present)))

    def shift(self, words: Tensor, shifts: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """λh with h = Σ_m g^m ⊙ Linear(x^m), g^m = act(Linear([x^m; w])) (3), (4).

        words (B, T, W), shifts (B, T, d_m) and present (B,) by modality -> (B, T, W), 0 where all are absent.
        """
        words = full_precision(words)
        total = torch.zeros_like(words)
        for name, project in self.project.items():
            absent = ~present[name][:, None, None]
            x = full_precision(shifts[name]).masked_fill(absent, 0.0)
            gate = self.activation(self.gate[name](torch.cat([x, words], dim=-1)))
            total = total + full_precision(gate * project(x)).masked_fill(absent, 0.0)
        return shift_scale(words, total, self.epsilon) * total


def zero_linear(features: int, width: int) -> nn.Linear:
    """A Linear that gives 0 at the start [D]: no word is shifted, for BERT knows its own words alone."""
    linear = nn.Linear(features, width)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def shift_scale(words: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """λ of (6), min(ε ‖w‖ / (‖h‖ + 1e-6), 1): (..., D), (..., D) -> (..., 1), so that ‖λh‖ ≤ ε ‖w‖."""
    word, length = (x.norm(dim=-1, keepdim=True) for x in (words, shift))
    return (epsilon * word / (length + 1e-6)).clamp(max=1.0).masked_fill(length == 0, 1.0)


class FrozenWords(nn.Module):
    """Layers in place of BERT's. They have no positions: the features are of words in their context."""

    def __init__(self, features: int, config: MIRDSettings):
        super().__init__()
        width, heads, head_dim = config.frozen_width, config.frozen_heads, config.frozen_head_dim
        self.project = nn.Linear(features, width)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, head_dim, config.frozen_feedforward, config.frozen_dropout)
            for _ in range(config.frozen_layers)
        )

    def forward(self, values: Tensor, mask: Tensor, shift: Callable[[Tensor], Tensor], after: int) -> Tensor:
        """(B, T, features), mask (B, T) with a True in each row -> (B, T, W)."""
        words, bias = self.project(values), key_bias(mask)
        for number, layer in enumerate(self.layers):
            words = layer(shift(words) if number == after else words, bias)
        return words


class WSABert(nn.Module):
    """z^S of the shared encoder, but for the text encoder's own weights, which the method holds.

    Without a `backbone` the text is frozen features; `no_words` are the ids of an empty text.
    """

    no_words: Tensor

    def __init__(self, config: MIRDSettings, dims: dict[str, int], backbone: Any, no_words: list[int]):
        super().__init__()
        self.config = config
        width = config.frozen_width if backbone is None else dims["text"]
        others = {m: features for m, features in dims.items() if m != "text"}
        scale = config.score_scale or width**-0.5
        self.attention = nn.ModuleDict(
            {m: WordwiseSparseAttention(features, width, scale) for m, features in others.items()}
        )
        self.mag = MultimodalAdaptationGate(width, others, config.gate, config.epsilon, config.mag_dropout)
        self.layers = FrozenWords(dims["text"], config) if backbone is None else None
        self.dropout = nn.Dropout(config.pool_dropout)  # [R]
        self.project = nn.Linear(width, config.width)  # f_FC of (7)
        self.register_buffer("no_words", torch.tensor(no_words, dtype=torch.int64), persistent=False)
        self._check(backbone)

    def forward(
        self, text: Sequences | Tokens, others: dict[str, Sequences], backbone: Any
    ) -> tuple[Tensor, Sequences]:
        """z^S (B, d), and the text as W^mid of layer 0 has it: features, or embedded tokens."""

        def shift(words: Tensor) -> Tensor:
            """W^mid (B, T, W) -> LayerNorm and dropout [R] of W̃^mid, (2) to (6)."""
            beside = {m: attend(words, others[m]) for m, attend in self.attention.items()}
            present = {m: source.present for m, source in others.items()}
            return self.mag(words, beside, present).to(words.dtype)

        after, mean = self.config.inject_layer, self.config.pool == "mean"
        if isinstance(text, Sequences):
            assert self.layers is not None
            mask = attended(text.mask)  # the only word of a clip without text is the projection's bias
            states = self.layers(text.values, mask, shift, after)
            pooled = mean_over_time(states, mask) if mean else states[:, 0]
            return self.project(self.dropout(pooled)), text

        embedded: list[Tensor] = []
        ids, mask = self.token_inputs(text, backbone)
        rows = self.rows(backbone, ids, mask)

        def keep(words: Tensor) -> Tensor:
            embedded.append(rows.unpack(words))
            return words

        def shift_rows(words: Tensor) -> Tensor:
            return rows.pack(shift(rows.unpack(words)))

        middle = injection_module(backbone, after)
        with changed_output(backbone.embeddings, keep), changed_output(middle, shift_rows):
            pooled = self.pooled(backbone, rows, mask)
        words = Sequences(embedded[0], mask & text.present[:, None], text.present)
        return self.project(self.dropout(pooled)), words

    def token_inputs(self, text: Tokens, backbone: Any) -> tuple[Tensor, Tensor]:
        """Ids and mask, (B, T) each; a clip without text says what the tokenizer makes of no words."""
        number, given = len(self.no_words), text.ids.shape[1]
        width, padding = max(number, given), backbone.config.pad_token_id or 0
        nothing = F.pad(self.no_words, (0, width - number), value=padding)
        ids = F.pad(text.ids, (0, width - given), value=padding)
        few = torch.arange(width, device=ids.device) < number
        known = text.present[:, None]
        return torch.where(known, ids, nothing), torch.where(known, F.pad(text.mask, (0, width - given)), few)

    def rows(self, backbone: Any, ids: Tensor, mask: Tensor) -> TextRows:
        """How a text encoder reads (B, T) each; a pooler looks at the first token of a row."""
        if self.config.pool == "cls":
            return TextRows(ids, mask)
        return text_rows(backbone.config, ids, mask, self.training)

    def pooled(self, backbone: Any, rows: TextRows, mask: Tensor) -> Tensor:
        """One vector of a text encoder's last states, (B, W)."""
        result = backbone(**rows.inputs)
        mean = self.config.pool == "mean"
        return mean_over_time(rows.unpack(result.last_hidden_state), mask) if mean else result.pooler_output

    def _check(self, backbone: Any) -> None:
        """ParamsError where the layers have no place to shift words at, or no pooler."""
        config, name = self.config, f"the text encoder {self.config.text_backbone!r}"
        number = config.frozen_layers if backbone is None else backbone.config.num_hidden_layers
        if config.inject_layer >= number:
            where = "models.mird.base.frozen_layers is" if backbone is None else f"the layers of {name} are"
            raise ParamsError(
                f"models.mird.base.inject_layer is {config.inject_layer}, but {where} {number}; words are "
                f"shifted after the embedding (0), or after a layer that others follow (up to {number - 1})"
            )
        if backbone is None:
            return
        try:
            injection_module(backbone, config.inject_layer)
        except AttributeError as error:
            raise ParamsError(
                f"{name} is not built like BERT and RoBERTa, where MIRD shifts words after `embeddings` or "
                f"after one of `encoder.layer` ({error}); choose another models.mird.base.text_backbone"
            ) from error
        if config.pool == "cls" and getattr(backbone, "pooler", None) is None:
            raise ParamsError(f"models.mird.base.pool is cls, but {name} has no pooler; set it to mean")


def injection_module(backbone: Any, after: int) -> nn.Module:
    """The part of a text encoder whose output is W^mid: layer `after`, or the embedding."""
    part: nn.Module = backbone.encoder.layer[after - 1] if after else backbone.embeddings
    return part
