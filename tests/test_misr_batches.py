"""MISR on batches of all kinds: sizes, padding, order, missing modalities, precision."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from tiny_batch import DIMS, fill_masked, pad_more, random_batch, select
from tiny_misr import FUSIONS, MISSING, tiny, weighted

from models.misr import MISR
from pipeline.errors import MsaError


def test_evaluation_is_deterministic() -> None:
    method, batch = tiny(dropout=0.3).eval(), random_batch()
    assert torch.equal(method(batch).prediction, method(batch).prediction)
    assert not torch.equal(method.train()(batch).prediction, method(batch).prediction)


@pytest.mark.parametrize("clips", [1, 2])
def test_smallest_batches_train(clips: int) -> None:
    method, batch = tiny(), random_batch(clips)
    output = method(batch)
    assert output.prediction.shape == (clips,)
    losses = method.losses(batch, output, MISR.TERMS)
    assert all(value.isfinite() and value.shape == () for value in losses.values())
    weighted(method, losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_padding_changes_nothing() -> None:
    method, batch = tiny().eval(), random_batch()
    padded = method(pad_more(batch, 5)).prediction
    torch.testing.assert_close(padded, method(batch).prediction, atol=1e-5, rtol=0)


def test_clips_do_not_see_each_other() -> None:
    method, batch = tiny().eval(), random_batch(absent={(2, "text")})
    order = [2, 0, 3, 1]
    torch.testing.assert_close(
        method(select(batch, order)).prediction, method(batch).prediction[order], atol=1e-5, rtol=0
    )
    alone = torch.cat([method(select(batch, [clip])).prediction for clip in range(4)])
    torch.testing.assert_close(alone, method(batch).prediction, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------- missing
@pytest.mark.parametrize("value", [1e6, math.nan])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("missing", MISSING)
def test_nothing_depends_on_what_is_absent(missing: str, fusion: str, value: float) -> None:
    batch = random_batch(absent=MISSING[missing])
    results = []
    for version in (batch, fill_masked(batch, value)):
        method = tiny(env_fusion=fusion)
        torch.manual_seed(1)  # of z
        output = method(version)
        losses = method.losses(version, output, MISR.TERMS)
        weighted(method, losses).backward()
        gradients = [p.grad for p in method.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        results.append([output.prediction, *losses.values(), *gradients])
    for before, after in zip(*results, strict=True):
        assert torch.equal(before, after)


def test_a_clip_without_a_modality_is_predicted_as_by_the_others_alone() -> None:
    """A model whose audio branch is cut off is the same as one that was built without it."""
    both = tiny().eval()
    torch.manual_seed(0)
    without = tiny(dims={"text": DIMS["text"], "visual": DIMS["visual"]}).eval()
    state = {name: value for name, value in both.state_dict().items() if ".audio." not in name}
    without.load_state_dict(state)
    batch = random_batch(absent={(clip, "audio") for clip in range(4)})
    torch.testing.assert_close(without(batch).prediction, both(batch).prediction, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("size", [1, 2])
def test_a_run_without_a_modality(size: int, fusion: str) -> None:
    for names in combinations(DIMS, size):
        method = tiny(dims={name: DIMS[name] for name in names}, env_fusion=fusion)
        assert len(method.subsets) == 2**size
        batch = random_batch()
        batch = replace(batch, **{name: None for name in DIMS if name not in names})
        losses = method.losses(batch, method(batch), MISR.TERMS)
        assert all(value.isfinite() for value in losses.values())
        assert (losses["alignment"].item() == 0) == (size == 1)
        weighted(method, losses).backward()
        assert all(parameter.grad is not None for parameter in method.parameters())


def test_a_clip_without_anything_is_refused() -> None:
    batch = random_batch(absent={(3, name) for name in DIMS})
    with pytest.raises(MsaError, match="clip3: no text, no audio, no visual"):
        tiny().eval()(batch)


# ---------------------------------------------------------------------------------------------- precision
@pytest.mark.parametrize("fusion", FUSIONS)
def test_bf16_forward_gives_finite_float32_losses(fusion: str) -> None:
    method, batch = tiny(env_fusion=fusion), random_batch(absent={(1, "audio")})
    torch.manual_seed(1)
    exact = method.losses(batch, method(batch), MISR.TERMS)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        output = method(batch)
    losses = method.losses(batch, output, MISR.TERMS)
    assert {output.prediction.dtype, output.joint.dtype} == {torch.float32}
    assert {value.dtype for value in (*output.mean.values(), *output.logvar.values())} == {torch.float32}
    for term, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[term].item(), rel=0.1, abs=2e-3)
    weighted(method, losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
