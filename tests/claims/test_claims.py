"""Claims are tested as SciPy tests differences of pairs, and corrected together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from pipeline.claims.bench import Measurements, read_measurements
from pipeline.claims.claims import CLAIMED, EVERYBODY, Claim, claims_of, findings, student
from pipeline.core.errors import FormatError

LOWER = Claim("error, less its own without", "error", "without/error")
HIGHER = Claim("agreement", "agreement", lower=False)
OTHER = Claim("error, less early fusion's", "error", "early_fusion:error")


def measured(method: str, **columns: list[float]) -> Measurements:
    """Of seeds 1, 2 ...; `__` stands for a stroke."""
    names = {name.replace("__", "/"): values for name, values in columns.items()}
    count = len(next(iter(columns.values())))
    return Measurements(method, {i + 1: {name: v[i] for name, v in names.items()} for i in range(count)})


def test_a_difference_is_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=10), rng.normal(0.5, size=10)
    mean, low, high, p = student(a - b)
    expected = ttest_rel(a, b)
    interval = expected.confidence_interval()
    assert (mean, p) == pytest.approx(((a - b).mean(), expected.pvalue))
    assert (low, high) == pytest.approx((interval.low, interval.high))
    assert student(np.zeros(5)) == (0, 0, 0, 1)
    assert student(np.full(5, 2.0)) == (2, 2, 2, 0)


def test_verdicts_follow_sign_and_corrected_p() -> None:
    noise = np.random.default_rng(1).normal(scale=0.01, size=(4, 10))
    found = {
        "right": measured("right", error=list(1 + noise[0]), without__error=list(2 + noise[1])),
        "wrong": measured("wrong", error=list(2 + noise[0]), without__error=list(1 + noise[1])),
        "none": measured("none", error=list(1 + noise[0]), without__error=list(1 + noise[1])),
        "agrees": measured("agrees", agreement=list(0.5 + noise[2])),
    }
    claims = dict.fromkeys(found, (LOWER, HIGHER))
    tested = {finding.method: finding for finding in findings(found, claims)}
    assert {name: finding.verdict for name, finding in tested.items()} == {
        "right": "shown",
        "wrong": "opposite",
        "none": "not shown",
        "agrees": "shown",
    }
    assert tested["right"].difference == pytest.approx(-1, abs=0.02)
    assert tested["right"].seeds == 10
    p = sorted(finding.p for finding in tested.values())
    assert min(finding.corrected for finding in tested.values()) == pytest.approx(4 * p[0])  # Holm's first


def test_methods_are_compared_seed_by_seed() -> None:
    found = {
        "misr": measured("misr", error=[1.0, 2.0, 3.0]),
        "early_fusion": Measurements(
            "early_fusion", {3: {"error": 2.0}, 2: {"error": 1.5}, 9: {"error": 7.0}}
        ),
    }
    (finding,) = findings(found, {"misr": (OTHER,), "early_fusion": (OTHER,)})  # not beside itself
    assert (finding.seeds, finding.value, finding.against, finding.difference) == (2, 2.5, 1.75, 0.75)


def test_claims_without_measurements_or_with_one_seed_are_left_out() -> None:
    assert not findings(
        {"misr": measured("misr", error=[1.0, 2.0])}, {"misr": (LOWER, OTHER), "cmir": (LOWER,)}
    )
    assert not findings({"misr": measured("misr", error=[1.0], without__error=[2.0])}, {"misr": (LOWER,)})


def test_a_new_method_is_held_to_all_that_is_measured() -> None:
    assert set(claims_of("new")) == {claim for own in CLAIMED.values() for claim in own}
    assert not set(EVERYBODY) & set(claims_of("new"))


def test_measurements_are_read_again(tmp_path: Path) -> None:
    found = measured("misr", error=[1.0, 2.0], without__error=[0.5, 0.25])
    file = tmp_path / "misr.json"
    file.write_text(json.dumps(found.facts), encoding="utf-8")
    assert read_measurements(file) == found
    for wrong in ("{}", "[1]", '{"method": "misr", "seeds": {"x": {}}}', "nothing"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(FormatError, match=r"misr\.json: no measurements of a method .*msa-cli claims"):
            read_measurements(file)
