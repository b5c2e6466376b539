"""The shared encoder of MIRD (3.3): WSA-BERT's words, shifted by what sound and sight say beside them.

Equation numbers are those of MIRD, see model.py. Sparse attention, gate and their way into a text encoder are
those of the method `wsa_bert`, in models/core:

    text ─first layers─▶ W^mid ─ + λ MAG(what each modality says beside each word) ─other layers─▶ W^last

The layers are those of a text encoder that is fine-tuned; frozen text features have a few of our own [D].

Shapes: B clips, T words, L steps, W width of a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from models.core.batch import Sequences, Tokens
from models.core.blocks import TransformerLayer, key_bias, mean_over_time
from models.core.gate import MultimodalAdaptationGate
from models.core.injection import InjectedEncoder, check_layer
from models.core.method import attended
from models.core.sparse_attention import WordwiseSparseAttention
from models.mird.settings import MIRDSettings

SECTION = "models.mird.base"


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
        check_layer(config.inject_layer, config.frozen_layers, f"{SECTION}.frozen_layers is", SECTION)

    def forward(self, values: Tensor, mask: Tensor, shift: Callable[[Tensor], Tensor], after: int) -> Tensor:
        """(B, T, features), mask (B, T) with a True in each row -> (B, T, W)."""
        words, bias = self.project(values), key_bias(mask)
        for number, layer in enumerate(self.layers):
            words = layer(shift(words) if number == after else words, bias)
        return words


class SharedEncoder(nn.Module):
    """z^S, but for the text encoder's own weights, which the method holds.

    Without a `backbone` the text is frozen features; `no_words` are the ids of an empty text.
    """

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
        self.reader: InjectedEncoder | None = None
        if backbone is not None:
            self.reader = InjectedEncoder(
                backbone,
                no_words,
                after=config.inject_layer,
                pool=config.pool,
                name=config.text_backbone,
                section=SECTION,
            )

    def forward(
        self, text: Sequences | Tokens, others: dict[str, Sequences], backbone: Any
    ) -> tuple[Tensor, Sequences]:
        """z^S (B, d), and the text as W^mid of layer 0 has it: features, or embedded tokens."""

        def shift(words: Tensor) -> Tensor:
            """W^mid (B, T, W) -> LayerNorm and dropout [R] of W̃^mid, (2) to (6)."""
            beside = {m: attend(words, others[m]) for m, attend in self.attention.items()}
            present = {m: source.present for m, source in others.items()}
            return self.mag(words, self.mag.parts(words, beside, present)).to(words.dtype)

        if isinstance(text, Sequences):
            assert self.layers is not None
            mask = attended(text.mask)  # the only word of a clip without text is the projection's bias
            states = self.layers(text.values, mask, shift, self.config.inject_layer)
            pooled = mean_over_time(states, mask) if self.config.pool == "mean" else states[:, 0]
            return self.project(self.dropout(pooled)), text

        assert self.reader is not None
        ids, mask = self.reader.token_inputs(text, backbone)
        pooled, embedded = self.reader(ids, mask, backbone, shift)
        words = Sequences(embedded, mask & text.present[:, None], text.present)
        return self.project(self.dropout(pooled)), words
