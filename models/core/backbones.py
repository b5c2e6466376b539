"""Pretrained encoders of text and of sound, and tokenizers. The only place that calls `from_pretrained`.

`from_pretrained` is always given the folder that checkpoints.py finds (which says what a `model` may be), so
transformers itself never asks a hub. Weights are safetensors or are read with `weights_only`, every parameter
must get its value from them, and code that a repository brings along is never run.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.core.checkpoints import CONFIG, model_folder, model_identity
from pipeline.core.errors import FormatError, MissingDependencyError, ParamsError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig

__all__ = [
    "Tokenizer",
    "audio_frame_mask",
    "load_audio_backbone",
    "load_text_backbone",
    "load_text_config",
    "load_tokenizer",
    "longest_input",
    "model_identity",
]

AUDIO_TYPES = ("data2vec-audio", "hubert", "wav2vec2", "wavlm")

_log = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------------------------- text
def load_text_config(model: str, revision: str | None = None) -> PretrainedConfig:
    """The configuration of a model; `hidden_size` is the width D of its states. Needs config.json only."""
    config = _config(model, revision)
    if config.is_encoder_decoder:
        raise ParamsError(
            f"model {model!r} is an encoder-decoder; expected an encoder such as BERT or RoBERTa"
        )
    if config.model_type in AUDIO_TYPES:
        raise ParamsError(
            f"model {model!r} is an encoder of sound ({config.model_type}); expected one of text like BERT"
        )
    return config


def longest_input(config: PretrainedConfig) -> int | None:
    """Tokens, special ones included, that the model has positions for; None where it sets no limit."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return None
    counts_from_padding = r"roberta|camembert|data2vec|longformer|mpnet"  # first position: pad_token_id + 1
    offset = config.pad_token_id + 1 if re.search(counts_from_padding, config.model_type) else 0
    return positions - offset


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
    MissingModelError : files are missing
    FormatError : the weights cannot be read, or leave parameters of the model without a value
    MissingDependencyError : transformers cannot import its model classes
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
    unit variance; `audio_frame_mask` tells which frames are real. What lies in masked samples changes no real
    frame of models whose convolutions are normalised over channels (data2vec-audio, the large ones); those
    that normalise over time (HuBERT base) see it. How much padding there is shows in both: pad alike.

    [D] SpecAugment and LayerDrop, which would hide spans and skip whole layers in training, are off: dropout
    is the only noise that the encoder adds to the method's own, as in the text encoders.

    Parameters
    ----------
    model, revision : as for text, without a tokenizer; of type data2vec-audio, hubert, wav2vec2 or wavlm
    config_only : see `load_text_backbone`

    Raises
    ------
    ParamsError : not an encoder of sound
    MissingModelError, FormatError, MissingDependencyError : see `load_text_backbone`
    """
    import torch

    config = _config(model, revision)
    if config.model_type not in AUDIO_TYPES:
        raise ParamsError(
            f"audio_backbone is {model!r}, a model of type {config.model_type!r}; expected an encoder of "
            f"sound ({', '.join(AUDIO_TYPES)}), e.g. facebook/data2vec-audio-base"
        )
    config.mask_time_prob = config.mask_feature_prob = 0.0  # the learned mask vector is then not built either
    config.layerdrop = 0.0
    backbone: Any = _encoder(model, revision, config, {"dtype": torch.float32}, config_only)
    backbone.feature_extractor._freeze_parameters()  # which also keeps training from going back through it
    return backbone


def audio_frame_mask(backbone: nn.Module, mask: Tensor) -> Tensor:
    """(B, S) bool of samples, the real ones first -> (B, T) bool of the frames that an encoder makes of them.

    A clip with fewer samples than one frame covers (400 at the usual strides) has no real frame. The encoder
    itself wants at least as many samples, padding included.
    """
    import torch

    model: Any = backbone
    whole = torch.tensor(mask.shape[1])  # on the CPU, so that no device is waited for
    width = max(int(model._get_feat_extract_output_lengths(whole)), 0)
    frames = model._get_feat_extract_output_lengths(mask.sum(dim=1))  # (B,), not above 0 for too short clips
    return torch.arange(width, device=mask.device) < frames[:, None]


# ---------------------------------------------------------------------------------------------------- loading
def _config(model: str, revision: str | None) -> PretrainedConfig:
    from transformers import AutoConfig

    folder = model_folder(model, revision, ("config",))
    with _quiet():
        try:
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise FormatError(
                f"model {model!r}: {folder / CONFIG[0]} is not the config of a model type that the installed "
                f"transformers knows (code from a repository is never run): {_first_line(error)}"
            ) from error


def _encoder(
    model: str, revision: str | None, config: PretrainedConfig, options: dict[str, Any], config_only: bool
) -> nn.Module:
    """The plain encoder of a config in eval mode; every parameter but a pooling layer's is from the file."""
    from transformers import AutoModel

    model_class = _model_class(config)
    if config_only:
        backbone: nn.Module = AutoModel.from_config(config, **options)
        return backbone.eval()
    folder = model_folder(model, revision, ("config", "weights"))
    with _quiet():
        try:
            backbone, report = AutoModel.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # safetensors, pickle, torch and transformers each have their own
            reason = "its shapes are not the config's" if "mismatched" in str(error) else _first_line(error)
            raise FormatError(
                f"model {model!r}: the weights in {folder} cannot be read as {model_class.__name__}: "
                f"{reason}. Fetch them again, as model.safetensors"
            ) from error
    random = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if random:
        raise FormatError(
            f"model {model!r}: the weights in {folder} lack {len(random)} parameters of "
            f"{model_class.__name__}, which would stay random ({', '.join(random[:3])} ...). "
            "Take the weights that belong to the config"
        )
    if len(random) < len(report["missing_keys"]):
        _log.warning("model %r has no weights for its pooling layer, which starts at random values", model)
    return backbone.eval()


