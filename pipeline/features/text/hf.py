"""Hidden states of a transformer of text, one row a token (special tokens included) or a word.

An encoder such as BERT, or a decoder-only model (GPT-2, Llama, Qwen), whose tokens know those before them
alone: of these `pool: last` takes the one that has read the whole text.

text > NFC > (lower case) > tokens > encoder > mean of `layers` > (mean of each word's tokens), as float16.

The clip's language chooses the checkpoint, where there are several. The model is frozen. On CPU it sees one
clip a forward, without padding, on one thread, so that the bytes of a row depend on the clip's text and on
nothing else; several clips at once are padded and masked.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.core.backbones import load_text_backbone, load_text_config, load_tokenizer, longest_input
from models.core.checkpoints import Part
from pipeline.core.errors import AbsentError, ClipError, ParamsError
from pipeline.execution.gpu import Prepared
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.pretrained import PretrainedStates, stored
from pipeline.params.encoders import Source, TransformerText

if TYPE_CHECKING:
    from models.core.backbones import Tokenizer


@dataclass(frozen=True, eq=False)
class PreparedText:
    """A transcript made ready for its checkpoint.

    Attributes
    ----------
    ids, char_start, char_end : shape (n_tokens,), int32; see `Encoded`
    words : shape (n_words, 2), each word's first token and the one after its last; None: rows are tokens
    note : what was cut
    """

    source: Source
    ids: np.ndarray
    char_start: np.ndarray
    char_end: np.ndarray
    words: np.ndarray | None
    note: str


class TransformerStates(PretrainedStates):
    """Frozen text features of any encoder that transformers knows (kind `hf`).

    With `unit: word` a row is the mean of the states of a word's tokens; a word is what the tokenizer's own
    pre-tokenizer cuts (punctuation is a word; each character of Chinese in BERT's vocabularies, but a whole
    clause in sentencepiece's). Special tokens and lone blanks have no row, `token_ids` are those of each
    word's first token, and of a word that the cut divides the tokens before it count.
    """

    modality = "text"
    LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")
    PARTS: ClassVar[tuple[Part, ...]] = ("config", "tokenizer", "weights")

    params: TransformerText

    def read_config(self, source: Source) -> Any:
        config = load_text_config(*source)
        if not hasattr(config, "hidden_size"):
            raise ParamsError(
                f"{self.key}.model: {source[0]} is of type {config.model_type!r}, which is made of several "
                "models; expected one of text alone, e.g. google-bert/bert-base-uncased or Qwen/Qwen3-0.6B"
            )
        longest = longest_input(config)
        if longest is not None and self.params.max_length > longest:
            raise ParamsError(
                f"{self.key}.max_length is {self.params.max_length}; "
                f"{source[0]} takes at most {longest} tokens"
            )
        return config

    def read_backbone(self, source: Source) -> Any:
        backbone: Any = load_text_backbone(*source, precision=self.params.precision)
        backbone.config.use_cache = False  # of keys and values, for text that is generated
        return backbone

    def load_preparer(self) -> None:
        """Bring the tokenizer into memory; of several checkpoints each when a clip needs it."""
        _ = self.configs
        self._tokenizer = cache(load_tokenizer)
        if len(self.sources) == 1:
            self._tokenizer(*self.sources[0])

    def prepare(self, clip: Clip) -> Prepared:
        """Tokens of one transcript; offsets count characters of its text in NFC.

        AbsentError where the tokenizer keeps nothing of it, ClipError also where it is not valid Unicode.
        """
        text = unicodedata.normalize("NFC", clip.text or "")
        if not text.strip():
            raise AbsentError("no transcript; give one with --text or --text-file")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ClipError(f"the text is not valid Unicode ({error.reason}); save it as UTF-8") from error
        source = self.source(clip)
        tokenizer = self._tokenizer(*source)
        seen, origin = lower(text) if self.params.lowercase else (text, np.arange(len(text), dtype=np.int32))
        ids, char_start, char_end = tokenizer.with_offsets(seen, self.params.max_length)
        real = char_start >= 0
        words = self._words(tokenizer, seen, char_start, char_end) if self.params.unit == "word" else None
        if not real.any() or (words is not None and not len(words)):
            raise AbsentError(
                "no transcript: its characters are all invisible; give one with --text or --text-file"
            )
        origin = np.append(origin, len(text)).astype(np.int32)
        blank = char_start == char_end  # a lone space of byte-level vocabularies, or a special token
        char_start[real] = origin[char_start[real]]
        char_end[real] = np.where(blank[real], char_start[real], origin[char_end[real] - 1] + 1)
        total = tokenizer.count(seen) if len(ids) == self.params.max_length else 0
        note = f"cut to {len(ids)} of {total} tokens" if total > len(ids) else ""
        return Prepared(PreparedText(source, ids, char_start, char_end, words, note), len(ids))

    def _words(self, tokenizer: Tokenizer, text: str, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Shape (n_words, 2), int64: each word's first token, and the one after its last."""
        cut = {"truncation": True, "max_length": self.params.max_length}
        spans: dict[int, list[int]] = {}
        for token, word in enumerate(tokenizer._tokenizer(text, **cut).word_ids()):
            if word is not None:
                spans.setdefault(word, [token, token])[1] = token + 1
        kept = [(first, stop) for first, stop in spans.values() if text[start[first] : end[stop - 1]].strip()]
        return np.array(kept, dtype=np.int64).reshape(-1, 2)

    def states(self, source: Source, contents: list[PreparedText]) -> list[np.ndarray]:
        """States of transcripts in one forward, each (n_tokens, dim), float32."""
        import torch

        lengths = [len(content.ids) for content in contents]
        tokens = np.full((len(lengths), max(lengths)), self._tokenizer(*source).pad_id, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, content in enumerate(contents):
            tokens[row, : lengths[row]], mask[row, : lengths[row]] = content.ids, 1
        ids, attention = (torch.from_numpy(each).to(self.device) for each in (tokens, mask))
        states = self.forward(source, ids, attention_mask=attention)
        return [states[row, :length] for row, length in enumerate(lengths)]

    def encoded(self, tokens: PreparedText, states: np.ndarray) -> Encoded:
        ids, char_start, char_end = tokens.ids, tokens.char_start, tokens.char_end
        if tokens.words is not None:
            states = np.stack([states[first:end].mean(axis=0) for first, end in tokens.words])
            first, last = tokens.words[:, 0], tokens.words[:, 1] - 1
            ids, char_start, char_end = ids[first], char_start[first], char_end[last]
        return Encoded(stored(states), None, tokens.note, ids, char_start, char_end)


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
