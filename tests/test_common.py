"""The blocks that methods share, and the parts of the contract that the base class keeps."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_batch import DIMS, fill_masked, random_batch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from models.backbones import load_text_backbone
from models.common import (
    Method,
    MethodSettings,
    Output,
    Settings,
    Training,
    TransformerLayer,
    full_precision,
    kl_between,
    kl_to_prior,
    masked_mean,
)
from pipeline.batches import Batch
from pipeline.errors import MsaError, ParamsError


class OneWeight(Settings):
    prediction: float = 1.0


class ProbeSettings(MethodSettings):
    weights: OneWeight = OneWeight()
    training: Training = Training(lr_backbone=2e-5, lr_other=3e-4, weight_decay=0.01)


class Probe(Method):
    """The smallest method: a linear layer on the mean step of the text."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio")
    Config = ProbeSettings

    def __init__(self, config: ProbeSettings, dims: dict[str, int], backbone: nn.Module | None = None):
        super().__init__(config, dims, backbone)
        self.tokens = nn.Parameter(torch.zeros(2, 3))
        self.positions = nn.Parameter(torch.zeros(2, 3))
        self.norm = nn.LayerNorm(self.dims["text"])
        self.score = nn.Linear(self.dims["text"], 1)

    def forward(self, batch: Batch) -> Output:
        text = self.inputs(batch)["text"]
        return Output(self.score(self.norm(text.values.sum(dim=1))).squeeze(-1))

    def losses(self, batch: Batch, output: Output, terms: Collection[str]) -> dict[str, Tensor]:
        return {"prediction": (output.prediction - batch.label).abs().mean()}


def tiny_bert(**settings: int) -> BertModel:
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=40, max_position_embeddings=64, **{**sizes, **settings})
    return BertModel(config, add_pooling_layer=False)


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


# ------------------------------------------------------------------------------------------------- contract
def test_groups_split_backbone_and_decay() -> None:
    method = Probe(ProbeSettings(text="finetune"), {"audio": 5}, tiny_bert())
    groups = {group["name"]: group for group in method.parameter_groups()}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "backbone": (2e-5, 0.01),
        "backbone_no_decay": (2e-5, 0.0),
        "other": (3e-4, 0.01),
        "other_no_decay": (3e-4, 0.0),
    }
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    grouped = {name: {names[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert grouped["other"] == {"score.weight"}
    assert grouped["other_no_decay"] == {"tokens", "positions", "norm.weight", "norm.bias", "score.bias"}
    assert "backbone.embeddings.word_embeddings.weight" in grouped["backbone"]
    assert "backbone.embeddings.LayerNorm.weight" in grouped["backbone_no_decay"]
    assert sum(len(group["params"]) for group in groups.values()) == len(names)


def test_frozen_text_has_no_backbone_group_and_no_tokenizer() -> None:
    method = Probe(ProbeSettings(), DIMS)
    assert {group["name"] for group in method.parameter_groups()} == {"other", "other_no_decay"}
    assert method.tokenizer is None
    assert method.dims == {"text": 12, "audio": 5}  # visual is not among its needs


def test_bundled_encoder_and_its_tokenizer() -> None:
    with torch.device("meta"):
        backbone = load_text_backbone("minilm", config_only=True)
    method = Probe(ProbeSettings(text="finetune"), {}, backbone)
    assert method.dims["text"] == 384
    assert method.tokenizer is not None
    assert len(method.tokenizer.encode(["a good film"], 50)[0]) == 5
    assert method.tokenizer is method.tokenizer


def test_token_limit_of_the_backbone() -> None:
    with pytest.raises(
        ParamsError, match=r"max_tokens is 65, but the text encoder 'minilm' has positions for 64"
    ):
        Probe(ProbeSettings(text="finetune", max_tokens=65), {}, tiny_bert())


def test_no_modality_at_all() -> None:
    with pytest.raises(ParamsError, match=r"Probe: the training set has none of text, audio"):
        Probe(ProbeSettings(), {"visual": 3})


def test_settings_name_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="lr_others"):
        Training(lr_backbone=1e-5, lr_others=1e-4)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Training(lr_backbone=1e-5, lr_other=1e-4, epochs=0)


@pytest.mark.parametrize(
    ("value", "finetune"), [(1e6, False), (math.nan, False), (1e6, True), (math.nan, True)]
)
def test_what_is_masked_or_absent_does_not_matter(value: float, finetune: bool) -> None:
    torch.manual_seed(0)
    if finetune:
        method = Probe(ProbeSettings(text="finetune"), DIMS, tiny_bert()).eval()
    else:
        method = Probe(ProbeSettings(), DIMS).eval()
    batch = random_batch(absent={(1, "text"), (2, "audio")}, vocabulary=40 if finetune else None)
    inputs = method.inputs(batch)
    loud = method.inputs(fill_masked(batch, value))
    for name in ("text", "audio"):
        assert torch.equal(inputs[name].values, loud[name].values)
        assert (inputs[name].values[~inputs[name].mask] == 0).all()
    assert inputs["text"].present.tolist() == [True, False, True, True]
    method(fill_masked(batch, value)).prediction.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_a_clip_without_steps_is_absent_whatever_the_flag_says() -> None:
    batch = random_batch(absent={(1, "text")})
    assert batch.text is not None
    batch = replace(batch, text=replace(batch.text, present=torch.ones(4, dtype=torch.bool)))
    assert Probe(ProbeSettings(), DIMS).inputs(batch)["text"].present.tolist() == [True, False, True, True]


def test_a_clip_without_any_modality_is_refused() -> None:
    method = Probe(ProbeSettings(), DIMS).eval()
    batch = random_batch(absent={(1, "text"), (1, "audio"), (3, "text"), (3, "audio")})
    with pytest.raises(MsaError, match=r"clip1, clip3: no text, no audio"):
        method(batch)


def test_a_batch_without_the_modality_is_refused() -> None:
    with pytest.raises(MsaError, match=r"built with audio, but the batch has no audio"):
        Probe(ProbeSettings(), DIMS)(replace(random_batch(), audio=None))
