"""Numbers of a robustness curve: the protocol's known answers."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.robustness.numbers import change, curve_numbers, sign_flips
from pipeline.robustness.summary import constant_floors


def test_known_curve_of_noise() -> None:
    levels = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    scores = [0.80, 0.79, 0.78, 0.76, 0.74, 0.70, 0.65, 0.60]
    found = curve_numbers("acc2_non0", levels, scores, 0.5777, with_clean=False)
    assert found.mean == pytest.approx(0.717143, abs=5e-7) and found.clean == 0.80
    assert found.area == pytest.approx(0.512) and found.auilc == pytest.approx(0.731429, abs=5e-7)
    assert found.retention == pytest.approx(0.896429, abs=5e-7)
    assert found.above_floor == pytest.approx(0.627273, abs=5e-7)
    assert found.rise is None


def test_known_curve_of_frames() -> None:
    levels = [step / 10 for step in range(10)]
    found = curve_numbers("f1_non0", levels, [1 - r / 2 for r in levels], None, with_clean=True)
    assert (found.mean, found.area, found.auilc) == pytest.approx((0.775, 0.6975, 0.775))
    assert found.above_floor is None


def test_an_error_rises_and_has_no_retention() -> None:
    found = curve_numbers("mae", [0.0, 0.5, 1.0], [0.7, 0.9, 1.3], 1.4, with_clean=False)
    assert found.rise == pytest.approx(0.4) and found.retention is None
    assert found.above_floor == pytest.approx((1.1 - 1.4) / (0.7 - 1.4))
    assert curve_numbers("mae", [0.0, 1.0], [1.4, 1.5], 1.4, with_clean=False).above_floor is None


def test_one_level_is_no_curve() -> None:
    found = curve_numbers("accuracy", [0.0, 1.0], [0.8, 0.4], 0.25, with_clean=False)
    assert (found.area, found.auilc, found.mean, found.retention) == (None, None, 0.4, 0.5)


def test_stability_needs_no_labels() -> None:
    clean, spoilt = np.array([1.0, -0.5, 0.0, -2.0]), np.array([0.5, 0.5, -0.1, -2.0])
    assert change(spoilt, clean, classes=False) == pytest.approx((0.5 + 1 + 0.1) / 4)
    assert sign_flips(spoilt, clean) == 0.5  # 0 counts as positive
    assert change(np.array([1, 2, 0.0]), np.array([1, 0, 0.0]), classes=True) == pytest.approx(1 / 3)


def test_floors_are_those_of_constants() -> None:
    """MAE: the best of 0, median and mean; the sign of 0 is what `has0` and `non0` see."""
    known, label = np.array([-1.0, 2.0, 2.0]), np.array([-1.0, 1.0, 3.0, 2.0])
    found = constant_floors(known, label, "mmsa", ())
    assert found["mae"] == pytest.approx(min(np.abs(label).mean(), np.abs(label - 2).mean()))
    assert found["acc2_has0"] == 0.75 and found["acc2_non0"] == 0.25 and found["corr"] == 0
    classes = constant_floors(
        np.array([2.0, 2.0, 0.0]), np.array([2.0, 0.0, 2.0, 1.0]), "cls", ("a", "b", "c")
    )
    assert classes["accuracy"] == 0.5
