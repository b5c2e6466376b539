"""The noise that methods train with: what is hit, by how much, and what stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_cmir import tiny_finetuned

from models.core.batch import Waveform
from models.core.noise import (
    SOUND_STEP,
    add_noise,
    batch_deviations,
    corrupt,
    noisy_embeddings,
    standard_deviation,
)
from pipeline.core.errors import MsaError, ParamsError

STD = {"text": torch.full((12,), 0.5), "audio": torch.arange(1.0, 6), "visual": torch.ones(7)}
KINDS = ("gaussian", "laplace", "erase")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------------------------- what is hit
@pytest.mark.parametrize("kind", KINDS)
def test_hit_steps_change_as_a_whole_and_the_others_stay(kind: str) -> None:
    batch = random_batch(200, absent={(1, "audio")})
    before = {name: getattr(batch, name).values.clone() for name in DIMS}
    noisy = corrupt(batch, kind, 0.3, STD, seeded())
    for name in DIMS:
        old, new = getattr(batch, name), getattr(noisy, name)
        assert torch.equal(old.values, before[name])
        changed = new.values != old.values
        hit = changed.any(dim=2)
        assert torch.equal(changed[hit], torch.ones_like(changed[hit]))
        assert not (hit & ~old.mask).any()
        assert (hit.sum() / old.mask.sum()).item() == pytest.approx(0.3, abs=0.05)
        if kind == "erase":
            assert (new.values[hit] == 0).all()
        assert torch.equal(new.mask, old.mask) and torch.equal(new.present, old.present)
    assert noisy.clip_ids == batch.clip_ids and torch.equal(noisy.label, batch.label)


def test_rates_of_none_and_all() -> None:
    batch = random_batch()
    for kind in KINDS:
        nothing, everything = (corrupt(batch, kind, rate, STD, seeded()) for rate in (0.0, 1.0))
        for name in DIMS:
            old = getattr(batch, name)
            assert torch.equal(getattr(nothing, name).values, old.values)
            assert (getattr(everything, name).values != old.values)[old.mask].all()


@pytest.mark.parametrize(("kind", "mean_size"), [("gaussian", (2 / np.pi) ** 0.5), ("laplace", 0.5**0.5)])
def test_the_noise_has_the_spread_of_each_feature(kind: str, mean_size: float) -> None:
    values, std = torch.zeros(2000, 20, 3), torch.tensor([0.1, 1.0, 20.0])
    noise = add_noise(values, values[..., 0] == 0, kind, 1.0, std, seeded()).flatten(0, 1)
    assert noise.std(dim=0).tolist() == pytest.approx(std.tolist(), rel=0.02)
    assert (noise.mean(dim=0) / std).abs().max() < 0.02
    assert (noise.abs().mean(dim=0) / std).tolist() == pytest.approx([mean_size] * 3, rel=0.02)


def test_a_seed_is_the_noise_and_lower_rates_hit_a_part_of_what_higher_ones_hit() -> None:
    batch = random_batch(30)
    for kind in KINDS:
        first, again, other = (corrupt(batch, kind, 0.5, STD, seeded(seed)) for seed in (1, 1, 2))
        more = corrupt(batch, kind, 0.6, STD, seeded(1))
        for name in DIMS:
            values = getattr(first, name).values
            assert torch.equal(values, getattr(again, name).values)
            assert not torch.equal(values, getattr(other, name).values)
            hit = values != getattr(batch, name).values
            assert torch.equal(getattr(more, name).values[hit], values[hit])
    torch.manual_seed(3)
    unseeded = [corrupt(batch, "gaussian", 0.5, STD).audio for _ in range(2)]
    assert not torch.equal(unseeded[0].values, unseeded[1].values)


def test_absent_values_and_precision_stay() -> None:
    batch = random_batch(dtype=torch.float64, absent={(1, "audio")})
    assert batch.audio is not None
    batch.audio.values[1] = torch.nan
    for kind in KINDS:
        noisy = corrupt(batch, kind, 0.9, STD, seeded()).audio
        assert noisy.values.dtype == torch.float64
        assert noisy.values[1].isnan().all() and noisy.values[[0, 2, 3]].isfinite().all()


def test_the_context_is_spoilt_too() -> None:
    batch = random_batch(20, context=True)
    noisy = corrupt(batch, "gaussian", 0.5, STD, seeded())
    assert (noisy.context.audio.values != batch.context.audio.values).any()
    assert noisy.context.tokens is None


def test_sound_is_hit_in_steps_of_20_ms() -> None:
    mask = torch.arange(1700) < torch.tensor([[1700], [1000], [0]])
    sound = Waveform(torch.full((3, 1700), 0.25) * mask, mask, mask.any(dim=1))
    batch = replace(random_batch(3), waveform=sound)
    std = {**STD, "waveform": torch.tensor([0.1])}
    noisy = corrupt(batch, "gaussian", 0.5, std, seeded(4)).waveform
    hit = (noisy.values != sound.values) | ~mask
    for row, length in ((0, 1700), (1, 1000)):
        steps = [hit[row, at : min(at + SOUND_STEP, length)] for at in range(0, length, SOUND_STEP)]
        assert {step.float().mean().item() for step in steps} == {0.0, 1.0}
    assert torch.equal(noisy.values[~mask], sound.values[~mask])
    difference = (noisy.values - sound.values)[hit & mask]
    assert difference.std().item() == pytest.approx(0.1, rel=0.1)


# ------------------------------------------------------------------------------------------ fine-tuned text
def test_tokens_are_erased_by_the_id_of_mask() -> None:
    batch = random_batch(100, vocabulary=40)
    erased = corrupt(batch, "erase", 0.3, {}, seeded(), mask_id=77).tokens
    hit = erased.ids == 77
    assert not (hit & ~batch.tokens.mask).any()
    assert torch.equal(erased.ids[~hit], batch.tokens.ids[~hit])
    assert (hit.sum() / batch.tokens.mask.sum()).item() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(corrupt(batch, "erase", 0.3, {}, seeded()).tokens.ids, batch.tokens.ids)
    assert torch.equal(corrupt(batch, "gaussian", 0.3, STD, seeded(), 77).tokens.ids, batch.tokens.ids)


def test_words_are_spoilt_inside_the_encoder_and_only_within() -> None:
    method, batch = tiny_finetuned().eval(), random_batch(vocabulary=40)
    ids = batch.tokens.ids
    table = method.backbone.get_input_embeddings()
    clean = table(ids)
    std = torch.arange(12) * 0.1
    with noisy_embeddings(method.backbone, "gaussian", 0.5, std, seeded()):
        difference = table(ids) - clean
    assert (difference[..., 0] == 0).all()
    hit = difference[..., 1] != 0
    assert 0 < hit.float().mean() < 1
    assert (difference[~hit] == 0).all() and (difference[hit][:, 1:] != 0).all()
    with noisy_embeddings(method.backbone, "erase", 1.0, None):
        assert (table(ids) == 0).all()
    with pytest.raises(KeyError), noisy_embeddings(method.backbone, "erase", 1.0, None):
        raise KeyError
    assert torch.equal(table(ids), clean)
    with noisy_embeddings(None, "gaussian", 0.5, None):
        pass


# ------------------------------------------------------------------------------------------------- deviations
def test_spread_counts_rows_and_looks_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.core.noise.BLOCK", 2)
    values = torch.tensor([[1.0, 5.0], [torch.nan, torch.nan], [4.0, 5.0], [1.0, 5.0]])
    times = torch.tensor([1, 0, 2, 0])
    assert standard_deviation(values, times).tolist() == pytest.approx([2**0.5, 0])
    assert standard_deviation(values, times > 5).tolist() == [0, 0]


def test_spreads_of_a_batch() -> None:
    method, batch = tiny_finetuned(), random_batch(vocabulary=40, absent={(1, "audio")})
    assert batch.audio is not None
    batch.tokens.ids[~batch.tokens.mask] = 10**6
    found = batch_deviations(batch, method.backbone)
    assert list(found) == ["audio", "visual", "tokens"]
    real = batch.audio.values[batch.audio.mask]
    torch.testing.assert_close(found["audio"], real.std(dim=0, correction=0))
    words = method.backbone.get_input_embeddings()(batch.tokens.ids[batch.tokens.mask]).detach()
    torch.testing.assert_close(found["tokens"], words.std(dim=0, correction=0))
    assert list(batch_deviations(random_batch())) == ["text", "audio", "visual"]


def test_wrong_noise_is_refused() -> None:
    batch = random_batch()
    with pytest.raises(ParamsError, match=r"noise kind 'salt' is not known \(there are: gaussian, laplace"):
        corrupt(batch, "salt", 0.1, STD)
    with pytest.raises(ParamsError, match=r"noise rate is 1\.5, expected 0 to 1"):
        corrupt(batch, "erase", 1.5, STD)
    with pytest.raises(MsaError, match="gaussian noise: the batch has visual, but there is no spread"):
        corrupt(batch, "gaussian", 0.1, {"text": STD["text"], "audio": STD["audio"]})
