"""Pretrained encoders of text and of sound, and tokenizers."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.core.loading import (
    importing_models,
    load_config,
    load_fast_tokenizer,
    load_weights,
    quiet,
    without_compiler,
)
from pipeline.core.errors import FormatError, ParamsError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

AUDIO_TYPES = ("data2vec-audio", "hubert", "wav2vec2", "wavlm")


# ------------------------------------------------------------------------------------------------------- text
def load_text_config(model: str, revision: str | None = None) -> PretrainedConfig:
    """The configuration of a model; `hidden_size` is the width D of its states. Needs config.json only."""
    config = load_config(model, revision)
    if config.is_encoder_decoder:
        raise ParamsError(
            f"model {model!r} is an encoder-decoder; expected an encoder such as BERT or RoBERTa"
        )
    if config.model_type in AUDIO_TYPES:
        raise ParamsError(
            f"model {model!r} is an audio encoder ({config.model_type}); expected a text encoder such as BERT"
        )
    return config


def longest_input(config: PretrainedConfig) -> int | None:
    """Tokens, special ones included, that the model has positions for; None where it sets no limit."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return None
    return positions - first_position(config)


def first_position(config: PretrainedConfig) -> int:
    """Position of a text's first token: 0, or the one after that of padding."""
    after_padding = r"roberta|camembert|data2vec|longformer|mpnet"
    return config.pad_token_id + 1 if re.search(after_padding, config.model_type) else 0


