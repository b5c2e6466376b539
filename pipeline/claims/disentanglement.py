"""Scores of a code against known factors: MIG, DCI, SAP, and the total correlation of its parts.

    MIG  of each factor, the mutual information with the dimension that has most, less that of the second,
         over the factor's entropy; a mean over factors. Chen et al., NeurIPS 2018. Dimensions and factors are
         cut into BINS equally filled bins
    DCI  a lasso reads every factor from all dimensions; |weights| are importances R. Disentanglement: how far
         each dimension serves one factor, 1 - entropy of its row, a mean weighted by importance.
         Completeness: how far each factor is in one dimension. Eastwood & Williams, ICLR 2018. (Their
         informativeness is what probes read.)
    SAP  of each factor, R² of the best single dimension less that of the second; a mean over factors.
         Kumar et al., ICLR 2018
    TC   total correlation of the parts of a code in nats, as if they were Gaussian: ½ (Σ ln|C_part| - ln|C|)
         of their first COMPONENTS principal components. Of parts whose clips are shuffled, each by itself,
         it is not 0 either, with so few clips; that is subtracted

MIG, DCI and SAP ask that a factor lies in one dimension; a method that only parts blocks of dimensions can
have low ones and still keep what it promises, which is what the probes and TC ask.

Symbols: C clips, D dimensions of a code, F factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 10
PENALTY = 0.05  # of the lasso, on standardised values
COMPONENTS = 6
SHUFFLES = 10
SMALLEST = 1e-6  # variance of a dimension that says nothing, beside the others
SEED = 0


def mutual_information_gap(code: np.ndarray, factors: np.ndarray) -> float:
    """MIG of (C, D) and (C, F), in [0, 1]."""
    information = np.array([[_information(d, f) for d in _binned(code).T] for f in _binned(factors).T])
    ranked = np.sort(np.hstack([information, np.zeros((len(information), 1))]), axis=1)  # one D has no second
    entropy = np.array([_information(f, f) for f in _binned(factors).T])
    return float(np.mean((ranked[:, -1] - ranked[:, -2]) / entropy))


def separated_predictability(code: np.ndarray, factors: np.ndarray) -> float:
    """SAP of (C, D) and (C, F), in [0, 1]."""
    cosines = _standard(factors).T @ _standard(code) / len(code)  # (F, D)
    ranked = np.sort(np.hstack([cosines**2, np.zeros((len(cosines), 1))]), axis=1)
    return float(np.mean(ranked[:, -1] - ranked[:, -2]))


def lasso_importances(code: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """R of DCI: (C, D), (C, F) -> (D, F), not negative."""
    from sklearn.linear_model import Lasso

    values, wanted = _standard(code), _standard(factors)
    return np.stack([np.abs(Lasso(PENALTY, max_iter=5000).fit(values, f).coef_) for f in wanted.T], axis=1)


def disentanglement_and_completeness(importances: np.ndarray) -> tuple[float, float]:
    """D and C of DCI from importances (D, F), both in [0, 1]; 0 where there is none."""
    total = importances.sum()
    if total == 0:
        return 0.0, 0.0
    found = []
    for rows in (importances, importances.T):
        weight = rows.sum(axis=1)
        share = rows / np.where(weight > 0, weight, 1)[:, None]
        entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1) / np.log(max(2, rows.shape[1]))
        found.append(float(((1 - entropy) * weight).sum() / total))
    return found[0], found[1]


def total_correlation(parts: Sequence[np.ndarray]) -> float:
    """TC of at least two parts (C, D_i), nats, less its mean over shuffled clips."""
    rng = np.random.default_rng(SEED)
    reduced = [_components(part) for part in parts]
    by_chance = [_gaussian([rng.permutation(part) for part in reduced]) for _ in range(SHUFFLES)]
    return _gaussian(reduced) - float(np.mean(by_chance))


def _gaussian(parts: Sequence[np.ndarray]) -> float:
    """½ (Σ ln|C_part| - ln|C|); parts are whitened, so that ln|C_part| is 0."""
    joint = np.concatenate(parts, axis=1)
    return float(
        -0.5 * np.linalg.slogdet(joint.T @ joint / len(joint) + SMALLEST * np.eye(joint.shape[1]))[1]
    )


def _components(part: np.ndarray) -> np.ndarray:
    """(C, D) -> (C, ≤ COMPONENTS) first principal components of variance 1, uncorrelated."""
    left, size, _ = np.linalg.svd(part - part.mean(axis=0), full_matrices=False)
    kept = min(COMPONENTS, int((size > SMALLEST * max(size[0], SMALLEST)).sum()))
    return left[:, :kept] * np.sqrt(len(part))


def _standard(values: np.ndarray) -> np.ndarray:
    """(C, D) with mean 0 and variance 1; a column that is constant is 0."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    return centred / np.where(spread > SMALLEST, spread, np.inf)


def _binned(values: np.ndarray) -> np.ndarray:
    """(C, D) -> bin of each by its rank in its column; a column that is constant is one bin."""
    ranks = values.argsort(axis=0, kind="stable").argsort(axis=0)
    return np.where(np.ptp(values, axis=0) > SMALLEST, ranks * BINS // len(values), 0)


def _information(first: np.ndarray, second: np.ndarray) -> float:
    """Mutual information of two columns of bins, nats."""
    joint = np.bincount(first * BINS + second, minlength=BINS * BINS).reshape(BINS, BINS) / len(first)
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())
