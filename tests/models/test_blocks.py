"""Means, similarities, sparsemax and CLUB of models/core/blocks.py: known answers, definitions, masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference import blocks as reference
from torch import Tensor, nn

from models.core.blocks import Clubs, masked_logsumexp, mean_over_time, row_similarity, sparsemax


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
PAIRS = [3, 4, 6]  # x_width of each


def clubs_and_rows() -> tuple[Clubs, list[Tensor], Tensor, Tensor]:
    """Estimators of three pairs, seven rows each; the second pair lacks some, the third has none."""
    torch.manual_seed(0)
    clubs = Clubs(PAIRS, 5, hidden=8).double()
    among = torch.ones(3, 7, dtype=torch.bool)
    among[1, 2:4] = among[2] = False
    return clubs, [double(7, width, seed=width) for width in PAIRS], double(3, 7, 5), among


def test_estimators_are_nets_of_their_own() -> None:
    clubs, xs, _, _ = clubs_and_rows()
    weights = {name: value.numpy() for name, value in clubs.state_dict().items()}
    mean, logvar = (part.detach().numpy() for part in clubs(xs))
    for pair, x in enumerate(xs):
        expected = reference.estimator(x.numpy(), weights, pair)
        np.testing.assert_allclose(mean[pair], expected[0], atol=1e-12)
        np.testing.assert_allclose(logvar[pair], expected[1], atol=1e-12)


def test_clubs_equal_the_equations() -> None:
    clubs, xs, ys, among = clubs_and_rows()
    with torch.no_grad():
        mean, logvar = clubs(xs)
        bounds, losses = clubs.upper_bounds(xs, ys, among), clubs.nll(xs, ys, among)
    for pair, rows in enumerate(among[:2]):
        parts = [part[pair][rows].numpy() for part in (mean, logvar, ys)]
        assert bounds[pair].item() == pytest.approx(reference.club(*parts), abs=1e-12)
        assert losses[pair].item() == pytest.approx(reference.negative_log_likelihood(*parts), abs=1e-12)
    assert bounds[2] == losses[2] == 0


def test_clubs_see_only_the_rows_they_are_given() -> None:
    clubs, xs, ys, among = clubs_and_rows()
    loud = [x.masked_fill(~rows[:, None], 1e6).requires_grad_() for x, rows in zip(xs, among, strict=True)]
    for function in (clubs.nll, clubs.upper_bounds):
        value = function(loud, ys.masked_fill(~among[..., None], -1e6), among)
        torch.testing.assert_close(value, function(xs, ys, among))
        gradients = finite_gradients(value, *loud, *clubs.parameters())
        for gradient, rows in zip(gradients, among, strict=False):
            assert (gradient[~rows] == 0).all()
            assert (gradient[rows] != 0).any(dim=1).all()


def test_one_row_has_no_information() -> None:
    clubs, xs, ys, _ = clubs_and_rows()
    among = torch.zeros(3, 7, dtype=torch.bool)
    among[range(3), range(3)] = True
    assert (clubs.upper_bounds(xs, ys, among) == 0).all()
    assert (clubs.upper_bounds([x[:1] for x in xs], ys[:, :1], among[:, :1]) == 0).all()


def test_the_variance_of_clubs_is_bounded() -> None:
    clubs = Clubs(PAIRS, 5, hidden=8)
    _, logvar = clubs([1e4 * torch.randn(20, width) for width in PAIRS])
    assert logvar.abs().max() <= 1
    rough, everyone = [torch.randn(2, width).bfloat16() for width in PAIRS], torch.ones(3, 2).bool()
    assert {part.dtype for part in clubs(rough)} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        for function in (clubs.nll, clubs.upper_bounds):
            assert function(rough, torch.randn(3, 2, 5).bfloat16(), everyone).dtype == torch.float32


def test_clubs_begin_as_linear_layers_do() -> None:
    clubs, layer = Clubs([64] * 9, 64, 32), nn.Linear(32, 64)
    for found, usual in ((clubs.weight, layer.weight), (clubs.bias, layer.bias)):
        assert found.abs().max().item() == pytest.approx(usual.abs().max().item(), rel=0.1)
        assert found.std().item() == pytest.approx(32**-0.5 / 3**0.5, rel=0.05)


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

    class Exact(Clubs):
        def forward(self, xs: list[Tensor]) -> tuple[Tensor, Tensor]:
            x = torch.stack(xs)
            return rho * x, torch.full_like(x, math.log(1 - rho**2))

    torch.manual_seed(0)
    x, noise = torch.randn(2, 400_000, 1, dtype=torch.float64)
    y, everyone = rho * x + math.sqrt(1 - rho**2) * noise, torch.ones(1, 400_000, dtype=torch.bool)
    value = Exact([1], 1, 1).upper_bounds([x], y[None], everyone).item()
    assert value == pytest.approx(bound, rel=0.02)
    assert bound == pytest.approx(rho**2 / (1 - rho**2), abs=1e-6)
    assert information == pytest.approx(-0.5 * math.log(1 - rho**2), abs=1e-6)
    assert value > information


def test_trained_estimators_find_the_bounds() -> None:
    """Four pairs at once, each of four independent widths with a correlation of its own."""
    torch.manual_seed(0)
    rho = torch.tensor([0.0, 0.3, 0.5, 0.7])[:, None, None]
    clubs = Clubs([4] * 4, 4, hidden=32)
    optimizer = torch.optim.Adam(clubs.parameters(), lr=1e-3)

    def pairs(number: int) -> tuple[list[Tensor], Tensor, Tensor]:
        x, noise = torch.randn(2, 4, number, 4)
        return list(x), rho * x + (1 - rho**2).sqrt() * noise, torch.ones(4, number, dtype=torch.bool)

    for _ in range(1500):
        optimizer.zero_grad()
        clubs.nll(*pairs(128)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found = clubs.upper_bounds(*pairs(20_000)).tolist()
    assert abs(found[0]) < 0.01
    for value, correlation in zip(found[1:], (0.3, 0.5, 0.7), strict=True):
        assert value == pytest.approx(4 * correlation**2 / (1 - correlation**2), rel=0.08)
        assert value > -2 * math.log(1 - correlation**2)


def test_untrained_estimators_see_nothing_in_independent_pairs() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        values = Clubs([4] * 200, 4, 32).upper_bounds(
            list(torch.randn(200, 64, 4)), torch.randn(200, 64, 4), torch.ones(200, 64, dtype=torch.bool)
        )
    assert values.mean().abs() < 3 * values.std() / math.sqrt(200) + 1e-3


def test_alternating_updates_decorrelate() -> None:
    """MIRD's loop on toy pairs, three at once: y is turned away from x by an angle that alone is learnt."""
    torch.manual_seed(0)
    angles = nn.Parameter(torch.full((3, 1, 1), math.acos(0.9)))
    clubs, everyone = Clubs([4] * 3, 4, 32), torch.ones(3, 256, dtype=torch.bool)
    model = torch.optim.Adam([angles], lr=1e-2)
    estimators = torch.optim.Adam(clubs.parameters(), lr=1e-3)
    for _ in range(600):
        x, other = torch.randn(2, 3, 256, 4)
        y = angles.cos() * x + angles.sin() * other
        for _ in range(5):
            estimators.zero_grad()
            clubs.nll(list(x), y.detach(), everyone).sum().backward()
            estimators.step()
        model.zero_grad()
        clubs.upper_bounds(list(x), y, everyone).sum().backward()
        model.step()
    assert angles.cos().abs().max() < 0.1
