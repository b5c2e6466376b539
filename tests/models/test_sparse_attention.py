"""Sparsemax, and what it gives each word of another modality."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tensors import double, finite_gradients
from reference import blocks as reference

from models.core.sparse_attention import sparsemax


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0, 0, 0], [1 / 3, 1 / 3, 1 / 3]),
        ([1, 0], [1, 0]),
        ([0.5, 0.5], [0.5, 0.5]),
        ([0.8, 0.6, 0.1], [0.6, 0.4, 0]),
        ([3, 1, 0.2], [1, 0, 0]),
        ([0.1, 1.1, 0.2], [0, 0.95, 0.05]),
        ([-1000, -1000.5, -999.9], [0.45, 0, 0.55]),
    ],
)
def test_sparsemax(scores: list[float], expected: list[float]) -> None:
    assert sparsemax(torch.tensor(scores, dtype=torch.float64)).tolist() == pytest.approx(expected, abs=1e-12)
    assert sparsemax(torch.tensor(scores)).tolist() == pytest.approx(expected, abs=1e-4)


def test_sparsemax_equals_the_projection() -> None:
    scores = 2 * double(40, 9)
    probabilities = sparsemax(scores)
    for row, given in zip(probabilities.numpy(), scores.tolist(), strict=True):
        np.testing.assert_allclose(row, reference.sparsemax(given), atol=1e-12)
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(sparsemax(scores + 7.5), probabilities)
    assert (probabilities == 0).any()


def test_masked_scores_are_as_if_not_there() -> None:
    scores, mask = double(3, 4, 6), torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 0], [0] * 6]).bool()
    loud = scores.masked_fill(~mask[:, None], torch.nan).requires_grad_()
    probabilities = sparsemax(loud, mask[:, None])
    torch.testing.assert_close(probabilities[0, :, :4], sparsemax(scores[0, :, :4]))
    torch.testing.assert_close(probabilities[1][:, mask[1]], sparsemax(scores[1][:, mask[1]]))
    assert (probabilities[2] == 0).all()
    assert (probabilities.masked_select(~mask[:, None]) == 0).all()
    (gradient,) = finite_gradients(probabilities.square(), loud)
    assert (gradient.masked_select(~mask[:, None]) == 0).all()


def test_gradient_of_sparsemax() -> None:
    scores = (2 * double(5, 6)).requires_grad_()
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[1, 2:] = False
    mask[4] = False
    assert torch.autograd.gradcheck(lambda x: sparsemax(x), (scores,))
    assert torch.autograd.gradcheck(lambda x: sparsemax(x, mask), (scores,))
    probabilities = sparsemax(scores)
    (gradient,) = finite_gradients(probabilities.square(), scores)
    assert (gradient[probabilities == 0] == 0).all()
    torch.testing.assert_close(gradient.sum(dim=-1), torch.zeros(5, dtype=torch.float64))


def test_sparsemax_of_bfloat16_scores_is_float32() -> None:
    probabilities = sparsemax(torch.randn(4, 300).bfloat16())
    assert probabilities.dtype == torch.float32
    assert probabilities.sum(dim=-1).tolist() == pytest.approx([1] * 4, abs=1e-5)
