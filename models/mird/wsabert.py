"""WSA-BERT: words shifted by what sound and sight say beside them. The shared encoder of MIRD (3.3).

Qian et al., "Word-wise Sparse Attention for Multimodal Sentiment Analysis", Interspeech 2022. Equation
numbers are those of MIRD, see mird.py:

    text ─first layers─▶ W^mid ─ + λ MAG(what each modality says beside each word) ─other layers─▶ W^last

The layers are those of a text encoder that is fine-tuned; frozen text features have a few of our own [D].

Shapes: B clips, T words, L steps, W width of a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Sequences, Tokens
from models.core.blocks import MultimodalAdaptationGate, TransformerLayer, mean_over_time, sparsemax
from models.core.method import attended
from pipeline.core.errors import ParamsError

if TYPE_CHECKING:
    from models.mird.model import MIRDSettings


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
        words = self.project(values)
        for number, layer in enumerate(self.layers):
            words = layer(shift(words) if number == after else words, mask)
        return words


class WSABert(nn.Module):
    """z^S of the shared encoder, but for the text encoder's own weights, which the method holds.

    Parameters
    ----------
    dims : features of each modality
    backbone : the text encoder that is fine-tuned; None = frozen features
    no_words : ids that its tokenizer makes of an empty text
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
            said = {m: attend(words, others[m]) for m, attend in self.attention.items()}
            present = {m: source.present for m, source in others.items()}
            return self.mag(words, said, present).to(words.dtype)

        after, mean = self.config.inject_layer, self.config.pool == "mean"
        if isinstance(text, Sequences):
            assert self.layers is not None
            mask = attended(text.mask)  # the only word of a clip without text is the projection's bias
            states = self.layers(text.values, mask, shift, after)
            pooled = mean_over_time(states, mask) if mean else states[:, 0]
            return self.project(self.dropout(pooled)), text

        embedded: list[Tensor] = []

        def keep(words: Tensor) -> Tensor:
            embedded.append(words)
            return words

        ids, mask = self.spoken(text, backbone)
        with passing(backbone.embeddings, keep), passing(injected(backbone, after), shift):
            pooled = self.pooled(backbone, ids, mask)
        words = Sequences(embedded[0], mask & text.present[:, None], text.present)
        return self.project(self.dropout(pooled)), words

    def spoken(self, text: Tokens, backbone: Any) -> tuple[Tensor, Tensor]:
        """Ids and mask, (B, T) each; a clip without text says what the tokenizer makes of no words."""
        number, given = len(self.no_words), text.ids.shape[1]
        width, padding = max(number, given), backbone.config.pad_token_id or 0
        nothing = F.pad(self.no_words, (0, width - number), value=padding)
        ids = F.pad(text.ids, (0, width - given), value=padding)
        few = torch.arange(width, device=ids.device) < number
        known = text.present[:, None]
        return torch.where(known, ids, nothing), torch.where(known, F.pad(text.mask, (0, width - given)), few)

    def pooled(self, backbone: Any, ids: Tensor, mask: Tensor) -> Tensor:
        """One vector of a text encoder's last states, (B, W)."""
        result = backbone(input_ids=ids, attention_mask=mask.long())
        if self.config.pool == "mean":
            return mean_over_time(result.last_hidden_state, mask)
        pooled: Tensor = result.pooler_output
        return pooled

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
            injected(backbone, config.inject_layer)
        except AttributeError as error:
            raise ParamsError(
                f"{name} is not built like BERT and RoBERTa, where MIRD shifts words after `embeddings` or "
                f"after one of `encoder.layer` ({error}); choose another models.mird.base.text_backbone"
            ) from error
        if config.pool == "cls" and getattr(backbone, "pooler", None) is None:
            raise ParamsError(f"models.mird.base.pool is cls, but {name} has no pooler; set it to mean")


def injected(backbone: Any, after: int) -> nn.Module:
    """The part of a text encoder whose output is W^mid: layer `after`, or the embedding."""
    part: nn.Module = backbone.encoder.layer[after - 1] if after else backbone.embeddings
    return part


@contextmanager
def passing(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, what the module gives goes through `change`; the rest of a tuple stays."""

    def changed(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    hook = module.register_forward_hook(changed)
    try:
        yield
    finally:
        hook.remove()
