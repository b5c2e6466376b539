"""Small SLaD models with tiny encoders, and batches that have sound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_models import tiny_bert
from torch import nn
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
)

from models.core.batch import Batch, Waveform
from models.core.method import REGRESSION, Task
from models.slad.model import SLaD
from models.slad.settings import SLaDSettings

TINY: dict[str, Any] = {
    "context": 0,
    "aligned_steps": 5,
    "width": 16,
    "fusion_layers": 1,
    "heads": 2,
    "feedforward": 16,
}
SECONDS = 0.02  # of sound: 320 samples, 79 frames of the tiny encoder


def tiny(
    seed: int = 0, dims: dict[str, int] | None = None, task: Task = REGRESSION, **settings: object
) -> SLaD:
    """A small model in training mode, without dropout unless asked."""
    torch.manual_seed(seed)
    config = SLaDSettings(**{"dropout": 0.0, **TINY, **settings})
    return SLaD(config, DIMS if dims is None else dims, task)


def tiny_sound_encoder(kind: str = "data2vec") -> nn.Module:
    """A frame of 8 samples every 4, 16 wide, no noise in training, its convolutions frozen as by the loader.

    `hubert` normalises its first convolution over time, `data2vec` every one over channels.
    """
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8, 8),
        "conv_stride": (2, 2),
        "conv_kernel": (4, 3),
        "num_conv_pos_embeddings": 2,
        "num_conv_pos_embedding_groups": 2,
        "mask_time_prob": 0.0,
        "layerdrop": 0.0,
    } | dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
    backbone: Any
    if kind == "hubert":
        backbone = HubertModel(HubertConfig(**sizes))
    else:
        backbone = Data2VecAudioModel(Data2VecAudioConfig(conv_pos_kernel_size=3, **sizes))
    backbone.feature_extractor._freeze_parameters()
    return backbone


def tiny_finetuned(task: Task = REGRESSION, **settings: object) -> SLaD:
    """The same with a BERT of 40 words and no dropout."""
    torch.manual_seed(0)
    config = SLaDSettings(text="finetune", **{"dropout": 0.0, **TINY, **settings})
    return SLaD(config, DIMS, task, {"text": tiny_bert(hidden_size=16)})


def tiny_sounding(kind: str = "data2vec", task: Task = REGRESSION, **settings: object) -> SLaD:
    """The same with both encoders learning."""
    torch.manual_seed(0)
    settings = {"dropout": 0.0, "waveform_seconds": SECONDS, **TINY, **settings}
    config = SLaDSettings(text="finetune", audio="finetune", **settings)
    return SLaD(config, {}, task, {"text": tiny_bert(hidden_size=16), "audio": tiny_sound_encoder(kind)})


def waveform(
    lengths: list[int], *, seed: int = 0, width: int | None = None, dtype: torch.dtype = torch.float32
) -> Waveform:
    """Noise of these numbers of samples; 0 = no sound."""
    generator = np.random.default_rng(seed)
    count = torch.tensor(lengths)
    width = max(1, *lengths) if width is None else width
    mask = torch.arange(width) < count[:, None]
    values = torch.from_numpy(generator.uniform(-0.5, 0.7, (len(lengths), width))).to(dtype)
    return Waveform(values * mask, mask, count > 0)


def sounding_batch(lengths: list[int], *, context: bool = False, dtype: torch.dtype = torch.float32) -> Batch:
    """A random batch of token ids and waveforms of these lengths, and the same before it, not for clip 0."""
    batch = random_batch(len(lengths), vocabulary=40, context=context, dtype=dtype)
    before = batch.context
    if before is not None:
        before = replace(before, audio=None, waveform=waveform([0, *lengths[1:]], seed=1, dtype=dtype))
    return replace(batch, audio=None, waveform=waveform(lengths, dtype=dtype), context=before)


def annotated(batch: Batch, text: list[float], audio: list[float]) -> Batch:
    """The batch with a label for each clip's text and sound."""
    text, audio = (torch.tensor(values, dtype=batch.label.dtype) for values in (text, audio))
    return replace(batch, label_text=text, label_audio=audio)
