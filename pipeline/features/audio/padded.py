"""Padded batches of sound in which no frame sees the padding.

transformers masks the attention, which is not enough to give a clip in a batch the states that it has alone:
- HuBERT base, wav2vec 2.0 base and WavLM base normalise their first convolution over time. Here that is done
  over each clip's own time.
- Positional convolutions look beyond a clip's end, and data2vec-audio stacks five of them, with biases and
  norms that make something of the zeros there. Here what each of them is given is zero behind the end.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np


class PaddedBackbone:
    """A model that gives a clip in a padded batch the states that it gives the clip alone."""

    def __init__(self, backbone: Any):
        from torch import nn

        self._backbone = backbone
        self._lengths: list[int] = []  # samples of each clip of a padded batch; empty where nothing is padded
        for module in backbone.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(self._silence)
        first = backbone.feature_extractor.conv_layers[0]
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            self._kernel, self._stride = first.conv.kernel_size[0], first.conv.stride[0]
            self._norm = first.layer_norm.forward
            first.layer_norm.forward = self._over_own_time

    def to(self, device: str) -> PaddedBackbone:
        self._backbone.to(device)
        return self

    def __call__(self, sounds: list[np.ndarray], **options: Any) -> Any:
        """What transformers gives for sounds of any lengths; frames behind a sound's end mean nothing."""
        import torch

        weights = next(self._backbone.parameters())
        lengths = [len(sound) for sound in sounds]
        if len(set(lengths)) == 1:
            samples = torch.from_numpy(np.stack(sounds)).to(weights.device, weights.dtype)
            return self._backbone(samples, **options)
        padded = np.zeros((len(sounds), max(lengths)), np.float32)
        for row, sound in zip(padded, sounds, strict=True):
            row[: len(sound)] = sound
        samples = torch.from_numpy(padded).to(weights.device, weights.dtype)
        mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long().to(weights.device)
        frames = self._backbone._get_feat_extract_output_lengths(torch.tensor(lengths))
        real = torch.arange(int(frames.max())) < frames[:, None]
        self._real = real[:, None].to(weights.device)  # (batch, 1, frames)
        self._lengths = lengths
        try:
            with warnings.catch_warnings():  # of torch about how WavLM gives it its masks
                warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
                return self._backbone(samples, attention_mask=mask, **options)
        finally:
            self._lengths = []

    def _silence(self, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Zeros behind the end of what a positional convolution, (batch, dim, frames), is given."""
        return (inputs[0] * self._real, *inputs[1:]) if self._lengths else None

    def _over_own_time(self, values: Any) -> Any:
        """The first convolution's norm, (batch, channels, time), of each clip by itself."""
        import torch

        if not self._lengths:
            return self._norm(values)
        normed = torch.zeros_like(values)
        for row, length in enumerate(self._lengths):
            own = slice((length - self._kernel) // self._stride + 1)
            normed[row, :, own] = self._norm(values[row : row + 1, :, own])[0]
        return normed