def has_native_bf16(device_type: str) -> bool:
    """Whether `cpu` or `cuda` computes bfloat16 itself; elsewhere it is correct, but slow."""
    import torch

    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _model_class(config: PretrainedConfig) -> Any:
    try:
        from transformers.models.auto.modeling_auto import MODEL_MAPPING

        return MODEL_MAPPING[type(config)]
    except KeyError as error:
        raise ParamsError(
            f"transformers has no plain encoder for model type {config.model_type!r}"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        # transformers imports both whenever they are there, and their CUDA builds break beside a CPU torch
        raise MissingDependencyError(
            f"transformers cannot import its models: {_first_line(error.__cause__ or error)}. Most often a "
            "torchaudio or torchvision is installed that does not fit this torch: "
            "pip uninstall torchaudio torchvision, or install the builds that belong to it"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and reports from transformers: what matters of them is checked here."""
    from transformers.utils import logging as noise

    verbosity, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity(logging.CRITICAL)
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(verbosity)
        if bars:
            noise.enable_progress_bar()


# ---------------------------------------------------------------------------------------------- the tokenizer
class Tokenizer:
    """Text to token ids, special tokens included, cut to a length and never padded."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self.separator: str = tokenizer.sep_token or tokenizer.eos_token or ""

    def encode(
        self, texts: list[str], max_length: int, keep: Literal["first", "last"] = "first"
    ) -> list[np.ndarray]:
        """Token ids of each text.

        Parameters
        ----------
        texts : valid Unicode
        max_length : tokens, special ones included; what is longer is cut, between the special tokens
        keep : which end of the text stays then

        Returns
        -------
        one array a text, shape (n_tokens,), int64
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
        """The text that these token ids (special ones around it included) stand for.

        Parameters
        ----------
        ids : shape (n_tokens,), unpadded; they may have been cut anywhere, even within a word

        Raises
        ------
        FormatError : they are of another vocabulary: the text would not give these ids again, the last word
            aside
        """
        tokenizer = self._tokenizer
        around = set(tokenizer.all_special_ids) - {
            tokenizer.unk_token_id
        }  # an unknown word is part of the text
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
            f"token ids {ids[:8].tolist()}... are not of this encoder's vocabulary (its own would be "
            f"{again[:8].tolist()}...); fine-tune the encoder that they were made for"
        )

    def with_offsets(self, text: str, max_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids of one text, and the characters that each token stands for.

        Returns
        -------
        ids, char_start, char_end : shape (n_tokens,), int32; `text[char_start:char_end]` is the token's
            surface; -1 for special tokens that the tokenizer added. Starts never decrease; the bytes of one
            character (byte-level vocabularies) share its offsets.
        """
        tokens = self._tokenizer(
            text,
            truncation=True,
            max_length=max_length,
            padding=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        spans = np.asarray(tokens["offset_mapping"], dtype=np.int32).reshape(-1, 2)
        spans[np.asarray(tokens["special_tokens_mask"], dtype=bool)] = -1
        return np.asarray(tokens["input_ids"], dtype=np.int32), spans[:, 0].copy(), spans[:, 1].copy()

    def count(self, text: str) -> int:
        """Tokens of the uncut text, special ones included."""
        with _quiet():
            return len(self._tokenizer(text, truncation=False, padding=False)["input_ids"])


def load_tokenizer(model: str, revision: str | None = None) -> Tokenizer:
    """The fast tokenizer that belongs to a model.

    Raises
    ------
    MissingModelError : files are missing
    FormatError : the files are not those of a fast tokenizer
    """
    from transformers import AutoTokenizer

    folder = model_folder(model, revision, ("config", "tokenizer"))
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # transformers, tokenizers and sentencepiece each have their own
            raise FormatError(
                f"model {model!r}: the tokenizer's files in {folder} cannot be read: {_first_line(error)}"
            ) from error
    if not tokenizer.is_fast:
        raise FormatError(
            f"model {model!r}: {type(tokenizer).__name__} gives no character offsets; "
            "the folder needs a tokenizer.json"
        )
    return Tokenizer(tokenizer)
