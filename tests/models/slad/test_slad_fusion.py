"""SLaD's cross-modal encoder: its definition, padding, empty rows."""

from __future__ import annotations

import numpy as np
import torch
from made.tensors import double, finite_gradients
from reference import blocks as reference
from torch import Tensor

from models.core.crossmodal import CrossModalEncoder


def streams(clips: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two streams with padding; the first has nothing in the last clip."""
    masks = torch.arange(4) < torch.tensor([[4], [2], [0]]), torch.arange(6) < torch.tensor([[3], [6], [5]])
    first, second = double(3, 4, 12), double(3, 6, 12, seed=1)
    return first[:clips], second[:clips], masks[0][:clips], masks[1][:clips]


def cross_modal(dropout: float = 0.0) -> CrossModalEncoder:
    torch.manual_seed(0)
    return CrossModalEncoder(12, layers=2, heads=3, feedforward=16, dropout=dropout).double()


def test_cross_modal_encoder_equals_its_definition() -> None:
    encoder, (first, second, mask1, mask2) = cross_modal(), streams()
    found = [state.detach().numpy() for state in encoder(first, second, mask1, mask2)]
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    for clip in range(3):
        real = first[clip][mask1[clip]].numpy(), second[clip][mask2[clip]].numpy()
        expected = reference.cross_modal(*real, weights, layers=2, heads=3)
        for state, truth in zip(found, expected, strict=True):
            np.testing.assert_allclose(state[clip], truth, atol=1e-10)


def test_cross_modal_encoder_does_not_see_padding() -> None:
    encoder, (first, second, mask1, mask2) = cross_modal(), streams()
    loud = torch.where(mask1[..., None], first, 1e6), torch.where(mask2[..., None], second, -1e6)
    for state, expected in zip(
        encoder(*loud, mask1, mask2), encoder(first, second, mask1, mask2), strict=True
    ):
        torch.testing.assert_close(state, expected, atol=1e-10, rtol=0)


def test_cross_modal_encoder_with_empty_rows_trains() -> None:
    encoder, (first, second, mask1, mask2) = cross_modal(), streams()
    states = encoder(first.requires_grad_(), second, torch.zeros_like(mask1), torch.zeros_like(mask2))
    (gradient, *_) = finite_gradients(torch.cat(states).square(), first, *encoder.parameters())
    assert gradient.abs().max() == 0
    both = torch.cat(encoder(first, second, mask1, mask2))
    gradients = finite_gradients(both * double(6, 12, seed=3), *encoder.parameters())
    names = [name for name, _ in encoder.named_parameters()]
    assert [n for n, g in zip(names, gradients, strict=True) if g.abs().max() == 0] == []


def test_cross_modal_encoder_drops_out_in_training_only() -> None:
    encoder, inputs = cross_modal(dropout=0.3), streams()
    assert not torch.equal(encoder(*inputs)[0], encoder(*inputs)[0])
    encoder.eval()
    assert torch.equal(encoder(*inputs)[0], encoder(*inputs)[0])
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.float()(*(x.float() if x.is_floating_point() else x for x in inputs))[0]
    torch.testing.assert_close(rough.double(), encoder.double()(*inputs)[0], atol=0.1, rtol=0.1)
