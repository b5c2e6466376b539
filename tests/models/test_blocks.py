"""Layers, means, similarities and Gaussians of models/core/blocks.py: known answers, definitions, masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made.tensors import double, finite_gradients
from reference import blocks as reference
from torch import nn

from models.core.blocks import (
    Linear,
    TransformerLayer,
    full_precision,
    key_bias,
    kl_to_prior,
    last_step,
    masked_logsumexp,
    masked_mean,
    mean_over_time,
    row_similarity,
    together,
)


# --------------------------------------------------------------------------------------------- over time
def test_mean_over_time_equals_its_definition() -> None:
    values, mask = double(4, 6, 3), torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[2] = False
    expected = reference.mean_over_time(values.numpy(), mask.numpy())
    np.testing.assert_allclose(mean_over_time(values, mask).numpy(), expected, atol=1e-12)
    assert (mean_over_time(values, mask)[2] == 0).all()


def test_mean_over_time_does_not_see_masked_steps() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    values = torch.where(mask[..., None], double(2, 3, 4), torch.nan).requires_grad_()
    (gradient,) = finite_gradients(mean_over_time(values, mask), values)
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] == 0.5).all()


def test_mean_over_time_of_bfloat16_counts_in_float32() -> None:
    values = torch.ones(1, 4096, 1, dtype=torch.bfloat16)
    mean = mean_over_time(values, torch.ones(1, 4096, dtype=torch.bool))
    assert mean.dtype == torch.float32
    assert mean.item() == 1


def test_the_last_step_is_the_last_real_one() -> None:
    values = double(3, 4, 2)
    mask = torch.arange(4) < torch.tensor([[4], [2], [0]])
    expected = torch.stack([values[0, 3], values[1, 1], values[2, 0]])
    assert torch.equal(last_step(values, mask), expected)


# -------------------------------------------------------------------------------------------- logsumexp
def test_masked_logsumexp_equals_its_definition() -> None:
    values, mask = double(5, 7), torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[3] = False
    expected = reference.logsumexp(values.numpy(), mask.numpy())
    assert masked_logsumexp(values, mask, dim=1).tolist() == pytest.approx(expected)
    assert masked_logsumexp(values.T, mask.T, dim=0).tolist() == pytest.approx(expected)
    assert masked_logsumexp(values.bfloat16(), mask, dim=1).dtype == torch.float32


def test_masked_logsumexp_has_finite_gradients_where_nothing_is_selected() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    values = torch.where(mask, double(2, 3), torch.nan).requires_grad_()
    total = masked_logsumexp(values, mask, dim=1)
    assert total[1].item() == -math.inf
    (gradient,) = finite_gradients(total, values)
    assert (gradient[~mask] == 0).all()
    assert gradient[0].sum().item() == pytest.approx(1)


def test_masked_logsumexp_of_large_values_and_a_broadcast_mask() -> None:
    values = torch.tensor([[1000.0, 1000.0], [-1000.0, -1000.0]])
    mask = torch.tensor([True, True])
    expected = [1000 + math.log(2), -1000 + math.log(2)]
    assert masked_logsumexp(values, mask, dim=1).tolist() == pytest.approx(expected)


# ------------------------------------------------------------------------------------------- similarity
def test_row_similarity_equals_its_definition() -> None:
    a, b = double(4, 3), double(5, 3, seed=1)
    a[1] = 0
    expected = reference.cosines(a.numpy(), b.numpy()) / 0.2
    np.testing.assert_allclose(row_similarity(a, b, 0.2).numpy(), expected, atol=1e-12)
    torch.testing.assert_close(row_similarity(10 * a, 0.1 * b), row_similarity(a, b))


def test_a_row_of_zeros_is_similar_to_nothing_and_learns_nothing() -> None:
    a, b = double(3, 4), double(2, 4, seed=1)
    a[0] = 0
    a.requires_grad_()
    similarity = row_similarity(a, b)
    assert (similarity[0] == 0).all()
    (gradient,) = finite_gradients(similarity, a)
    assert (gradient[0] == 0).all()


def test_row_similarity_is_float32_under_autocast() -> None:
    a = torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        similarity = row_similarity(a, a)
    assert similarity.dtype == torch.float32
    torch.testing.assert_close(similarity, row_similarity(a, a), rtol=0, atol=0)
    assert row_similarity(a.bfloat16(), a.bfloat16()).diagonal().tolist() == pytest.approx([1, 1, 1])


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


def test_kl_to_the_prior_equals_torch_distributions() -> None:
    torch.manual_seed(0)
    mu, log = torch.randn(2, 50, dtype=torch.float64)
    normal = torch.distributions.Normal
    prior = normal(torch.zeros_like(mu), torch.ones_like(mu))
    expected = torch.distributions.kl_divergence(normal(mu, (log / 2).exp()), prior)
    torch.testing.assert_close(kl_to_prior(mu, log), expected, rtol=1e-12, atol=1e-12)


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
    np.testing.assert_allclose(layer(x, key_bias(mask)).detach().numpy(), expected, atol=1e-10)
    first = layer(x, key_bias(mask), 2)
    np.testing.assert_allclose(first.detach().numpy(), expected[:, :2], atol=1e-10)
    everything = reference_layer(layer, x.numpy(), np.ones((2, 5)))
    np.testing.assert_allclose(layer(x).detach().numpy(), everything, atol=1e-10)


def test_masked_keys_are_as_if_not_there() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(16, 2, 8, 16, dropout=0.0)
    x = torch.randn(3, 7, 16)
    mask = torch.arange(7).expand(3, 7) < 4
    bias = key_bias(mask)
    torch.testing.assert_close(layer(x, bias)[:, :4], layer(x[:, :4]))
    loud = torch.where(mask[..., None], x, 1e6)
    torch.testing.assert_close(layer(loud, bias)[:, :4], layer(x, bias)[:, :4])


def network() -> nn.Sequential:
    """Of all that `together` takes, with a norm that is not as it begins."""
    layers = nn.Sequential(
        Linear(6, 12), nn.ReLU(), TransformerLayer(12, 3, 8, 10, dropout=0.0), Linear(12, 5)
    )
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layers.double()


def test_together_equals_one_by_one_and_each_gets_its_own_gradient() -> None:
    torch.manual_seed(0)
    modules, x = [network() for _ in range(3)], double(3, 2, 7, 6)
    weight = double(3, 2, 7, 5, seed=1)
    results = []
    for outputs in (
        together(modules, x),
        torch.stack([each(part) for each, part in zip(modules, x, strict=True)]),
    ):
        parameters = [parameter for module in modules for parameter in module.parameters()]
        results.append([outputs, *torch.autograd.grad((weight * outputs).sum(), parameters)])
    for at_once, one_by_one in zip(*results, strict=True):
        torch.testing.assert_close(at_once, one_by_one, rtol=1e-10, atol=1e-10)


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