def load_text_backbone(
    model: str,
    revision: str | None = None,
    *,
    pooler: bool = False,
    config_only: bool = False,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> nn.Module:
    """A transformers encoder in eval mode.

    `backbone(input_ids, attention_mask).last_hidden_state` is (batch, tokens, D).

    Parameters
    ----------
    model, revision : see models/core/checkpoints.py
    pooler : keep the pooling layer over the first token, where the architecture has one
    config_only : random weights of the config's shapes, for a model whose own weights follow; needs
        config.json only, and works under `torch.device("meta")`
    precision : of the weights in memory, whatever the file holds

    Raises
    ------
    MissingModelError, FormatError, MissingDependencyError : see `load_weights` and `importing_models`
    """
    import torch

    config = load_text_config(model, revision)
    takes_pooler = "add_pooling_layer" in inspect.signature(_model_class(config).__init__).parameters
    options: dict[str, Any] = {"add_pooling_layer": pooler} if takes_pooler else {}
    options["dtype"] = torch.bfloat16 if precision == "bf16" else torch.float32
    return _encoder(model, revision, config, options, config_only)


# ------------------------------------------------------------------------------------------------------ sound
def load_audio_backbone(model: str, revision: str | None = None, *, config_only: bool = False) -> nn.Module:
    """A transformers encoder of 16 kHz sound in eval mode, its convolutions frozen.

    `backbone(samples, attention_mask).last_hidden_state` is (batch, frames, D), of samples with zero mean and
    unit variance. What lies in masked samples changes no real frame of models whose convolutions are
    normalised over channels (data2vec-audio, the large ones); those that normalise over time (HuBERT base)
    see it. How much padding there is shows in both: pad alike.

    [D] SpecAugment and LayerDrop, which would hide spans and skip whole layers in training, are off: dropout
    is the only noise that the encoder adds to the method's own, as in the text encoders.

    Arguments and errors are those of `load_text_backbone`; also ParamsError for another type of model.
    """
    import torch

    config = load_config(model, revision)
    if config.model_type not in AUDIO_TYPES:
        raise ParamsError(
            f"audio_backbone is {model!r}, a model of type {config.model_type!r}; expected an audio "
            f"encoder ({', '.join(AUDIO_TYPES)}), e.g. facebook/data2vec-audio-base"
        )
    config.mask_time_prob = config.mask_feature_prob = 0.0  # the learned mask vector is then not built either
    config.layerdrop = 0.0
    backbone: Any = _encoder(model, revision, config, {"dtype": torch.float32}, config_only)
    backbone.feature_extractor._freeze_parameters()  # which also keeps training from going back through it
    return backbone


def _encoder(
    model: str, revision: str | None, config: PretrainedConfig, options: dict[str, Any], config_only: bool
) -> nn.Module:
    """The plain encoder of a config in eval mode; every parameter but a pooling layer's is from the file."""
    from transformers import AutoModel

    _model_class(config)
    if config_only:
        with without_compiler():
            backbone: nn.Module = AutoModel.from_config(config, **options)
        return backbone.eval()
    return load_weights(AutoModel, model, revision, config, optional="pooler.", **options)


def has_native_bf16(device_type: str) -> bool:
    """Whether `cpu` or `cuda` computes bfloat16 itself; elsewhere it is correct, but slow."""
    import torch

    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _model_class(config: PretrainedConfig) -> Any:
    with importing_models():
        from transformers.models.auto.modeling_auto import MODEL_MAPPING

        if type(config) in MODEL_MAPPING:
            return MODEL_MAPPING[type(config)]
    raise ParamsError(f"transformers has no plain encoder for model type {config.model_type!r}")


class Tokenizer:
    """Text to token ids, special tokens included, cut to a length and never padded."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self.separator: str = tokenizer.sep_token or tokenizer.eos_token or ""

    def encode(
        self, texts: list[str], max_length: int, keep: Literal["first", "last"] = "first"
    ) -> list[np.ndarray]:
        """Token ids of each text (valid Unicode), special ones included: (n_tokens,) int64 each.

        Of a text of more than `max_length` tokens one end is kept, between the special tokens.
        """
        if not texts:
            return []
        self._tokenizer.truncation_side = "right" if keep == "first" else "left"
        tokens = self._tokenizer(
            texts, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
        )
        self._tokenizer.truncation_side = "right"
        return [np.asarray(ids, dtype=np.int64) for ids in tokens["input_ids"]]

    def decode(self, ids: np.ndarray) -> str:
        """The text of token ids (n_tokens,), special ones around it included, cut anywhere, even in a word.

        Raises
        ------
        FormatError : they are of another vocabulary: the text would not give these ids again, the last word
            aside
        """
        tokenizer = self._tokenizer
        unknown = {tokenizer.unk_token_id}  # an unknown word is part of the text
        around = set(tokenizer.all_special_ids) - unknown
        inner = [token for token in ids.tolist() if token not in around]
        again = np.zeros(0, np.int64)
        if ids.size and ids.min() >= 0 and ids.max() < len(tokenizer):
            text: str = tokenizer.decode(inner, skip_special_tokens=False)
            encoded = tokenizer(text, truncation=False, padding=False)
            again = np.asarray(encoded["input_ids"], dtype=np.int64)
            words = [-1 if word is None else word for word in encoded.word_ids()]
            certain = words.index(max(words))  # tokens before the last word, which may be a half
            if np.array_equal(again, ids) or (certain > 1 and np.array_equal(again[:certain], ids[:certain])):
                return text
        raise FormatError(
            f"token ids {ids[:8].tolist()}... are not from this encoder's vocabulary (its own would be "
            f"{again[:8].tolist()}...); fine-tune the encoder they were made for"
        )

    def with_offsets(self, text: str, max_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids of one text, and the characters that each token stands for.

        Returns
        -------
        ids, char_start, char_end : shape (n_tokens,), int32; `text[char_start:char_end]` is the token's
            surface; -1 for special tokens that the tokenizer added. Starts never decrease; the bytes of one
            character (byte-level vocabularies) share its offsets.
        """
        wanted = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
        tokens = self._tokenizer(text, truncation=True, max_length=max_length, padding=False, **wanted)
        spans = np.asarray(tokens["offset_mapping"], dtype=np.int32).reshape(-1, 2)
        spans[np.asarray(tokens["special_tokens_mask"], dtype=bool)] = -1
        return np.asarray(tokens["input_ids"], dtype=np.int32), spans[:, 0].copy(), spans[:, 1].copy()

    def count(self, text: str) -> int:
        """Tokens of the uncut text, special ones included."""
        with quiet():
            return len(self._tokenizer(text, truncation=False, padding=False)["input_ids"])


def load_tokenizer(model: str, revision: str | None = None) -> Tokenizer:
    """The fast tokenizer that belongs to a model; errors as `load_fast_tokenizer` has them."""
    return Tokenizer(load_fast_tokenizer(model, revision))
