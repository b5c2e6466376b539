"""Random tensors, and gradients that must be finite."""

from __future__ import annotations

import torch
from torch import Tensor


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def finite_gradients(value: Tensor, *sources: Tensor) -> list[Tensor]:
    """Gradients of the sum, which must be finite, as all must be on the way to them."""
    with torch.autograd.set_detect_anomaly(True):
        gradients = torch.autograd.grad(value.sum(), sources)
    assert all(gradient.isfinite().all() for gradient in gradients)
    return list(gradients)
