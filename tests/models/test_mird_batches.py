"""MIRD with other settings than test_method_batches.py has, on batches of all kinds; missing modalities."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from made.tiny_batch import DIMS, pad_more, random_batch, select
from made.tiny_methods import check_absent_is_unread, weighted
from made.tiny_mird import MISSING, TINY, VARIANTS, tiny, tiny_finetuned, variant

from models.mird.model import MIRD
from pipeline.core.errors import ParamsError

OTHERS = [name for name in VARIANTS if name not in ("frozen", "finetuned")]


# ---------------------------------------------------------------------------------------------------- missing
@pytest.mark.parametrize("value", [1e6, math.nan])
@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("name", OTHERS)
def test_nothing_depends_on_what_is_absent(name: str, missing: str, value: float) -> None:
    method, needs = variant(name)
    batch = random_batch(absent=MISSING[missing], **needs)
    check_absent_is_unread(lambda: method, batch, value)


def test_a_clip_without_text_says_only_special_tokens() -> None:
    method = tiny_finetuned().eval()
    assert method.tokenizer is not None
    silent = method.tokenizer.encode([""], 50)[0].tolist()
    assert method.shared.no_words.tolist() == silent and len(silent) == 2
    batch = random_batch(vocabulary=40, absent={(1, "text")})
    tokens = batch.tokens
    assert tokens is not None
    ids, mask = tokens.ids.clone(), tokens.mask.clone()
    ids[1, :2], mask[1, :2] = torch.tensor(silent), True
    said = replace(batch, tokens=replace(tokens, ids=ids, mask=mask, present=torch.ones(4).bool()))
    absent, present = method(batch), method(said)
    torch.testing.assert_close(absent.z["shared"], present.z["shared"])
    assert (absent.z["text"][1] == 0).all() and (present.z["text"][1] != 0).any()
    alone = select(batch, [1])  # where the whole batch has a single step of padding for text
    assert alone.tokens is not None
    short = replace(
        alone, tokens=replace(alone.tokens, ids=alone.tokens.ids[:, :1], mask=alone.tokens.mask[:, :1])
    )
    torch.testing.assert_close(method(short).prediction, absent.prediction[1:2])


def test_an_absent_modality_leaves_its_terms() -> None:
    method = tiny().double()
    batch = random_batch(dtype=torch.float64, absent={(clip, "audio") for clip in range(4)})
    output = method(batch)
    losses = method.losses(batch, output, MIRD.TERMS)
    without = tiny(dims={"text": 12, "visual": 7}).double()
    state = {name: value for name, value in method.state_dict().items() if name in without.state_dict()}
    kept = {name: value for name, value in state.items() if value.shape == without.state_dict()[name].shape}
    without.load_state_dict(kept, strict=False)
    alone = without(batch)
    for name, z in alone.z.items():
        torch.testing.assert_close(z, output.z[name])
    fewer = without.losses(batch, alone, ["reconstruction"])["reconstruction"]
    torch.testing.assert_close(fewer, losses["reconstruction"])
    bounds = dict(zip(method.latent_pairs, method.bounds(batch, output), strict=False))
    assert all((bound == 0) == ("audio" in pair) for pair, bound in bounds.items())


@pytest.mark.parametrize("size", [0, 1])
def test_a_run_without_a_modality(size: int) -> None:
    for others in combinations(("audio", "visual"), size):
        names = ("text", *others)
        method, batch = tiny(dims={name: DIMS[name] for name in names}), random_batch(5)
        batch = replace(batch, **{name: None for name in DIMS if name not in names})
        losses = method.losses(batch, method(batch), MIRD.TERMS)
        assert all(value.isfinite() for value in losses.values())
        weighted(method, losses).backward()
        assert all(parameter.grad is not None for parameter in method.parameters())
        assert len(method.latent_pairs) == (1 if size == 0 else 3)
        assert method.regressor[0].in_features == (1 + len(names)) * TINY["width"]


def test_a_run_without_text_is_refused() -> None:
    with pytest.raises(ParamsError, match="MIRD needs text, whose words carry its shared repr"):
        tiny(dims={"audio": 5, "visual": 7})


# ----------------------------------------------------------------------------------------------- every batch
@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("name", OTHERS)
def test_smallest_batches_train(name: str, clips: int) -> None:
    method, needs = variant(name)
    batch = random_batch(clips, **needs)
    output = method(batch)
    assert output.prediction.shape == (clips,)
    losses = method.losses(batch, output, MIRD.TERMS)
    assert all(value.isfinite() and value.shape == () for value in losses.values())
    if method.estimator_steps():
        assert method.estimator_loss(batch, output).isfinite()
    weighted(method, losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("name", OTHERS)
def test_clips_do_not_see_each_other(name: str) -> None:
    method, needs = variant(name)
    method.eval()
    batch = random_batch(absent={(2, "text"), (0, "visual")}, **needs)
    whole, order = method(batch).prediction, [2, 0, 3, 1]
    torch.testing.assert_close(method(select(batch, order)).prediction, whole[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(method(pad_more(batch, 5)).prediction, whole, atol=1e-5, rtol=0)
    alone = torch.cat([method(select(batch, [clip])).prediction for clip in range(4)])
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", OTHERS)
def test_bf16_forward_gives_finite_float32_losses(name: str) -> None:
    method, needs = variant(name)
    batch = random_batch(5, absent={(1, "audio")}, **needs)
    exact = method.losses(batch, method(batch), MIRD.TERMS)
    with torch.autocast("cpu", torch.bfloat16):
        output = method(batch)
    assert {output.prediction.dtype, *(z.dtype for z in output.z.values())} == {torch.float32}
    losses = method.losses(batch, output, MIRD.TERMS)
    for term, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[term].item(), rel=0.1, abs=2e-2)
    weighted(method, losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
