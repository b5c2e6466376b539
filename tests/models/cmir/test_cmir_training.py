"""CmIR's features, settings and curves, and what its constraints do in training."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_cmir import TINY, tiny, tiny_finetuned
from made.tiny_methods import weighted
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import BertConfig, BertModel

from models.cmir.features import BiLSTMLayer, SequenceFeature
from models.cmir.model import CmIR
from models.cmir.settings import CmIRSettings
from models.core.batch import Batch


# -------------------------------------------------------------------------------------------------- features
def test_features_have_unit_spread_and_no_learned_scale() -> None:
    method = tiny()
    for x in method(random_batch()).features.values():
        torch.testing.assert_close(x.mean(dim=1), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.std(dim=1, correction=0), torch.ones(4), atol=1e-2, rtol=0)
    assert not any("norm" in name for name, _ in method.named_parameters() if not name.startswith("feature."))


def test_text_pooling() -> None:
    batch = random_batch()
    assert batch.text is not None
    mean, first = tiny(), tiny(text_pooling="cls")
    moved = replace(batch, text=replace(batch.text, values=batch.text.values.clone()))
    assert moved.text is not None
    moved.text.values[:, 1] += 1
    x = {
        name: [m(b).features["text"] for b in (batch, moved)] for name, m in (("mean", mean), ("cls", first))
    }
    assert not torch.allclose(*x["mean"], atol=1e-3)
    assert torch.equal(*x["cls"])


def test_the_transformer_knows_the_order_of_the_frames() -> None:
    torch.manual_seed(0)
    feature = SequenceFeature(5, CmIRSettings(**TINY))
    values = torch.randn(2, 8, 5)
    assert not torch.allclose(
        feature(values, values[..., 0] < 9), feature(values.flip(1), values[..., 0] < 9)
    )


def test_the_bilstm_equals_torchs_on_packed_sequences() -> None:
    torch.manual_seed(0)
    layer, whole = BiLSTMLayer(6, 0.0), nn.LSTM(6, 3, batch_first=True, bidirectional=True)
    for name, parameter in layer.lstm.ahead.named_parameters():
        getattr(whole, name).data.copy_(parameter)
        getattr(whole, f"{name}_reverse").data.copy_(layer.lstm.back.get_parameter(name))
    lengths = torch.tensor([5, 1, 7, 3])
    x, mask = torch.randn(4, 7, 6), torch.arange(7) < lengths[:, None]
    packed, _ = whole(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    torch.testing.assert_close(layer(x, mask)[mask], expected[mask])


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "erase"])
def test_noise_in_training(kind: str) -> None:
    for method, batch in (
        (tiny(train_noise=kind, train_noise_rate=0.6), random_batch(absent={(1, "audio")}, context=True)),
        (tiny_finetuned(train_noise=kind, train_noise_rate=0.6), random_batch(vocabulary=40)),
        (tiny(train_noise=kind, dims={"audio": 5}), random_batch()),
    ):
        output, again = method(batch), method(batch)
        for name in method.dims:
            assert not torch.equal(output.features[name], again.features[name])
        weighted(method, method.losses(batch, output, CmIR.TERMS)).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
        method.eval()
        assert torch.equal(method(batch).prediction, method(batch).prediction)


# --------------------------------------------------------------------------------------- settings and curves
def test_only_what_is_asked_is_computed() -> None:
    method, batch = tiny(weights={"reconstruction": 0}), random_batch()
    assert len(method.decoder) == 0
    method.active_terms = frozenset({"prediction", "decorrelation"})
    output = method(batch)
    assert (output.views, output.reconstruction, output.noisy_predictions) == ({}, {}, None)
    assert set(method.losses(batch, output, ["decorrelation"])) == {"decorrelation"}
    one = select(batch, [0])
    assert all(value.isfinite() for value in method.losses(one, method(one), method.active_terms).values())


def test_diagnostics() -> None:
    method, batch = tiny(), random_batch(absent={(1, "audio")})
    output = method(batch)
    curves = method.diagnostics(batch, output)
    assert list(curves) == [f"{kind}/{m}" for m in DIMS for kind in ("std", "gap_over_std")]
    z = output.invariant["audio"][[0, 2, 3]].detach()
    assert curves["std/audio"].item() == pytest.approx(z.std(dim=0, correction=0).mean().item(), rel=1e-5)
    gaps = sum(curves[f"gap_over_std/{m}"] * curves[f"std/{m}"] for m in DIMS)
    loss = tiny(inv_reduction="mean").losses(batch, output, ["invariance"])["invariance"]
    assert float(gaps) == pytest.approx(loss.item(), rel=1e-5)
    one = select(batch, [0])
    assert all(v.isfinite() and not v.requires_grad for v in method.diagnostics(one, method(one)).values())
    assert list(method.eval().diagnostics(batch, method(batch))) == [f"std/{m}" for m in DIMS]


def test_settings() -> None:
    settings = CmIRSettings.model_validate({"training": {"epochs": 3}, "weights": {"invariance": 0}})
    assert tuple(settings.weights.model_dump()) == CmIR.TERMS
    assert (settings.training.optimizer, settings.training.lr_backbone) == ("adamw", 1e-5)
    for wrong in (
        {"env_mode": "one"},
        {"alpha": -1},
        {"alpha_off": 1},
        {"dec_reduction": "max"},
        {"predict_views": "noisy"},
        {"width": 5},
        {"train_noise": "salt"},
    ):
        with pytest.raises(ValidationError):
            CmIRSettings.model_validate(wrong)
    with pytest.raises(ValidationError, match="set environments to 2 or more"):
        CmIRSettings(environments=1)
    with pytest.raises(ValidationError, match=r"noise_site is frame and dropout is 0\.1"):
        CmIRSettings(noise_site="frame")
    CmIRSettings(environments=1, include_clean=True)
    CmIRSettings(environments=1, noise_site="frame", weights={"invariance": 0})


def test_full_size_on_the_meta_device() -> None:
    with torch.device("meta"):
        backbone = BertModel(BertConfig(), add_pooling_layer=False)
        dims = {"audio": 74, "visual": 35}
        method = CmIR(CmIRSettings(text="finetune"), dims, backbones={"text": backbone})
    groups = {group["name"]: group["lr"] for group in method.parameter_groups()}
    assert groups == {"backbone": 1e-5, "backbone_no_decay": 1e-5, "other": 1e-4, "other_no_decay": 1e-4}


# -------------------------------------------------------------------------------------------------- training
@pytest.mark.parametrize("seed", range(2))
def test_both_halves_together_can_hold_the_features(seed: int) -> None:
    torch.manual_seed(seed)
    method = CmIR(CmIRSettings(), {"text": 12})  # 128 > 256 > 2 x 64 > 256 > 128
    x = F.layer_norm(torch.randn(64, 128), (128,))
    encoder, decoder = method.encoder["text"], method.decoder["text"]
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    for _ in range(1500):  # at most
        error = (x - decoder(torch.cat(method.halves("text", x), dim=-1))).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        if error.item() < 1e-3:
            return
    pytest.fail(f"R_rec is {error.item()}")


def learnable_batch(seed: int) -> Batch:
    """64 clips with label = 2 tanh(s), where s is added to the first feature of every step."""
    batch = random_batch(64, seed=seed)
    s = torch.randn(64, generator=torch.Generator().manual_seed(seed))
    parts = {}
    for name in DIMS:
        part = getattr(batch, name)
        values = part.values.clone()
        values[..., 0] += s[:, None] * part.mask
        parts[name] = replace(part, values=values)
    return replace(batch, **parts, label=2 * torch.tanh(s))


@cache
def trained(invariance: float, z_norm: str, seed: int) -> CmIR:
    batch = learnable_batch(seed)
    weights = {"invariance": invariance, "decorrelation": 0.1, "reconstruction": 0.1}
    means = dict.fromkeys(("inv_reduction", "dec_reduction", "rec_reduction"), "mean")
    method = tiny(seed=seed, dims={"text": DIMS["text"]}, weights=weights, z_norm=z_norm, **means)
    terms = [term for term in CmIR.TERMS if getattr(method.config.weights, term) > 0]
    method.active_terms = frozenset(terms)
    optimizer = torch.optim.AdamW(method.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        weighted(method, method.losses(batch, method(batch), terms)).backward()
        optimizer.step()
    return method.eval()


@torch.no_grad()
def change_under_noise(method: CmIR, batch: Batch) -> float:
    """Mean |ŷ(X + noise) − ŷ(X)| with the noise of the third environment."""
    output = method(batch)
    torch.manual_seed(9)
    changes = []
    for _ in range(10):
        noisy = {m: method.halves(m, x + 0.3 * torch.randn_like(x))[0] for m, x in output.features.items()}
        changes.append((method.predict(noisy, output.present) - output.prediction).abs().mean().item())
    return sum(changes) / len(changes)


@pytest.mark.parametrize(("z_norm", "share"), [("none", 0.8), ("layernorm", 0.65)])
def test_the_invariance_term_steadies_predictions_under_noise(z_norm: str, share: float) -> None:
    change = {0.0: 0.0, 10.0: 0.0}
    for seed in range(2):
        batch = learnable_batch(seed)
        for weight in change:
            method = trained(weight, z_norm, seed)
            error = (method(batch).prediction - batch.label).abs().mean().item()
            assert error < 0.25  # of a constant: 1.0
            change[weight] += change_under_noise(method, batch)
    assert change[10.0] < share * change[0.0]


def test_a_large_weight_shrinks_the_invariant_half_and_the_curves_show_it() -> None:
    batch = learnable_batch(0)
    spreads = []
    for weight in (0.0, 1.0, 10.0):
        method = trained(weight, "none", 0)
        curves = method.diagnostics(batch, method(batch))
        spreads.append(curves["std/text"].item())
    assert spreads[1] < 0.5 * spreads[0]
    assert spreads[2] < 0.15 * spreads[0]
