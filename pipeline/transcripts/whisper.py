"""Whisper: its weights, tokenizer and mel spectrograms, and greedy decoding.

No token of time may be said: the times of words come from cross-attention (recognition.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.core.loading import (
    importing_models,
    load_config,
    load_fast_tokenizer,
    load_generation,
    load_weights,
    quiet,
)
from pipeline.core.errors import ClipError, ParamsError, first_line
from pipeline.core.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

HOP = 160  # samples between the mel frames; the encoder halves them


@dataclass
class Whisper:
    """A Whisper in eval mode and what belongs to it.

    Attributes
    ----------
    model : attention in plain (eager) form, so that cross-attention can be seen
    tokenizer : `decode(ids)` gives text
    features : mel spectrograms of 16 kHz sound, padded to `window` samples
    window : samples that the model hears at once (30 s)
    end : the end-of-text token; text tokens are the ids below it
    languages : ISO 639-1 code -> language token; empty for a model of English alone
    heads : (layer, head) whose cross-attention follows the sound
    """

    model: Any
    tokenizer: Any
    features: Any
    window: int
    end: int
    languages: dict[str, int]
    heads: list[tuple[int, int]]


def load_whisper(model: str, revision: str | None = None) -> Whisper:
    """A Whisper (models/core/checkpoints.py says what `model` may be) with its tokenizer.

    Its generation_config.json names the languages and the attention heads that tell word times. ParamsError
    where it is another kind of model; else errors as `load_weights` has them.
    """
    import torch

    config: Any = load_config(model, revision)
    if config.model_type != "whisper":
        raise ParamsError(
            f"transcribe.asr.model is {model!r}, a model of type {config.model_type!r}; expected a Whisper, "
            "e.g. openai/whisper-small"
        )
    generation: Any = load_generation(model, revision)
    tokenizer = load_fast_tokenizer(model, revision)
    with importing_models():
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
    network: Any = load_weights(
        WhisperForConditionalGeneration,
        model,
        revision,
        config,
        dtype=torch.float32,
        attn_implementation="eager",
    )
    end = int(
        generation.eos_token_id[0] if isinstance(generation.eos_token_id, list) else generation.eos_token_id
    )
    # Every id above the end of text is special. Times come from attention, so no time token may be said:
    # generate() would take one for the end of a stretch and go on behind it.
    special = range(end + 1, config.vocab_size)
    generation.suppress_tokens = sorted({*(generation.suppress_tokens or []), *special} - {end})
    network.generation_config = generation
    seconds = config.max_source_positions * 2 * HOP // SAMPLE_RATE
    layers, each = range(config.decoder_layers // 2, config.decoder_layers), config.decoder_attention_heads
    usual = [(layer, head) for layer in layers for head in range(each)]  # as OpenAI where none are named
    many = getattr(generation, "is_multilingual", True)
    known = getattr(generation, "lang_to_id", {}) if many else {}
    return Whisper(
        network,
        tokenizer,
        WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds),
        seconds * SAMPLE_RATE,
        end,
        {name.strip("<|>"): int(token) for name, token in known.items()},
        [(int(layer), int(head)) for layer, head in getattr(generation, "alignment_heads", None) or usual],
    )


def generate(whisper: Whisper, encoded: Any, options: dict[str, Any]) -> torch.Tensor:
    """Token ids of the greedy decoding, the prompt and all special ones included; shape (n,)."""
    with quiet():  # it warns of its own defaults
        try:
            ids: torch.Tensor = whisper.model.generate(
                encoder_outputs=encoded,
                return_timestamps=False,
                temperature=0.0,
                num_beams=1,
                max_new_tokens=whisper.model.config.max_target_positions // 2,
                **options,
            )
        except (ValueError, RuntimeError) as error:
            raise ClipError(f"the recognizer failed: {first_line(error)}") from error
    return ids[0]
