"""Last hidden states of a transformer, one row a token, special tokens included.

text > NFC > (lower case) > tokens > encoder > states (n_tokens, D), stored as float16.

The model is frozen: it sees one clip a forward, without padding, on one CPU thread, so that the bytes of
a row depend on the clip's text and on nothing else.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.backbones import (
    has_native_bf16,
    load_text_backbone,
    load_text_config,
    load_tokenizer,
    longest_input,
)
from models.checkpoints import model_identity
from pipeline.devices import check_presence
from pipeline.encoder_params import TransformerText
from pipeline.encoders import Clip, Encoded, Encoder
from pipeline.errors import AbsentError, ClipError, ParamsError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

    from models.backbones import Tokenizer

FLOAT16_MAX = 65504.0


class TransformerStates(Encoder):
    """Frozen text features of any encoder that transformers knows (kind `hf`)."""

    modality: ClassVar[str] = "text"
    VERSION: ClassVar[int] = 1
    LIBRARIES: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")

    params: TransformerText
    _backbone: nn.Module
    _tokenizer: Tokenizer

    @cached_property
    def _config(self) -> PretrainedConfig:
        return load_text_config(self.params.model, self.params.revision)

    @property
    def dim(self) -> int:
        width: int = self._config.hidden_size
        return width

    @property
    def column_names(self) -> list[str]:
        return [f"h_{column}" for column in range(self.dim)]

    @property
    def dtype(self) -> str:
        return "float16"

    @property
    def model_identity(self) -> str:
        return model_identity(self.params.model, self.params.revision)

    @property
    def provenance(self) -> dict[str, Any]:
        known = super().provenance  # its `model` is the identity; where a folder lies must not count
        params = known["params"].items()
        return {**known, "params": {key: value for key, value in params if key not in ("model", "revision")}}

    def load(self) -> None:
        """Bring weights and tokenizer into memory; on CPU the process then computes with one thread.

        Raises
        ------
        MissingModelError, MissingDependencyError, FormatError
        ParamsError : `max_length` is more than the model has positions for, or the device is not there
        """
        import torch

        longest = longest_input(self._config)
        if longest is not None and self.params.max_length > longest:
            raise ParamsError(
                f"text.{self.name}.max_length is {self.params.max_length}; "
                f"{self.params.model} takes at most {longest} tokens"
            )
        check_presence(self.device)
        if self.device == "cpu":
            torch.set_num_threads(1)  # sums in another order give other bytes
        if self.params.precision == "bf16" and not has_native_bf16(self.device.split(":")[0]):
            print(f"text.{self.name}: no bf16 of its own here: correct, but slow", file=sys.stderr)
        source = self.params.model, self.params.revision
        self._tokenizer = load_tokenizer(*source)
        self._backbone = load_text_backbone(*source, precision=self.params.precision).to(self.device)

    def encode(self, clip: Clip) -> Encoded:
        """States of one transcript; offsets count characters of its text in NFC.

        Raises
        ------
        AbsentError : no text, or nothing in it that the tokenizer keeps
        ClipError : the text is not valid Unicode, or the states are not finite
        """
        import torch

        text = unicodedata.normalize("NFC", clip.text or "")
        if not text.strip():
            raise AbsentError("no transcript; give one with --text or --text-file")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ClipError(f"the text is not valid Unicode ({error.reason}); save it as UTF-8") from error
        seen, origin = lower(text) if self.params.lowercase else (text, np.arange(len(text), dtype=np.int32))
        ids, char_start, char_end = self._tokenizer.with_offsets(seen, self.params.max_length)
        real = char_start >= 0
        if not real.any():
            raise AbsentError(
                "no transcript: its characters are all invisible; give one with --text or --text-file"
            )
        empty = char_start == char_end  # a lone space of byte-level vocabularies, or a special token
        origin = np.append(origin, len(text)).astype(np.int32)
        char_start[real] = origin[char_start[real]]
        char_end[real] = np.where(empty[real], char_start[real], origin[char_end[real] - 1] + 1)

        with torch.inference_mode():
            tokens = torch.from_numpy(ids).to(self.device, torch.int64)[None]  # (1, n_tokens)
            states = self._backbone(tokens, torch.ones_like(tokens)).last_hidden_state[0]  # (n_tokens, D)
        features = states.float().cpu().numpy()
        if not np.isfinite(features).all():
            raise ClipError(f"{self.params.model} gave states that are not finite")
        return Encoded(
            features=features.clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16),
            note=self._note(seen, len(ids)),
            token_ids=ids,
            char_start=char_start,
            char_end=char_end,
        )

    def _note(self, text: str, kept: int) -> str:
        if kept < self.params.max_length:
            return ""
        total = self._tokenizer.count(text)
        return f"cut to {kept} of {total} tokens" if total > kept else ""


def lower(text: str) -> tuple[str, np.ndarray]:
    """The text in lower case, and where each of its characters comes from.

    Returns
    -------
    lowered, origin : `origin[i]` (int32) is the index in `text` of the character that `lowered[i]` belongs
        to. They differ where one character becomes two: 'İ' is 'i' and a dot above.

    Examples
    --------
    >>> lower("İS")[1].tolist()
    [0, 0, 1]
    """
    lengths = [len(character.lower()) for character in text]  # context (final sigma) never changes a length
    return text.lower(), np.repeat(np.arange(len(text), dtype=np.int32), lengths)
