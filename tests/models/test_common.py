"""The blocks and losses of models/core/blocks.py that came with MISR; tests/test_blocks.py has the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.core.blocks import TransformerLayer, full_precision, kl_between, kl_to_prior, masked_mean


# ------------------------------------------------------------------------------------------------ Gaussians
@pytest.mark.parametrize(
    ("mu", "sigma", "expected"),
    [
        (0, 1, 0),
        (1, 1, 0.5),
        (0, 2, 0.806853),
        (0, 0.5, 0.318147),
        (1, 0.5, 0.818147),
        (-2, 0.1, 3.807585),
        (0.3, 0.7, 0.146675),
    ],
)
def test_kl_to_the_prior(mu: float, sigma: float, expected: float) -> None:
    value = kl_to_prior(torch.tensor(float(mu)), torch.tensor(2 * math.log(sigma)))
    assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 1), (1, 2), 0.443147),
        ((1, 2), (0, 1), 1.306853),
        ((0, 0.5), (0, 2), 0.917544),
        ((0, 2), (0, 0.5), 6.113706),
        ((-1.5, 0.3), (-1.5, 0.3), 0),
    ],
)
def test_kl_between_two(first: tuple, second: tuple, expected: float) -> None:
    (mu1, sigma1), (mu2, sigma2) = first, second
    arguments = (mu1, 2 * math.log(sigma1), mu2, 2 * math.log(sigma2))
    value = kl_between(*(torch.tensor(float(number)) for number in arguments))
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_kl_equals_torch_distributions() -> None:
    torch.manual_seed(0)
    mu1, mu2, log1, log2 = torch.randn(4, 50, dtype=torch.float64)
    normal = torch.distributions.Normal
    first, second = normal(mu1, (log1 / 2).exp()), normal(mu2, (log2 / 2).exp())
    expected = torch.distributions.kl_divergence(first, second)
    torch.testing.assert_close(kl_between(mu1, log1, mu2, log2), expected, rtol=1e-12, atol=1e-12)
    prior = normal(torch.zeros_like(mu1), torch.ones_like(mu1))
    expected = torch.distributions.kl_divergence(first, prior)
    torch.testing.assert_close(kl_to_prior(mu1, log1), expected, rtol=1e-12, atol=1e-12)


# -------------------------------------------------------------------------------------------------- blocks
def reference_layer(layer: TransformerLayer, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The layer's definition, clip by clip and head by head."""
    weights = {name: value.detach().numpy() for name, value in layer.state_dict().items()}

    def norm(values: np.ndarray, name: str) -> np.ndarray:
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    out = np.empty_like(x)
    inner = layer.attention_out.in_features
    for clip, steps in enumerate(x):
        qkv = norm(steps, "attention_norm") @ weights["qkv.weight"].T
        query, key, value = (qkv[:, part * inner : (part + 1) * inner] for part in range(3))
        heads = []
        for columns in np.split(np.arange(inner), layer.heads):
            scores = query[:, columns] @ key[:, columns].T / math.sqrt(len(columns))
            exp = np.exp(scores - scores.max()) * mask[clip]
            heads.append(exp / exp.sum(-1, keepdims=True) @ value[:, columns])
        attended = np.concatenate(heads, axis=-1)
        steps = steps + attended @ weights["attention_out.weight"].T + weights["attention_out.bias"]
        hidden = (
            norm(steps, "feedforward.0") @ weights["feedforward.1.weight"].T + weights["feedforward.1.bias"]
        )
        gelu = np.array([[0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in row] for row in hidden])
        out[clip] = steps + gelu @ weights["feedforward.4.weight"].T + weights["feedforward.4.bias"]
    return out


def test_transformer_layer_equals_its_definition() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(width=12, heads=3, head_dim=8, feedforward=10, dropout=0.5).double().eval()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False]])
    expected = reference_layer(layer, x.numpy(), mask.numpy())
    np.testing.assert_allclose(layer(x, mask).detach().numpy(), expected, atol=1e-10)
    everything = reference_layer(layer, x.numpy(), np.ones((2, 5)))
    np.testing.assert_allclose(layer(x).detach().numpy(), everything, atol=1e-10)


def test_masked_keys_are_as_if_not_there() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(16, 2, 8, 16, dropout=0.0)
    x = torch.randn(3, 7, 16)
    mask = torch.arange(7).expand(3, 7) < 4
    torch.testing.assert_close(layer(x, mask)[:, :4], layer(x[:, :4]))
    loud = torch.where(mask[..., None], x, 1e6)
    torch.testing.assert_close(layer(loud, mask)[:, :4], layer(x, mask)[:, :4])


def test_masked_mean() -> None:
    values = torch.arange(12.0).reshape(2, 3, 2)
    rows = torch.tensor([False, True])
    assert masked_mean(values, rows).item() == values[1].mean().item()
    assert masked_mean(values, torch.ones(2, 3, dtype=torch.bool)).item() == values.mean().item()
    steps = torch.tensor([[True, False, False], [False, False, True]])
    assert masked_mean(values, steps).item() == pytest.approx((0 + 1 + 10 + 11) / 4)


def test_masked_mean_of_nothing_is_zero_and_ignores_nan() -> None:
    values = torch.full((2, 3), torch.nan, requires_grad=True)
    mean = masked_mean(values, torch.zeros(2, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert values.grad is not None
    assert values.grad.abs().max() == 0


def test_full_precision() -> None:
    assert full_precision(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert full_precision(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
