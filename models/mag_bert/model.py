"""MAG-BERT: words shifted, inside the text encoder, by the sound and sight that go with them.

Rahman et al., "Integrating Multimodal Information in Large Pretrained Transformers", ACL 2020; the authors'
code was read [C]. For word i with vector Z_i after the embedding, m ∈ {audio, visual}:

    frames of m ─mean over the word─▶ m_i
    g^m = ReLU(Linear([m_i; Z_i])),  H_i = Σ_m g^m ⊙ (W_m m_i) + b_H
    Z̄_i = Z_i + λ H_i,  λ = min(β ‖Z_i‖ / ‖H_i‖, 1)
    Z̄ ─LayerNorm, dropout─▶ other layers ─pooler─▶ dropout ─▶ Linear ─▶ ŷ

The gate is models/core/gate.py, its place models/core/gated_words.py. Frozen text has no layer after the
gate, which then sits on the extracted states.

What differs:

- b_H is a bias of each W_m, as in [C]. There [CLS], [SEP], padding and clips without sound carry zeros, and
  are shifted by that bias; here what has nothing beside it stays [D].
- W_m and b_H begin at 0 [D]: no word is shifted before training has seen a reason to.
- [C] has the words' times. Ours come with sets that are assembled with `align: words`, whose frames are the
  words' (of frozen text exactly; word pieces share them evenly). Other sets are split evenly [D].
- [C] takes the epoch of the best test accuracy, and drops clips with the label 0 before its metrics. Here
  validation chooses, and no clip is dropped.
"""

from __future__ import annotations

from torch import Tensor

from models.core.batch import Sequences
from models.core.gated_words import GatedWords, GatedWordsSettings
from models.core.word_frames import beside_words


class MAGBERTSettings(GatedWordsSettings):
    """Settings of MAG-BERT, section `models.mag_bert` of params.yaml."""


class MAGBERT(GatedWords):
    """The model: a word hears and sees what lies beside it, and special tokens nothing."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = MAGBERTSettings
    SECTION = "models.mag_bert.base"

    def beside(
        self, words: Tensor, real: Tensor, spoken: Tensor, sources: dict[str, Sequences]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        found = {name: beside_words(source, spoken) for name, source in sources.items()}
        return {m: x for m, (x, _) in found.items()}, {m: known for m, (_, known) in found.items()}
