"""Methods that shift words by what is heard and seen beside them: MAG-BERT and its kin.

    words w ─▶ MAG(w, what each modality says beside w) ─▶ one vector a clip ─▶ dropout ─▶ Linear ─▶ ŷ

With text that is fine-tuned the gate sits in the encoder, after the embedding [P] or a layer, and the other
layers read the shifted words. With frozen text it sits on the extracted states themselves [D]: no layer
follows, so that a shift moves its own word in the mean, and nothing else.

A method of this kind says what stands beside a word: `beside`.

Shapes: B clips, T words, W width of a word.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.core.backbones import load_text_backbone
from models.core.batch import Batch, Sequences
from models.core.blocks import full_precision, length_shares, mean_over_time
from models.core.gate import MultimodalAdaptationGate
from models.core.injection import InjectedEncoder
from models.core.method import FusedOutput, Method, MethodSettings, Share, Training
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section


# [C] the authors' code of MAG-BERT, which WSA-BERT's repeats; [D] our decision
class GatedWordsWeights(Section):
    """Weight of the one term."""

    prediction: NonNegativeFloat = 1.0


class GatedWordsTraining(Training):
    """One rate for all; its decay spares biases and LayerNorm as ours does."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [C]
    lr_backbone: NonNegativeFloat = 1e-5  # [C]
    lr_other: NonNegativeFloat = 1e-5  # [C]
    weight_decay: NonNegativeFloat = 0.01  # [C]
    batch_size: PositiveInt = 48  # [C]
    epochs: PositiveInt = 40  # [C]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "linear"  # [C]
    schedule_every: Literal["epoch", "step"] = "step"  # [C]
    patience: PositiveInt = 8  # [D] the code takes the epoch of the best test accuracy


class GatedWordsSettings(MethodSettings):
    """Settings of such a method."""

    weights: GatedWordsWeights = GatedWordsWeights()
    training: GatedWordsTraining = GatedWordsTraining()
    inject_layer: NonNegativeInt = 0  # [C] of finetune: words are shifted after it; 0 = after the embedding
    pool: Literal["mean", "cls"] = "mean"  # [D]; of finetune also cls = the encoder's pooler [C]
    beta_shift: PositiveFloat = 1.0  # [C] longest shift, as a share of the word's length
    gate_dropout: Share = 0.5  # [C] of shifted words
    dropout: Share = 0.1  # [C] of what the head reads

    @model_validator(mode="after")
    def _words_are_heard(self) -> GatedWordsSettings:
        if self.pool == "cls" and self.text == "frozen":
            raise ValueError(
                "pool is cls, but text is frozen: no layer follows the gate, and [CLS] would "
                "learn of no other word; set pool to mean, or text to finetune"
            )
        return self

    def open_backbones(self, config_only: bool = False) -> dict[str, nn.Module]:
        if self.text == "frozen":
            return {}
        name, revision, pooler = self.text_backbone, self.text_revision, self.pool == "cls"
        return {"text": load_text_backbone(name, revision, pooler=pooler, config_only=config_only)}


@dataclass
class GatedWordsOutput(FusedOutput):
    """The output, with what each modality adds to each word."""

    parts: dict[str, Tensor]  # (B, T, W) by modality: g ⊙ Linear(x), 0 where it says nothing


class GatedWords(Method):
    """The model and its loss; see the module's text. A clip without text has no words of its own to shift."""

    SECTION: ClassVar[str]  # of params.yaml, for messages
    config: GatedWordsSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config = self.config
        if "text" not in self.dims:
            raise ParamsError(
                f"{type(self).__name__} needs text, whose words it shifts; name a text folder under "
                f"`assemble`, or set {self.SECTION}.text to finetune in params.yaml"
            )
        width, self.others = self.dims["text"], {m: d for m, d in self.dims.items() if m != "text"}
        self.reader: InjectedEncoder | None = None
        if self.tokenizer is not None:
            self.reader = InjectedEncoder(
                self.backbone,
                self.tokenizer.encode([""], config.max_tokens)[0].tolist(),
                after=config.inject_layer,
                pool=config.pool,
                name=config.text_backbone,
                section=self.SECTION,
            )
        self.gate = MultimodalAdaptationGate(
            width, self.others, "relu", config.beta_shift, config.gate_dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(width, self.task.outputs)

    @abstractmethod
    def beside(
        self, words: Tensor, real: Tensor, spoken: Tensor, sources: dict[str, Sequences]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What each modality but text says beside each word, (B, T, d_m), and where that is known, (B, T).

        words (B, T, W); real (B, T), those that are no padding; spoken, without the special ones among them.
        """

    def forward(self, batch: Batch) -> GatedWordsOutput:
        sources = self.sources(batch)
        text = sources["text"]
        others = {m: x for m, x in sources.items() if m != "text" and isinstance(x, Sequences)}
        parts: dict[str, Tensor] = {}

        def shifted(words: Tensor, real: Tensor, spoken: Tensor) -> Tensor:
            parts.update(self.gate.parts(words, *self.beside(words, real, spoken, others)))
            return self.gate(words, parts).to(words.dtype)

        if isinstance(text, Sequences):  # which of them are special a batch does not say: all are words
            pooled = mean_over_time(shifted(text.values, text.mask, text.mask), text.mask)
        else:
            assert self.reader is not None
            ids, real = self.reader.token_inputs(text, self.backbone)
            spoken = real & ~torch.isin(ids, self.reader.no_words)
            pooled, _ = self.reader(ids, real, self.backbone, lambda words: shifted(words, real, spoken))
        pooled = full_precision(pooled)  # (B, W)
        present = torch.stack([source.present for source in sources.values()])
        prediction = self.task.predict(self.score, self.dropout(pooled))
        return GatedWordsOutput(prediction, pooled, present, parts)

    def losses(self, batch: Batch, output: GatedWordsOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The task's loss, of labeled clips. The codes have the squared error, all our methods L1 [D]."""
        error = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        return {"prediction": error} if "prediction" in terms else {}

    def internals(self, batch: Batch, output: GatedWordsOutput) -> dict[str, dict[str, float]]:
        """`shift`: share of each modality in the squared lengths of all that is added to words."""
        return {"shift": length_shares(output.parts)}
