"""A text encoder that learns, with its words changed on their way through its layers.

    token ids ─embedding, layers up to `after`─▶ words ─change─▶ other layers ─▶ one vector a clip

Shapes: B clips, T tokens, R rows (models/core/packing.py), W width of a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Tokens
from models.core.blocks import changed_output, mean_over_time
from models.core.packing import TextRows, text_rows
from pipeline.core.errors import ParamsError


class InjectedEncoder(nn.Module):
    """How the encoder is run; the method holds its weights, and gives it to every call.

    Parameters
    ----------
    backbone : a transformers model, to be checked
    no_words : ids that the tokenizer makes of an empty text
    after : the layer after which words are changed; 0 = the embedding
    pool : of the last states; cls = the encoder's own pooler
    name, section : the encoder's, and where its method's settings are, for messages

    Raises
    ------
    ParamsError : the encoder has no such place, or no pooler
    """

    no_words: Tensor

    def __init__(
        self,
        backbone: Any,
        no_words: list[int],
        *,
        after: int,
        pool: Literal["mean", "cls"],
        name: str,
        section: str,
    ):
        super().__init__()
        self.after, self.pool = after, pool
        self.register_buffer("no_words", torch.tensor(no_words, dtype=torch.int64), persistent=False)
        encoder = f"the text encoder {name!r}"
        check_layer(after, backbone.config.num_hidden_layers, f"the layers of {encoder} are", section)
        try:
            self.place(backbone)
        except AttributeError as error:
            raise ParamsError(
                f"{encoder} is not built like BERT and RoBERTa, where words are shifted after `embeddings` "
                f"or after one of `encoder.layer` ({error}); choose another {section}.text_backbone"
            ) from error
        if pool == "cls" and getattr(backbone, "pooler", None) is None:
            raise ParamsError(f"{section}.pool is cls, but {encoder} has no pooler; set it to mean")

    def forward(
        self, ids: Tensor, mask: Tensor, backbone: Any, change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """One vector a clip (B, W), and the embedded tokens (B, T, W) before any change.

        ids, mask : as `token_inputs` gives them
        change : words (B, T, W) -> the same shape and type; anything where masked
        """
        embedded: list[Tensor] = []
        rows = self.rows(backbone, ids, mask)

        def keep(words: Tensor) -> Tensor:
            embedded.append(rows.unpack(words))
            return words

        def change_rows(words: Tensor) -> Tensor:
            return rows.pack(change(rows.unpack(words)))

        with (
            changed_output(backbone.embeddings, keep),
            changed_output(self.place(backbone), change_rows),
        ):
            return self.pooled(backbone, rows, mask), embedded[0]

    def token_inputs(self, text: Tokens, backbone: Any) -> tuple[Tensor, Tensor]:
        """Ids and mask, (B, T) each; a clip without text says what the tokenizer makes of no words."""
        number, given = len(self.no_words), text.ids.shape[1]
        width, padding = max(number, given), backbone.config.pad_token_id or 0
        nothing = F.pad(self.no_words, (0, width - number), value=padding)
        ids = F.pad(text.ids, (0, width - given), value=padding)
        few = torch.arange(width, device=ids.device) < number
        known = text.present[:, None]
        return torch.where(known, ids, nothing), torch.where(known, F.pad(text.mask, (0, width - given)), few)

    def rows(self, backbone: Any, ids: Tensor, mask: Tensor) -> TextRows:
        """How a text encoder reads (B, T) each; a pooler looks at the first token of a row."""
        if self.pool == "cls":
            return TextRows(ids, mask)
        return text_rows(backbone.config, ids, mask, self.training)

    def pooled(self, backbone: Any, rows: TextRows, mask: Tensor) -> Tensor:
        """One vector of a text encoder's last states, (B, W)."""
        result = backbone(**rows.inputs)
        if self.pool == "mean":
            return mean_over_time(rows.unpack(result.last_hidden_state), mask)
        vector: Tensor = result.pooler_output
        return vector

    def place(self, backbone: Any) -> nn.Module:
        """The part of a text encoder whose output is changed: layer `after`, or the embedding."""
        part: nn.Module = backbone.encoder.layer[self.after - 1] if self.after else backbone.embeddings
        return part


def check_layer(after: int, number: int, whose: str, section: str) -> None:
    """ParamsError where words cannot be changed after this layer of `number`."""
    if after >= number:
        raise ParamsError(
            f"{section}.inject_layer is {after}, but {whose} {number}; words are shifted after the embedding "
            f"(0), or after a layer that others follow (up to {number - 1})"
        )
