"""MIG, DCI, SAP, total correlation and probes, against planted answers, libraries and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from pipeline.claims.disentanglement import (
    BINS,
    disentanglement_and_completeness,
    lasso_importances,
    mutual_information_gap,
    separated_predictability,
    total_correlation,
)
from pipeline.claims.probes import read

CLIPS = 1000


@pytest.fixture
def factors() -> np.ndarray:
    """Four that are independent, (CLIPS, 4)."""
    return np.random.default_rng(0).normal(size=(CLIPS, 4))


@pytest.fixture
def rotated(factors: np.ndarray) -> np.ndarray:
    """All four in each of four dimensions, alike."""
    return factors @ (np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2)


def dci(code: np.ndarray, factors: np.ndarray) -> tuple[float, float]:
    return disentanglement_and_completeness(lasso_importances(code, factors))


def test_a_dimension_for_each_factor_is_perfect(factors: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    code = np.column_stack(
        [-3 * factors[:, ::-1], np.ones(CLIPS), rng.normal(size=CLIPS)]
    )  # and two that idle
    assert mutual_information_gap(code, factors) > 0.95
    assert separated_predictability(code, factors) > 0.98
    found = dci(code, factors)
    assert min(found) > 0.97


def test_all_factors_in_all_dimensions_are_none_of_it(factors: np.ndarray, rotated: np.ndarray) -> None:
    assert mutual_information_gap(rotated, factors) < 0.05
    assert separated_predictability(rotated, factors) < 0.05
    assert max(dci(rotated, factors)) < 0.05


def test_every_factor_twice_is_disentangled_but_not_complete(factors: np.ndarray) -> None:
    twice = np.column_stack([factors, factors + 0.1 * np.random.default_rng(2).normal(size=factors.shape)])
    assert mutual_information_gap(twice, factors) < 0.35
    assert separated_predictability(twice, factors) < 0.02
    assert dci(twice, factors)[0] > 0.97


def test_dci_of_known_importances_is_by_entropies() -> None:
    importances = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    rows = [1 - entropy(row, base=3) for row in importances[:3]]
    columns = [1 - entropy(column, base=4) for column in importances.T]
    expected = (np.average(rows, weights=[3, 3, 3]), np.average(columns, weights=[3, 2, 4]))
    assert disentanglement_and_completeness(importances) == pytest.approx(expected)
    assert disentanglement_and_completeness(np.zeros((3, 2))) == (0.0, 0.0)


def test_mig_and_sap_are_those_of_the_libraries(factors: np.ndarray) -> None:
    code = factors @ np.random.default_rng(3).normal(size=(4, 6))

    def binned(values: np.ndarray) -> np.ndarray:
        edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
        return np.searchsorted(edges, values, side="right")

    gaps, leads = [], []
    for factor in factors.T:
        found = sorted(mutual_info_score(binned(factor), binned(dimension)) for dimension in code.T)
        gaps.append((found[-1] - found[-2]) / mutual_info_score(binned(factor), binned(factor)))
        squares = sorted(np.corrcoef(factor, dimension)[0, 1] ** 2 for dimension in code.T)
        leads.append(squares[-1] - squares[-2])
    assert mutual_information_gap(code, factors) == pytest.approx(np.mean(gaps), abs=1e-3)
    assert separated_predictability(code, factors) == pytest.approx(np.mean(leads))


@pytest.mark.parametrize("r", [0.0, 0.5, 0.9])
def test_total_correlation_of_gaussians_is_the_closed_form(r: float) -> None:
    rng = np.random.default_rng(4)
    a = rng.normal(size=(20_000, 2))
    b = np.column_stack([r * a[:, 0] + np.sqrt(1 - r**2) * rng.normal(size=20_000), rng.normal(size=20_000)])
    assert total_correlation([5 * a, b - 2]) == pytest.approx(-0.5 * np.log(1 - r**2), abs=0.02)


def test_total_correlation_by_chance_is_taken_off() -> None:
    rng = np.random.default_rng(5)
    parts = [rng.normal(size=(200, 30)) for _ in range(4)]
    assert abs(total_correlation(parts)) < 0.15
    assert total_correlation([parts[0], np.ones((200, 3))]) == pytest.approx(0, abs=1e-6)  # says nothing


def test_probes_read_what_is_there(factors: np.ndarray) -> None:
    rng = np.random.default_rng(6)
    noisy = np.column_stack([factors[:, 0] + rng.normal(size=CLIPS), rng.normal(size=(CLIPS, 5))])
    linear, mlp = (read(noisy, factors[:, :2], probe) for probe in ("linear", "mlp"))
    assert linear[0] == pytest.approx(0.5, abs=0.07)  # of variances 1 and 1
    assert mlp[0] == pytest.approx(0.5, abs=0.1)
    assert max(linear[1], mlp[1]) < 0.03


def test_an_mlp_reads_what_no_line_does(factors: np.ndarray) -> None:
    hidden = np.square(factors[:, :2])
    linear, mlp = (read(factors, hidden, probe)[0] for probe in ("linear", "mlp"))
    assert linear < 0.05
    assert mlp > 0.5


def test_probes_give_the_same_again(factors: np.ndarray, rotated: np.ndarray) -> None:
    for probe in ("linear", "mlp"):
        np.testing.assert_array_equal(read(rotated, factors, probe), read(rotated, factors, probe))
