"""Pretrained models that hear words: Whisper for recognition, CTC heads for alignment.

As backbones.py does it: the folder that checkpoints.py finds, safetensors or `weights_only`, every parameter
from the file, no code of a repository, no question to a hub by transformers itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.core.backbones import _config, _first_line, _quiet
from models.core.checkpoints import Part, model_folder, pinned_revision
from pipeline.core.errors import FormatError, MissingModelError, ParamsError

if TYPE_CHECKING:
    from torch import nn

SAMPLE_RATE = 16_000  # Hz, of both kinds
HOP = 160  # samples between the mel frames of Whisper; its encoder halves them
PARTS: tuple[Part, ...] = ("config", "tokenizer", "weights")
GENERATION = "generation_config.json"
VOCABULARY = "vocab.json"
CTC_TYPES = ("data2vec-audio", "hubert", "wav2vec2", "wavlm")


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


@dataclass
class CtcModel:
    """An encoder of sound with a CTC head, in eval mode.

    Attributes
    ----------
    model : (1, samples) of zero mean and unit variance -> logits (1, frames, tokens)
    vocabulary : character (or longer piece) -> token
    blank : the token for "nothing new"
    delimiter : the token between words, None where the vocabulary has none
    stride : samples between frames
    """

    model: nn.Module
    vocabulary: dict[str, int]
    blank: int
    delimiter: int | None
    stride: int


def load_whisper(model: str, revision: str | None = None) -> Whisper:
    """A Whisper with its tokenizer.

    Parameters
    ----------
    model, revision : see models/core/checkpoints.py; config, tokenizer, weights and generation_config.json

    Raises
    ------
    ParamsError : another kind of model
    MissingModelError : files are missing
    FormatError : files that cannot be read, or that leave parameters without a value
    """
    from transformers import AutoTokenizer, GenerationConfig, WhisperFeatureExtractor
    from transformers import WhisperForConditionalGeneration as WhisperModel

    config = _config(model, revision)
    if config.model_type != "whisper":
        raise ParamsError(
            f"transcribe.asr.model is {model!r}, a model of type {config.model_type!r}; expected a Whisper, "
            "e.g. openai/whisper-small"
        )
    folder = model_folder(model, revision, PARTS)
    _generation_file(folder, model, revision)
    network = _loaded(WhisperModel, folder, model, config, attn_implementation="eager")
    with _quiet():
        try:
            generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # each library has its own
            raise FormatError(
                f"model {model!r}: the tokenizer or {GENERATION} in {folder} cannot be read: "
                f"{_first_line(error)}"
            ) from error
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


def load_ctc(model: str, revision: str | None = None) -> CtcModel:
    """A wav2vec 2.0, HuBERT, WavLM or data2vec-audio with its CTC head and vocabulary.

    Raises
    ------
    ParamsError : another kind of model
    MissingModelError, FormatError : see `load_whisper`; also weights without a CTC head
    """
    import numpy as np
    from transformers import AutoModelForCTC

    config = _config(model, revision)
    if config.model_type not in CTC_TYPES:
        raise ParamsError(
            f"transcribe.align.model is {model!r}, a model of type {config.model_type!r}; expected a CTC "
            f"model ({', '.join(CTC_TYPES)}), e.g. facebook/wav2vec2-base-960h"
        )
    config.mask_time_prob = config.mask_feature_prob = 0.0  # of training
    folder = model_folder(model, revision, PARTS)
    try:
        vocabulary = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        if not all(isinstance(token, int) for token in vocabulary.values()):
            raise ValueError("expected one mapping of characters to numbers")
    except (OSError, ValueError, AttributeError) as error:
        raise FormatError(
            f"model {model!r}: {folder / VOCABULARY} cannot be read: {_first_line(error)}"
        ) from error
    network = _loaded(AutoModelForCTC, folder, model, config)
    return CtcModel(
        network,
        vocabulary,
        blank=int(config.pad_token_id),
        delimiter=vocabulary.get("|", vocabulary.get(" ")),
        stride=int(np.prod(config.conv_stride)),
    )


def _generation_file(folder: Path, model: str, revision: str | None) -> None:
    """See that generation_config.json is there; of a hub id it is fetched beside the other files."""
    if (folder / GENERATION).is_file():
        return
    reason = "put it there"
    if pinned_revision(model, revision) is not None:
        from huggingface_hub import hf_hub_download

        try:
            hf_hub_download(model, GENERATION, revision=revision)
            return
        except Exception as error:  # the hub's client changes its errors by version
            reason = f"the hub gave: {_first_line(error)}; hf download {model} {GENERATION}"
    raise MissingModelError(
        f"model {model!r}: {GENERATION} missing in {folder}, which names its languages and the attention "
        f"heads that tell word times; {reason}"
    )


def _loaded(model_class: Any, folder: Path, model: str, config: Any, **options: Any) -> Any:
    """The model in eval mode and fp32; all its parameters are from the file."""
    import torch

    with _quiet():
        try:
            network, report = model_class.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                dtype=torch.float32,
                **options,
            )
        except Exception as error:  # safetensors, pickle, torch and transformers each have their own
            raise FormatError(
                f"model {model!r}: the weights in {folder} cannot be read: {_first_line(error)}. "
                "Fetch them again, as model.safetensors"
            ) from error
    if random := sorted(report["missing_keys"]):
        raise FormatError(
            f"model {model!r}: the weights in {folder} lack {', '.join(random[:3])}"
            f"{' ...' if len(random) > 3 else ''}, which would stay random. Take a model that was trained to "
            "write down speech, with the weights that belong to its config"
        )
    return network.eval()
