"""Methods that read text and sound, each as states of an encoder that may learn.

SLaD and its base MMML have it in common. [P] marks what their papers say, [R] MMML's code, [D] our decision.

Shapes: B clips, S samples, T time steps, D width of an encoder, d width of a stream. Masks: True = real.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.backbones import load_audio_backbone
from models.core.batch import Batch, Inputs, Reading, Sequences, Waveform
from models.core.blocks import full_precision
from models.core.method import Method, MethodSettings, attended
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.waveform import SAMPLE_RATE


class SpeechSettings(MethodSettings):
    """What is read, and the width of the streams."""

    max_tokens: Annotated[int, Field(ge=3)] = 96  # [R]; 64 on SIMS
    text_case: Literal["asis", "sentence"] = "sentence"  # [R] of finetune: all but the first letter lowered
    audio: Literal["frozen", "finetune"] = "frozen"  # [P] finetune
    audio_backbone: str = "facebook/data2vec-audio-base-960h"  # [P] data2vec; a Chinese HuBERT on SIMS
    audio_revision: str | None = None
    waveform_seconds: PositiveFloat = 6.0  # [P]
    context: Annotated[int, Field(ge=0)] = 0  # utterances before the clip
    context_keep: Literal["last", "first"] = "last"  # [D] [R] loses the nearest utterance
    width: PositiveInt = 768  # d: base encoders
    heads: PositiveInt = 12  # [P]; 16 of large

    @model_validator(mode="after")
    def _width_is_shared_out(self) -> SpeechSettings:
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, which does not divide into {self.heads} heads")
        return self

    def open_backbones(self, config_only: bool = False) -> dict[str, nn.Module]:
        """As in `MethodSettings`, and the encoder of the sound where it learns."""
        backbones = super().open_backbones(config_only)
        if self.audio == "finetune":
            sound = load_audio_backbone(self.audio_backbone, self.audio_revision, config_only=config_only)
            backbones["audio"] = sound
        return backbones


class SpeechMethod(Method):
    """A method that wants text and sound, both, and projects them to one width.

    A clip without one of them has a learnt vector as the only step of that stream.
    """

    NEEDS = ("text", "audio")
    config: SpeechSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config, name = self.config, type(self).__name__
        if missing := [modality for modality in self.NEEDS if modality not in self.dims]:
            raise ParamsError(
                f"{name} reads text and audio, but the training set has no {missing[0]}; name a feature "
                f"folder under assemble.<dataset>.{missing[0]} in params.yaml, or set {missing[0]}: finetune"
            )
        if self.audio_backbone is not None:
            number = torch.tensor(self.samples, device="cpu")  # also while the model is built without memory
            if int(self.audio_backbone._get_feat_extract_output_lengths(number)) < 1:
                raise ParamsError(
                    f"waveform_seconds is {config.waveform_seconds}, too short for one frame of the audio "
                    f"encoder {config.audio_backbone!r}; raise it under models.{name.lower()} in params.yaml"
                )
        self.project = nn.ModuleDict({m: nn.Linear(dim, config.width) for m, dim in self.dims.items()})
        if self.backbone is not None and self.dims["text"] == config.width:
            self.project["text"] = nn.Identity()  # text is not changed
        self.null_token = nn.ParameterDict(
            {m: nn.Parameter(0.02 * torch.randn(config.width)) for m in self.NEEDS}
        )

    @property
    def samples(self) -> int:
        """S of the sound, always: encoders that normalise over time see how long the padding is."""
        return round(SAMPLE_RATE * self.config.waveform_seconds)

    def reading(self) -> Reading:
        """Also the sound where its encoder learns, and the utterances before each clip."""
        return replace(
            super().reading(),
            sentence_case=self.config.text_case == "sentence",
            waveform=0 if self.audio_backbone is None else self.samples,
            context=self.config.context,
            context_keep=self.config.context_keep,
        )

    def inputs(self, batch: Inputs) -> dict[str, Sequences]:
        """As in `Method`, with the states of the sound's encoder in place of its samples."""
        if self.audio_backbone is not None and batch.waveform is not None:
            batch = replace(batch, audio=self.encode_audio(batch.waveform))
        return super().inputs(batch)

    def encode_audio(self, waveform: Waveform) -> Sequences:
        """Last hidden states (B, T, D) of the first `samples` of each clip, cut or padded to that many."""
        missing = self.samples - waveform.values.shape[1]
        mask = F.pad(waveform.mask & waveform.present[:, None], (0, missing))
        values = normalized_waveform(F.pad(waveform.values, (0, missing)), mask)
        frames = audio_frame_mask(self.audio_backbone, mask)
        present = frames.any(dim=1)
        # The encoder counts frames back from the end; a clip without one goes through as silence instead.
        heard = mask | ~present[:, None]
        states = self.audio_backbone(values.to(self.audio_backbone.dtype), attention_mask=heard.long())
        return Sequences(states.last_hidden_state, frames, present)

    def streams(self, inputs: dict[str, Sequences]) -> dict[str, Sequences]:
        """What is read, in the width d: (B, T, d) each, at least one step of each clip being real."""
        streams = {}
        for name, source in inputs.items():
            values = self.project[name](source.values)
            values = torch.where(source.present[:, None, None], values, self.null_token[name].to(values))
            streams[name] = Sequences(values, attended(source.mask), source.present)
        return streams

    def context_of(self, batch: Batch) -> Inputs:
        """The utterances before each clip.

        Raises
        ------
        MsaError : the batch has none, though the model reads some
        """
        if batch.context is None:
            raise MsaError(
                f"the model reads {self.config.context} utterances before each clip, but the batch has no "
                f"context; set context to 0 under models.{type(self).__name__.lower()} in params.yaml to do "
                "without"
            )
        return batch.context

    def target(self, batch: Batch, name: str) -> Tensor:
        """Label of a modality, (B,); the label of all together where it is not annotated [R]."""
        own: Tensor = getattr(batch, f"label_{name}")
        return torch.where(own.isfinite(), own, batch.label)


def normalized_waveform(samples: Tensor, mask: Tensor) -> Tensor:
    """Zero mean and unit variance over each clip's real samples, 0 elsewhere: (B, S), mask (B, S)."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    samples = full_precision(samples).masked_fill(~mask, 0.0)
    centred = (samples - samples.sum(dim=1, keepdim=True) / count).masked_fill(~mask, 0.0)
    return centred / (centred.square().sum(dim=1, keepdim=True) / count + 1e-7).sqrt()


def audio_frame_mask(backbone: nn.Module, mask: Tensor) -> Tensor:
    """(B, S) bool of samples, the real ones first -> (B, T) bool of the frames that an encoder makes of them.

    A clip with fewer samples than one frame covers (400 at the usual strides) has no real frame. The encoder
    itself wants at least as many samples, padding included.
    """
    model: Any = backbone
    whole = torch.tensor(mask.shape[1])  # on the CPU, so that no device is waited for
    width = max(int(model._get_feat_extract_output_lengths(whole)), 0)
    frames = model._get_feat_extract_output_lengths(mask.sum(dim=1))  # (B,), not above 0 for too short clips
    return torch.arange(width, device=mask.device) < frames[:, None]
