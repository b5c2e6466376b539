"""What methods claim, as differences between measurements, and whether they are shown.

A claim is a difference whose sign the paper's idea asks for. It is measured once a seed, on the same corpora
on both sides; t-test and interval are those of the seeds' differences. `shown`: p, after Holm's correction
over all claims on the page, is below LEVEL and the sign is right; `opposite`: it is below and the sign is
wrong; else `not shown`, which says nothing about why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.claims.bench import RATES, SIZES, TEST_RHO, Measurements
from pipeline.evaluation.significance import holm

LEVEL = 0.05
WORST = f"shift/{min(TEST_RHO):g}"
REFERENCE = "early_fusion"  # beside which all methods are seen


@dataclass(frozen=True)
class Claim:
    """A measurement against another.

    Attributes
    ----------
    words : what is compared
    value, against : names of measurements; `against` empty = 0, `method:name` = that of another method
    lower : the claim is that `value` is the lower one
    """

    words: str
    value: str
    against: str = ""
    lower: bool = True


@dataclass(frozen=True)
class TestedClaim:
    """A claim of a method, tested.

    Attributes
    ----------
    value, against : means over the seeds
    difference, low, high : mean of the seeds' differences, and its 95 % interval
    p, corrected : of the t-test, two-sided, and by Holm over all that is tested together
    """

    method: str
    claim: Claim
    seeds: int
    value: float
    against: float
    difference: float
    low: float
    high: float
    p: float
    corrected: float

    @property
    def verdict(self) -> str:
        """shown, not shown, or opposite."""
        if self.corrected >= LEVEL or not np.isfinite(self.corrected):
            return "not shown"
        return "shown" if (self.difference < 0) == self.claim.lower else "opposite"


INVARIANCE = (
    Claim("error where the cue misleads, against early fusion of its size", WORST, f"plain/{WORST}"),
    Claim("the same, against late fusion", WORST, f"late_fusion:{WORST}"),
    Claim("the same, against itself without the invariance term", WORST, f"without/{WORST}"),
)
DISENTANGLEMENT = (
    *(
        Claim(
            f"R² of {held} in {where} representation, {probe}",
            f"read/{probe}/{key}",
            f"without/read/{probe}/{key}",
        )
        for held, where, key in (
            ("private factors", "the shared", "shared/private"),
            ("sentiment", "a private", "private/sentiment"),
        )
        for probe in ("linear", "mlp")
    ),
    Claim("total correlation of the parts", "total_correlation", "without/total_correlation"),
    Claim("MIG", "mig", "without/mig", lower=False),
    Claim("DCI disentanglement", "dci/disentanglement", "without/dci/disentanglement", lower=False),
    Claim("SAP", "sap", "without/sap", lower=False),
)
CONFLICT = tuple(
    Claim(
        f"error at conflict rate {rate:g}, against ω = 1",
        f"conflict/{rate:g}",
        f"without/conflict/{rate:g}",
    )
    for rate in RATES
)
EXPERTS = (
    Claim("agreement of experts with sub-populations", "groups/agreement", lower=False),
    Claim("error on sub-populations, against one expert", "groups/error", "without/groups/error"),
)
# MISR has no private representations: its μ^m are drawn together, and H^u is their sum
UNIFIED = tuple(
    one for one in DISENTANGLEMENT if one.value.startswith(("read/linear/shared", "read/mlp/shared"))
)
CLAIMED: dict[str, tuple[Claim, ...]] = {
    "misr": (*INVARIANCE, *UNIFIED, *DISENTANGLEMENT[-3:]),
    "cmir": (*INVARIANCE, *DISENTANGLEMENT),
    "mird": DISENTANGLEMENT,
    "misa": DISENTANGLEMENT,
    "slad": (*DISENTANGLEMENT, *CONFLICT),
    "khar": EXPERTS,
}
"""by method what its paper says; of a method that is not here, all that is measured counts"""
EVERYBODY = (
    Claim(f"error with {SIZES[0]} training clips", f"error/{SIZES[0]}", f"{REFERENCE}:error/{SIZES[0]}"),
    Claim(f"error with {SIZES[-1]} training clips", f"error/{SIZES[-1]}", f"{REFERENCE}:error/{SIZES[-1]}"),
    Claim("error where the cue misleads", WORST, f"{REFERENCE}:{WORST}"),
)
"""no paper's claim: every method beside early fusion"""


def claims_of(method: str) -> tuple[Claim, ...]:
    """What a method claims; all there is of a method that nothing is known of."""
    return CLAIMED.get(method, (*INVARIANCE, *DISENTANGLEMENT, *CONFLICT, *EXPERTS))


def findings(found: Mapping[str, Measurements], claims: Mapping[str, Sequence[Claim]]) -> list[TestedClaim]:
    """Claims of methods whose measurements are there, tested together."""
    tested = [
        finding
        for method, own in claims.items()
        for claim in own
        if method in found and (finding := _tested(claim, found[method], found)) is not None
    ]
    corrected = holm([finding.p for finding in tested])
    return [replace(finding, corrected=p) for finding, p in zip(tested, corrected, strict=True)]


def _tested(claim: Claim, mine: Measurements, found: Mapping[str, Measurements]) -> TestedClaim | None:
    """None where a side was not measured with two of the same seeds at least."""
    other, _, name = claim.against.rpartition(":")
    theirs = found.get(other) if other else mine
    if theirs is None or (theirs is mine and other):
        return None
    seeds = [seed for seed in mine.seeds if seed in theirs.seeds]
    values = mine.of(claim.value, seeds)
    against = theirs.of(name, seeds) if name else np.zeros(len(seeds))
    if values is None or against is None or len(seeds) < 2:
        return None
    gaps = values - against
    mean, low, high, p = student(gaps)
    return TestedClaim(
        mine.method, claim, len(seeds), float(values.mean()), float(against.mean()), mean, low, high, p, p
    )


def student(values: np.ndarray) -> tuple[float, float, float, float]:
    """Mean of (n,) values, its 95 % interval, and p of the t-test that it is 0; p is 1 where all are 0."""
    from scipy.stats import t

    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    if error == 0:
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return mean, mean - reach, mean + reach, float(2 * t.sf(abs(mean) / error, len(values) - 1))
