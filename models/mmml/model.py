"""MMML: multimodal multi-loss fusion network.

Wu et al., "Multimodal Multi-loss Fusion Network for Sentiment Analysis", NAACL 2024. [P] marks what stands in
the paper, [C] the code of its authors, [D] our decision. Encoders of words and of sound learn together with
layers in which the two streams read each other, by three losses: of both together, of the text alone, of the
sound alone. How text and sound are read is in core/speech.py, the layers are in core/crossmodal.py.

    text, audio ─encoders─▶ X^m ─┬─▶ pooled ─▶ head ─▶ y^m                                m ∈ {text, audio}
                                 └─ cross-modal layers ─▶ two summaries ─▶ MLP ─▶ ŷ

With `context` the utterances before the clip go through the same encoders and layers; all heads read both.

Shapes: B clips, T steps, D width of a stream.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from models.core.batch import Batch, Sequences
from models.core.blocks import mean_over_time
from models.core.crossmodal import CrossModalEncoder
from models.core.method import FusedOutput, Share, Training
from models.core.speech import SpeechMethod, SpeechSettings
from pipeline.core.section import Section


class MMMLWeights(Section):
    """Weight of each loss; 0 = the term is not computed."""

    prediction: NonNegativeFloat = 1.0  # [P]
    unimodal_text: NonNegativeFloat = 1.0  # [P]
    unimodal_audio: NonNegativeFloat = 1.0  # [P]


class MMMLTraining(Training):
    """AdamW at one rate without a schedule [C]; there the optimiser begins anew in every epoch."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"  # [C]
    lr_backbone: NonNegativeFloat = 5e-6  # [C] 1e-5 on SIMS
    lr_other: NonNegativeFloat = 1e-4  # [D] of frozen features; [C] 5e-6 where encoders learn
    weight_decay: NonNegativeFloat = 0.01  # [C]
    batch_size: PositiveInt = 8  # [C] 16 on SIMS
    epochs: PositiveInt = 50  # [D] [C] ends by its patience alone
    warmup: Share = 0.0  # [C]
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "constant"  # [C]
    patience: PositiveInt = 8  # [C]


class MMMLSettings(SpeechSettings):
    """Settings of MMML, section `models.mmml` of params.yaml: base encoders, no context."""

    weights: MMMLWeights = MMMLWeights()
    training: MMMLTraining = MMMLTraining()
    audio_backbone: str = "facebook/data2vec-audio-base"  # [P] large-960h with context
    context: Annotated[int, Field(ge=0)] = 0  # [P] utterances before the clip; 2 with large encoders
    fusion_layers: PositiveInt = 5  # [C] 3 on SIMS
    feedforward: PositiveInt = 3072  # [P] 4096 of large
    dropout: Share = 0.3  # [C]
    predictor_widths: tuple[PositiveInt, ...] = (768, 512)  # [C] [768] with context


@dataclass
class MMMLOutput(FusedOutput):
    """ŷ, both summaries side by side, and what each modality says alone."""

    unimodal: dict[str, Tensor]  # (B,) y^m, or (B, C)


class MMML(SpeechMethod):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "unimodal_text", "unimodal_audio")
    NEEDS = ("text", "audio")
    Config = MMMLSettings
    config: MMMLSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        super().build(backbones)
        config, width = self.config, self.config.width
        # [C] the encoder's own, which RoBERTa's file has no weights of either
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        seen = 2 if config.context else 1  # the clip, and what was said before it
        self.head = nn.ModuleDict(
            {
                m: nn.Sequential(nn.Dropout(config.dropout), nn.Linear(seen * width, self.task.outputs))
                for m in self.NEEDS
            }
        )
        self.fusion = CrossModalEncoder(
            width, config.fusion_layers, config.heads, config.feedforward, config.dropout
        )
        widths = (2 * seen * width, *config.predictor_widths)
        hidden = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
        last = nn.Linear(widths[-1], self.task.outputs)
        self.predictor = nn.Sequential(nn.Dropout(config.dropout), *hidden, last)

    def forward(self, batch: Batch) -> MMMLOutput:
        """ŷ and both y^m.

        Raises
        ------
        MsaError : see `SpeechMethod.context_of` and `Method.inputs`
        """
        inputs = self.inputs(batch)
        seen = [self.streams(inputs)]
        if self.config.context:
            seen.append(self.streams(self.inputs(self.context_of(batch))))
        pooled = {"text": [self.pooler(part["text"].values[:, 0]) for part in seen]}
        pooled["audio"] = [mean_over_time(part["audio"].values, part["audio"].mask) for part in seen]
        unimodal = {m: self.task.predict(self.head[m], torch.cat(x, dim=-1)) for m, x in pooled.items()}
        fused = torch.cat([summary for part in seen for summary in self.summaries(part)], dim=-1)
        prediction = self.task.predict(self.predictor, fused)
        present = torch.stack([inputs[m].present for m in self.NEEDS])
        return MMMLOutput(prediction, fused, present, unimodal)

    def summaries(self, streams: dict[str, Sequences]) -> tuple[Tensor, Tensor]:
        """The states of the learnt tokens of text and audio, (B, D) each, after all layers."""
        text, audio = (streams[m] for m in self.NEEDS)
        return self.fusion(text.values, audio.values, text.mask, audio.mask)

    def losses(self, batch: Batch, output: MMMLOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms, unweighted; those of one modality among the clips that have it."""
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:
            losses["prediction"] = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        for name, present in zip(self.NEEDS, output.present, strict=True):
            if (term := f"unimodal_{name}") in terms:
                target, among = self.target(batch, name), batch.labeled & present
                losses[term] = self.task.loss(output.unimodal[name], target, among)
        return losses
