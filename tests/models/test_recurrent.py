"""LSTMs of ragged sequences against torch's packed ones, and against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference import recurrent as reference
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.core.recurrent import Recurrent, SentenceVector

LENGTHS = torch.tensor([5, 1, 9, 3])
MASK = torch.arange(9) < LENGTHS[:, None]


@pytest.mark.parametrize("both", [False, True])
def test_states_and_last_are_those_of_a_packed_sequence(both: bool) -> None:
    torch.manual_seed(0)
    mine = Recurrent(4, 3, both=both).double()
    packed = nn.LSTM(4, 3, batch_first=True, bidirectional=both).double()
    for name, parameter in mine.named_parameters():
        direction, _, own = name.partition(".")
        packed.get_parameter(own + ("_reverse" if direction == "back" else "")).data.copy_(parameter)
    values = torch.randn(4, 9, 4, dtype=torch.float64)
    padded = pack_padded_sequence(values, LENGTHS, batch_first=True, enforce_sorted=False)
    output, (last, _) = packed(padded)
    expected, _ = pad_packed_sequence(output, batch_first=True)
    states, ends = mine(values.masked_fill(~MASK[..., None], 7.0), MASK)
    torch.testing.assert_close(states[MASK], expected[MASK], rtol=0, atol=1e-12)
    torch.testing.assert_close(ends, last.transpose(0, 1).flatten(1), rtol=0, atol=1e-12)


def test_an_lstm_is_what_its_definition_says() -> None:
    torch.manual_seed(1)
    layer = SentenceVector(4, 3, 2, dropout=0.0, both=True).double()
    values = torch.randn(4, 9, 4, dtype=torch.float64)
    weights = {f"x.{name}": p.detach().numpy() for name, p in layer.named_parameters()}
    expected = [
        reference.sentence_vector(row[:length].numpy(), weights, "x", both=True)
        for row, length in zip(values, LENGTHS.tolist(), strict=True)
    ]
    found = layer(values, MASK).detach().numpy()
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-12)


def test_a_row_without_steps_has_no_last_state_and_teaches_nothing() -> None:
    torch.manual_seed(2)
    layer = Recurrent(4, 3, both=True)
    values = torch.randn(2, 5, 4)
    mask = torch.tensor([[True] * 5, [False] * 5])
    _, last = layer(values, mask)
    assert last[1].tolist() == [0.0] * 6
    last[1].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())
    assert math.isfinite(last[0].sum().item())
