"""Means, similarities, sparsemax and CLUB of models/common.py: known answers, definitions, masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference import blocks as reference
from torch import Tensor

from models.common import Club, masked_logsumexp, mean_over_time, row_similarity, sparsemax


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def finite_gradients(value: Tensor, *sources: Tensor) -> list[Tensor]:
    """Gradients of the sum, which must be finite, as all must be on the way to them."""
    with torch.autograd.set_detect_anomaly(True):
        gradients = torch.autograd.grad(value.sum(), sources)
    assert all(gradient.isfinite().all() for gradient in gradients)
    return list(gradients)


# --------------------------------------------------------------------------------------------- over time
def test_mean_over_time_equals_its_definition() -> None:
    values, mask = double(4, 6, 3), torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[2] = False
    expected = reference.mean_over_time(values.numpy(), mask.numpy())
    np.testing.assert_allclose(mean_over_time(values, mask).numpy(), expected, atol=1e-12)
    assert (mean_over_time(values, mask)[2] == 0).all()


def test_mean_over_time_does_not_see_masked_steps() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    values = torch.where(mask[..., None], double(2, 3, 4), torch.nan).requires_grad_()
    (gradient,) = finite_gradients(mean_over_time(values, mask), values)
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] == 0.5).all()


def test_mean_over_time_of_bfloat16_counts_in_float32() -> None:
    values = torch.ones(1, 4096, 1, dtype=torch.bfloat16)
    mean = mean_over_time(values, torch.ones(1, 4096, dtype=torch.bool))
    assert mean.dtype == torch.float32
    assert mean.item() == 1


# -------------------------------------------------------------------------------------------- logsumexp
def test_masked_logsumexp_equals_its_definition() -> None:
    values, mask = double(5, 7), torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[3] = False
    expected = reference.logsumexp(values.numpy(), mask.numpy())
    assert masked_logsumexp(values, mask, dim=1).tolist() == pytest.approx(expected)
    assert masked_logsumexp(values.T, mask.T, dim=0).tolist() == pytest.approx(expected)
    assert masked_logsumexp(values.bfloat16(), mask, dim=1).dtype == torch.float32


def test_masked_logsumexp_has_finite_gradients_where_nothing_is_selected() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    values = torch.where(mask, double(2, 3), torch.nan).requires_grad_()
    total = masked_logsumexp(values, mask, dim=1)
    assert total[1].item() == -math.inf
    (gradient,) = finite_gradients(total, values)
    assert (gradient[~mask] == 0).all()
    assert gradient[0].sum().item() == pytest.approx(1)


def test_masked_logsumexp_of_large_values_and_a_broadcast_mask() -> None:
    values = torch.tensor([[1000.0, 1000.0], [-1000.0, -1000.0]])
    mask = torch.tensor([True, True])
    expected = [1000 + math.log(2), -1000 + math.log(2)]
    assert masked_logsumexp(values, mask, dim=1).tolist() == pytest.approx(expected)


# ------------------------------------------------------------------------------------------- similarity
def test_row_similarity_equals_its_definition() -> None:
    a, b = double(4, 3), double(5, 3, seed=1)
    a[1] = 0
    expected = reference.cosines(a.numpy(), b.numpy()) / 0.2
    np.testing.assert_allclose(row_similarity(a, b, 0.2).numpy(), expected, atol=1e-12)
    torch.testing.assert_close(row_similarity(10 * a, 0.1 * b), row_similarity(a, b))


def test_a_row_of_zeros_is_similar_to_nothing_and_learns_nothing() -> None:
    a, b = double(3, 4), double(2, 4, seed=1)
    a[0] = 0
    a.requires_grad_()
    similarity = row_similarity(a, b)
    assert (similarity[0] == 0).all()
    (gradient,) = finite_gradients(similarity, a)
    assert (gradient[0] == 0).all()


def test_row_similarity_is_float32_under_autocast() -> None:
    a = torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        similarity = row_similarity(a, a)
    assert similarity.dtype == torch.float32
    torch.testing.assert_close(similarity, row_similarity(a, a), rtol=0, atol=0)
    assert row_similarity(a.bfloat16(), a.bfloat16()).diagonal().tolist() == pytest.approx([1, 1, 1])


# -------------------------------------------------------------------------------------------- sparsemax
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


# ------------------------------------------------------------------------------------------------- CLUB
def test_club_equals_the_equations() -> None:
    torch.manual_seed(0)
    club = Club(3, 5, hidden=8).double()
    x, y = double(7, 3), double(7, 5, seed=1)
    mean, logvar = (part.detach().numpy() for part in club(x))
    assert club.upper_bound(x, y).item() == pytest.approx(reference.club(mean, logvar, y.numpy()), abs=1e-12)
    expected = reference.negative_log_likelihood(mean, logvar, y.numpy())
    assert club.nll(x, y).item() == pytest.approx(expected, abs=1e-12)


def test_club_sees_only_the_rows_it_is_given() -> None:
    torch.manual_seed(0)
    club = Club(3, 5, hidden=8).double()
    x, y = double(7, 3), double(7, 5, seed=1)
    among = torch.tensor([True, False, True, True, False, True, True])
    results = {f: f(x[among], y[among]) for f in (club.nll, club.upper_bound)}
    x[~among], y[~among] = torch.nan, 1e6
    x.requires_grad_()
    for function, expected in results.items():
        value = function(x, y, among)
        torch.testing.assert_close(value, expected)
        finite_gradients(value, x, *club.parameters())


def test_club_of_one_row_and_of_none() -> None:
    club = Club(3, 5, hidden=8)
    x, y = torch.randn(4, 3), torch.randn(4, 5)
    assert club.upper_bound(x[:1], y[:1]).item() == 0
    assert club.upper_bound(x, y, torch.tensor([False, True, False, False])).item() == 0
    nothing = torch.zeros(4, dtype=torch.bool)
    for function in (club.upper_bound, club.nll):
        value = function(x, y, nothing)
        assert value.item() == 0
        assert all(gradient.abs().max() == 0 for gradient in finite_gradients(value, *club.parameters()))


def test_the_variance_of_club_is_bounded() -> None:
    club = Club(3, 5, hidden=8)
    _, logvar = club(1e4 * torch.randn(20, 3))
    assert logvar.abs().max() <= 1
    mean, logvar = club(torch.randn(2, 3).bfloat16())
    assert {mean.dtype, logvar.dtype} == {torch.float32}


@pytest.mark.parametrize(
    ("rho", "bound", "information"),
    [
        (0.3, 0.098901, 0.047155),
        (0.5, 0.333333, 0.143841),
        (0.7, 0.960784, 0.336672),
        (0.9, 4.263158, 0.830366),
    ],
)
def test_club_with_the_exact_conditional(rho: float, bound: float, information: float) -> None:
    """It bounds the mutual information of correlated unit Gaussians, and is not equal to it."""

    class Exact(Club):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return rho * x, torch.full_like(x, math.log(1 - rho**2))

    torch.manual_seed(0)
    x, noise = torch.randn(2, 400_000, 1, dtype=torch.float64)
    value = Exact(1, 1, 1).upper_bound(x, rho * x + math.sqrt(1 - rho**2) * noise).item()
    assert value == pytest.approx(bound, rel=0.02)
    assert bound == pytest.approx(rho**2 / (1 - rho**2), abs=1e-6)
    assert information == pytest.approx(-0.5 * math.log(1 - rho**2), abs=1e-6)
    assert value > information


def trained_bound(rho: float, seed: int) -> float:
    """Î of an estimator that learnt 4 independent pairs, on fresh ones."""
    torch.manual_seed(seed)
    club = Club(4, 4, hidden=32)
    optimizer = torch.optim.Adam(club.parameters(), lr=1e-3)

    def pairs(count: int) -> tuple[Tensor, Tensor]:
        x, noise = torch.randn(2, count, 4)
        return x, rho * x + math.sqrt(1 - rho**2) * noise

    for _ in range(1500):
        optimizer.zero_grad()
        club.nll(*pairs(128)).backward()
        optimizer.step()
    with torch.no_grad():
        return club.upper_bound(*pairs(20_000)).item()


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.7])
def test_a_trained_estimator_finds_the_bound(rho: float) -> None:
    value = trained_bound(rho, seed=0)
    if rho == 0:
        assert abs(value) < 0.01
    else:
        assert value == pytest.approx(4 * rho**2 / (1 - rho**2), rel=0.08)
        assert value > -2 * math.log(1 - rho**2)


def test_an_untrained_estimator_sees_nothing_in_independent_pairs() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        values = [
            Club(4, 4, 32).upper_bound(torch.randn(64, 4), torch.randn(64, 4)).item() for _ in range(200)
        ]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values)) + 1e-3
