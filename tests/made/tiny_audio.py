"""Tiny random checkpoints of all kinds of encoders of sound, and what transformers makes of a sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    Data2VecAudioConfig,
    HubertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
)

from pipeline.features.audio.hf_audio import AudioStates
from pipeline.features.encoder import Encoded
from pipeline.params.encoders import TransformerAudio
from pipeline.params.params import MediaLimits

RATE = 16_000
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 2,
    "initializer_range": 0.3,  # at the usual 0.02 so small a model hardly tells sounds apart
    "layerdrop": 0.5,
    "mask_time_prob": 0.3,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "hubert": lambda: HubertConfig(**SIZES, num_conv_pos_embeddings=16),
    "hubert_layer": lambda: HubertConfig(
        **SIZES, num_conv_pos_embeddings=16, feat_extract_norm="layer", do_stable_layer_norm=True
    ),
    "data2vec": lambda: Data2VecAudioConfig(**SIZES, num_conv_pos_embeddings=5),
    "wav2vec2": lambda: Wav2Vec2Config(**SIZES, num_conv_pos_embeddings=15, vocab_size=8),
    "wavlm": lambda: WavLMConfig(**SIZES, num_conv_pos_embeddings=16),
}
NORMALISED = {"hubert": True, "hubert_layer": True, "data2vec": True, "wav2vec2": True, "wavlm": False}


def save_all(root: Path) -> dict[str, Path]:
    """Folders of one checkpoint of each kind, with the file that says whether its sound is normalised."""
    for seed, (name, config) in enumerate(CONFIGS.items()):
        torch.manual_seed(seed)
        AutoModel.from_config(config()).save_pretrained(root / name)
        Wav2Vec2FeatureExtractor(do_normalize=NORMALISED[name]).save_pretrained(root / name)
    return {name: root / name for name in CONFIGS}


def loaded(folder: Path, **options: Any) -> AudioStates:
    encoder = AudioStates("mine", TransformerAudio(model=str(folder), **options), MediaLimits())
    encoder.load()
    return encoder


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.02, 0.1, samples).astype(np.float32)


def features(encoder: AudioStates, *sounds: np.ndarray) -> list[np.ndarray]:
    """Of sounds in one call of `infer`."""
    outcomes = encoder.infer([encoder.prepare_sound(sound, encoder.sources[0]) for sound in sounds])
    found = [outcome.features for outcome in outcomes if isinstance(outcome, Encoded)]
    assert len(found) == len(sounds)
    return found


def by_hand(folder: Path, sound: np.ndarray) -> list[np.ndarray]:
    """All states of a sound, each (frames, D), from transformers alone."""
    inputs = AutoFeatureExtractor.from_pretrained(folder)(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        model = AutoModel.from_pretrained(folder).eval()
        output = model(inputs.input_values, output_hidden_states=True)
    return [state[0].numpy() for state in (*output.hidden_states[:-1], output.last_hidden_state)]
