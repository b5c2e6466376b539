"""WSA-BERT: MAG-BERT without word times; each word finds the sound and sight that go with it.

Qian et al., "Word-wise Sparse Attention for Multimodal Sentiment Analysis", Interspeech 2022; the authors'
code was read [C]. For words w after the embedding, m ∈ {audio, visual}:

    keys = Linear(X^m) ─▶ scores w · keys ─sparsemax over time─▶ X̃^m = weights · X^m
    w, X̃^audio, X̃^visual ─MAG─▶ LayerNorm, dropout ─other layers─▶ pooler ─▶ dropout ─▶ Linear ─▶ ŷ

Attention and gate are those of MIRD's shared encoder: models/core/sparse_attention.py, models/core/gate.py;
their place is models/core/gated_words.py. Frozen text has no layer after the gate, which then sits on the
extracted states.

What differs:

- Padded frames get no weight [D]; in [C] they are chosen like others. Special tokens attend too [C].
- Scores are not scaled [C], and sparsemax of them is almost an argmax: with z-scored features most words
  choose one single frame, and the keys hardly learn. `score_scale: null` divides by √W, as our MIRD does.
- The projections begin at 0 [D]: no word is shifted before training has seen a reason to.
- In [C] the arguments of the schedule are swapped, and the rate rises in the whole run. Here it falls [D];
  `schedule: ramp` rises.
- [C] reads word-aligned files, although the method is for others; here it reads what it is given.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor, nn

from models.core.batch import Sequences
from models.core.gated_words import GatedWords, GatedWordsSettings
from models.core.sparse_attention import WordwiseSparseAttention


class WSABERTSettings(GatedWordsSettings):
    """Settings of WSA-BERT, section `models.wsa_bert` of params.yaml."""

    attention: Literal["sparsemax", "softmax"] = "sparsemax"  # [P]; softmax = its ablation WA-BERT
    score_scale: PositiveFloat | None = 1.0  # [C] of the attention's scores; null = 1/√W


class WSABERT(GatedWords):
    """The model. A clip without text says the special tokens alone, which hear and see."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = WSABERTSettings
    SECTION = "models.wsa_bert.base"
    config: WSABERTSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        super().build(backbones)
        width = self.dims["text"]
        scale = self.config.score_scale or width**-0.5
        self.attention = nn.ModuleDict(
            {
                name: WordwiseSparseAttention(features, width, scale, self.config.attention)
                for name, features in self.others.items()
            }
        )

    def beside(
        self, words: Tensor, real: Tensor, spoken: Tensor, sources: dict[str, Sequences]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        beside = {name: attend(words, sources[name]) for name, attend in self.attention.items()}
        return beside, {name: real & sources[name].present[:, None] for name in sources}
