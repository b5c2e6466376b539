"""Clips side by side in one row, so that a text encoder that learns on a CPU computes next to no padding.

A batch of 32 transcripts of MOSI, drawn by chance, is 60 % padding. Packed, its clips fill as many rows of
the longest's length as they need; the tokens of a clip attend to each other alone, and have the positions
that they have in a row of their own. So the states are the same, up to rounding.

Shapes: B clips, T tokens of the longest, R rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.core.backbones import first_position

if TYPE_CHECKING:
    from transformers import PretrainedConfig

PACKED = ("bert", "electra", "mpnet", "roberta", "xlm-roberta")  # types of encoders that a test holds to it


class TextRows:
    """A batch as a text encoder reads it, a clip a row.

    Attributes
    ----------
    inputs : arguments of the encoder
    """

    def __init__(self, ids: Tensor, mask: Tensor):
        """ids, mask (B, T), real tokens first."""
        self.inputs = {"input_ids": ids, "attention_mask": mask.long()}

    def pack(self, values: Tensor) -> Tensor:
        """(B, T, D) of clips -> (R, T, D) of rows, anything where no token is."""
        return values

    def unpack(self, values: Tensor) -> Tensor:
        """(R, T, D) of rows -> (B, T, D) of clips, anything where masked."""
        return values


class PackedRows(TextRows):
    """A batch with several clips in a row."""

    def __init__(self, ids: Tensor, mask: Tensor, config: PretrainedConfig):
        self._places, self._tokens, owners = packing(mask)
        steps = torch.arange(ids.shape[1]).expand_as(ids)
        together = (owners[:, :, None] == owners[:, None])[:, None]  # (R, 1, T, T)
        if config._attn_implementation != "sdpa":  # scores plus mask
            together = torch.zeros(together.shape).masked_fill(~together, -torch.inf)
        self.inputs = {
            "input_ids": self.pack(ids),
            "position_ids": self.pack(steps + first_position(config)),
            "attention_mask": together,
        }

    def pack(self, values: Tensor) -> Tensor:
        return values.flatten(0, 1)[self._tokens]

    def unpack(self, values: Tensor) -> Tensor:
        return values.flatten(0, 1)[self._places]


def text_rows(config: PretrainedConfig, ids: Tensor, mask: Tensor, training: bool) -> TextRows:
    """Packed where that saves time: a GPU would have to wait for the lengths, a compiled program wants one
    shape, and in evaluation clips of like length come together anyway.
    """
    saves = training and ids.device.type == "cpu" and not torch.compiler.is_compiling()
    return PackedRows(ids, mask, config) if saves and config.model_type in PACKED else TextRows(ids, mask)


def packing(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The longest clip first, each into the first row with room for it: mask (B, T), real tokens first.

    Returns
    -------
    places : (B, T) int64, of each token among the R x T; 0 where masked
    tokens : (R, T) int64, the token of each place among the B x T; 0 where there is none
    owners : (R, T) int64, its clip; -1 where there is none
    """
    steps, lengths = mask.shape[1], mask.sum(dim=1).tolist()
    used: list[int] = []  # steps of each row
    places = torch.zeros(mask.shape, dtype=torch.int64)
    for clip in sorted(range(len(lengths)), key=lambda clip: -lengths[clip]):
        length = lengths[clip]
        row = next((row for row, taken in enumerate(used) if taken + length <= steps), len(used))
        used += [0] if row == len(used) else []
        start = row * steps + used[row]
        places[clip, :length] = torch.arange(start, start + length)
        used[row] += length
    tokens = torch.zeros(len(used) * steps, dtype=torch.int64)
    owners = torch.full_like(tokens, -1)
    tokens[places[mask]] = mask.flatten().nonzero().flatten()
    owners[places[mask]] = mask.nonzero()[:, 0]
    return places, tokens.view(-1, steps), owners.view(-1, steps)
