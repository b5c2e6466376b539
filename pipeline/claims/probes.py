"""Probes: how much of a known factor can be read from a representation.

A probe is fitted on some clips and scored on others by R², the share of the factor's variance that it
explains there; below 0 nothing is read, which counts as 0. A linear probe is ridge regression whose penalty
is chosen on the clips that it is fitted on; an MLP has one hidden layer. Both see standardised values, and
all factors at once.

Symbols: C clips, D width of a representation, F factors.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

FITTED = 2 / 3  # share of the clips, the first ones
PENALTIES = np.logspace(-1, 4, 6)
HIDDEN = 32
DECAY = 20.0  # of the MLP's weights, whose loss is a sum over clips
ITERATIONS = 60  # of L-BFGS, all clips at once

Probe = Literal["linear", "mlp"]


def read(values: np.ndarray, factors: np.ndarray, probe: Probe) -> np.ndarray:
    """R² of each factor: representation (C, D), factors (C, F) -> (F,) in [0, 1]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import RidgeCV
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cut = round(FITTED * len(values))
    scale = StandardScaler().fit(factors[:cut])
    wanted = scale.transform(factors)
    if probe == "linear":
        model: Any = RidgeCV(PENALTIES, alpha_per_target=True)
    else:
        options: dict[str, Any] = {"alpha": DECAY, "max_iter": ITERATIONS, "random_state": 0}
        model = MLPRegressor(hidden_layer_sizes=(HIDDEN,), solver="lbfgs", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many iterations and no more
        fitted = make_pipeline(StandardScaler(), model).fit(values[:cut], wanted[:cut])
    guessed = fitted.predict(values[cut:]).reshape(len(values) - cut, -1)
    truth = wanted[cut:]
    unexplained = np.square(truth - guessed).sum(axis=0) / np.square(truth - truth.mean(axis=0)).sum(axis=0)
    return np.clip(1 - unexplained, 0, 1)
