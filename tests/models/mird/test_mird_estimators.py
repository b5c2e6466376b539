"""MIRD's estimators of mutual information (CLUB): the equations, masks, known bounds, training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made.tensors import double, finite_gradients
from reference import blocks as reference
from torch import Tensor, nn

from models.mird.disentangle import Clubs

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
