"""Choosing columns and pooling, against definitions and PyTorch; test_assemble.py tests scaling."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.datasets.assembly.sequences import choose_columns, pool, prepare


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 4), st.integers(0, 10_000))
def test_pooling_is_adaptive_average_pooling(n: int, steps: int, dim: int, seed: int) -> None:
    """Without missing frames: PyTorch's AdaptiveAvgPool1d in float64."""
    n = max(n, steps)
    block = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    pooled, real = pool(block, steps, np.ones(n, bool))
    expected = torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(block.T.astype(np.float64)), steps)
    np.testing.assert_allclose(pooled, expected.numpy().T, rtol=1e-6, atol=1e-6)
    assert real.all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 15), arrays(np.bool_, st.integers(15, 40)), st.integers(0, 10_000))
def test_pooling_averages_only_real_frames(steps: int, real: np.ndarray, seed: int) -> None:
    """Bin by bin from the definition; what lies in frames that are not real does not matter."""
    n = len(real)
    block = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    block[~real] = np.nan
    pooled, found = pool(block, steps, real)
    for i in range(steps):
        bin_ = slice(int(np.floor(i * n / steps)), int(np.ceil((i + 1) * n / steps)))
        inside = block[bin_][real[bin_]].astype(np.float64)
        assert found[i] == (len(inside) > 0)
        np.testing.assert_allclose(pooled[i], inside.mean(axis=0) if len(inside) else 0, rtol=1e-6)


def test_pooling_keeps_constants_exactly() -> None:
    """0.1 has no exact binary form; an average that is off by a bit would be blown up by a floor of 1e-6."""
    block = np.full((997, 1), 1234.1, np.float32)
    pooled, _ = pool(block, 50, np.ones(997, bool))
    assert (pooled == np.float32(1234.1)).all()


def test_patterns_choose_columns_in_their_order() -> None:
    names = ["confidence", "success", "AU01", "AU12", "x_0", "X_0", "pose_Rx"]
    assert choose_columns(names, ["pose_*", "AU??"], "key") == ["AU01", "AU12", "pose_Rx"]
    assert choose_columns(names, ["X_*"], "key") == ["X_0"]  # case matters: x is in pixels, X in millimetres


def test_skipping_drops_leading_zeros_before_it_cuts() -> None:
    frames = np.array([[0, 0], [0, 0], [0, 3], [0, 0], [5, 6], [7, 8]], np.float32)
    entry = {"columns": ["a", "b"], "max_steps": 3, "shorten": "skip", "normalized": []}
    entry |= {"mean": [0, 0], "sd": [1, 1]}

    def kept(frames: np.ndarray, shorten: str = "skip") -> list[list[float]]:
        return prepare(frames, ["a", "b"], entry | {"shorten": shorten}).tolist()

    assert kept(frames) == [[0, 3], [0, 0], [5, 6]]
    assert kept(frames, "cut") == [[0, 0], [0, 0], [0, 3]]
    assert kept(frames[:3]) == [[0, 3]]
    assert kept(frames[:2]) == [[0, 0]], "a clip of zeros keeps a step: absent is something else"
