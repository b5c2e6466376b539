"""KHaR on batches of all kinds: sizes, padding, order, missing modalities, missing labels, precision."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from made.tiny_batch import DIMS, fill_masked, pad_more, random_batch, select
from made.tiny_khar import FUSIONS, MISSING, REFINEMENTS, tiny, tiny_finetuned
from made.tiny_methods import check_absent_is_unread, weighted
from made.tiny_models import tiny_bert

from models.core.batch import Batch, Sequences, Tokens
from models.khar.model import KHaR, KHaRSettings
from pipeline.core.errors import MsaError, ParamsError

VARIANTS = [("moe", "mib"), ("moe", "product"), *((refine, "attention") for refine in REFINEMENTS)]


@pytest.mark.parametrize("clips", [1, 2])
def test_smallest_batches_train(clips: int) -> None:
    method, batch = tiny(), random_batch(clips)
    output = method(batch)
    assert output.prediction.shape == (clips,)
    losses = method.losses(batch, output, KHaR.TERMS)
    assert all(value.isfinite() and value.shape == () for value in losses.values())
    if clips == 1:
        assert losses["contrastive"].item() == pytest.approx(0, abs=1e-6)
    weighted(method, losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("level", ["token", "utterance"])
@pytest.mark.parametrize(("refine", "fusion"), VARIANTS)
def test_padding_changes_nothing(refine: str, fusion: str, level: str) -> None:
    batch = random_batch()
    method = tiny(refine=refine, fusion=fusion, moe_level=level).eval()
    before, after = method(batch), method(pad_more(batch, 5))
    torch.testing.assert_close(after.prediction, before.prediction, atol=1e-5, rtol=0)
    for name, used in before.importance.items():
        torch.testing.assert_close(after.importance[name], used, atol=1e-5, rtol=0)
    finetuned, spoken = tiny_finetuned(refine=refine, fusion=fusion).eval(), random_batch(vocabulary=40)
    padded = finetuned(pad_more(spoken, 5)).prediction
    torch.testing.assert_close(padded, finetuned(spoken).prediction, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("refine", "fusion"), VARIANTS)
def test_clips_do_not_see_each_other(refine: str, fusion: str) -> None:
    method = tiny(refine=refine, fusion=fusion).eval()
    batch, order = random_batch(absent={(2, "text")}), [2, 0, 3, 1]
    whole = method(batch).prediction
    torch.testing.assert_close(method(select(batch, order)).prediction, whole[order], atol=1e-5, rtol=0)
    alone = torch.cat([method(select(batch, [clip])).prediction for clip in range(4)])
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------ missing
@pytest.mark.parametrize("value", [1e6, math.nan])
@pytest.mark.parametrize(("refine", "fusion"), VARIANTS)
@pytest.mark.parametrize("missing", MISSING)
def test_nothing_depends_on_what_is_absent(missing: str, refine: str, fusion: str, value: float) -> None:
    batch = random_batch(absent=MISSING[missing])
    check_absent_is_unread(lambda: tiny(refine=refine, fusion=fusion), batch, value)


@pytest.mark.parametrize(("refine", "fusion"), VARIANTS)
def test_evaluation_without_gradients_is_the_same(refine: str, fusion: str) -> None:
    """torch takes other kernels for transformer layers then."""
    method = tiny(refine=refine, fusion=fusion).eval()
    batch = random_batch(absent={(1, "audio"), (2, "text")})
    output = method(batch)
    with torch.no_grad():
        for version in (batch, pad_more(batch, 5), fill_masked(batch, math.nan)):
            assert all(x.values.isfinite().all() for x in method.harvested(version).values())
            torch.testing.assert_close(method(version).prediction, output.prediction, atol=1e-5, rtol=0)


def test_an_absent_transcript_has_no_effect() -> None:
    batch = random_batch(vocabulary=40, absent={(1, "text")})
    method = tiny_finetuned().eval()
    before, after = method(batch), method(fill_masked(batch, 1e6))
    assert torch.equal(before.prediction, after.prediction)
    assert not before.refined["text"][1].any()
    assert before.refined["text"][0].any()


@pytest.mark.parametrize("level", ["token", "utterance"])
@pytest.mark.parametrize("refine", REFINEMENTS)
def test_absent_modalities_are_zero_and_unused(refine: str, level: str) -> None:
    method = tiny(refine=refine, moe_level=level)  # which sum to the rows
    batch = random_batch(absent={(1, "audio")})
    output = method(batch)
    assert not output.refined["audio"][1].any()
    if refine == "moe":
        rows = batch.audio.mask.sum() if level == "token" else batch.audio.mask.any(dim=1).sum()
        for used in (output.importance["audio"], output.load["audio"]):
            assert used.sum().item() == pytest.approx(rows.item(), abs=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("size", [1, 2])
def test_a_run_without_a_modality(size: int, fusion: str) -> None:
    for names in combinations(DIMS, size):
        method = tiny(dims={name: DIMS[name] for name in names}, fusion=fusion)
        slots = size if fusion in ("mib", "concat") else 1
        assert method.fusion.out.in_features == 6 * slots
        batch = random_batch()
        batch = replace(batch, **{name: None for name in DIMS if name not in names})
        losses = method.losses(batch, method(batch), KHaR.TERMS)
        assert all(value.isfinite() for value in losses.values())
        weighted(method, losses).backward()
        assert all(parameter.grad is not None for parameter in method.parameters())


def test_a_clip_without_anything_is_refused() -> None:
    batch = random_batch(absent={(3, name) for name in DIMS})
    with pytest.raises(MsaError, match="clip3: no text, no audio, no visual"):
        tiny().eval()(batch)


def test_unlabeled_clips_leave_the_label_terms_alone() -> None:
    batch = random_batch(5, unlabeled={1, 3}, dtype=torch.float64)
    method = tiny().double().eval()
    losses = method.losses(batch, method(batch), KHaR.TERMS)
    rest = select(batch, [0, 2, 4])
    without = method.losses(rest, method(rest), KHaR.TERMS)
    for term in ("task", "bottleneck_error", "contrastive"):
        torch.testing.assert_close(losses[term], without[term])
    assert losses["compression"] != without["compression"]
    nothing = random_batch(3, unlabeled={0, 1, 2})
    trained = tiny()
    losses = trained.losses(nothing, trained(nothing), KHaR.TERMS)
    weighted(trained, losses).backward()
    assert [losses[term].item() for term in ("task", "bottleneck_error", "contrastive")] == [0, 0, 0]
    assert all(p.grad is None or p.grad.isfinite().all() for p in trained.parameters())


def test_too_long_a_sequence_names_the_keys() -> None:
    method = tiny(pretraining={"max_steps": 10})
    message = (
        r"visual has 11 steps, but its encoder takes at most 10; lower assemble\..*pretraining\.max_steps"
    )
    with pytest.raises(ParamsError, match=message):
        method(random_batch())


# ---------------------------------------------------------------------------------------------- precision
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("refine", "fusion"), VARIANTS)
def test_bf16_forward_gives_finite_float32_losses(refine: str, fusion: str, training: bool) -> None:
    method = tiny(refine=refine, fusion=fusion).train(training)
    batch = random_batch(absent={(1, "audio")})
    torch.manual_seed(1)
    exact = method.losses(batch, method(batch), KHaR.TERMS)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(training):
        output = method(batch)
    assert {output.prediction.dtype, *(x.dtype for x in output.refined.values())} == {torch.float32}
    losses = method.losses(batch, output, KHaR.TERMS)
    for term, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[term].item(), rel=0.1, abs=2e-3), term
    if training:
        weighted(method, losses).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


# ------------------------------------------------------------------------------------------------- shapes
def test_shapes_on_sims() -> None:
    """Widths of the paper at the lengths of CH-SIMS, with a BERT of few layers."""
    settings = KHaRSettings(text="finetune", max_tokens=39)
    torch.manual_seed(0)
    backbone = tiny_bert(num_hidden_layers=4, hidden_size=768, num_attention_heads=12, intermediate_size=64)
    method = KHaR(settings, {"audio": 33, "visual": 709}, backbones={"text": backbone}).eval()
    seen: dict[str, tuple[int, ...]] = {}
    for name in ("text", "audio", "visual"):
        method.harvest[name].register_forward_hook(
            lambda *call, name=name: seen.__setitem__(f"X {name}", tuple(call[2].shape))
        )
        method.refine[name].register_forward_pre_hook(
            lambda part, given, name=name: seen.__setitem__(f"MoE {name}", tuple(given[0].shape))
        )
    lengths = {"audio": (400, 33), "visual": (55, 709)}
    everything = {
        name: Sequences(
            torch.randn(2, *shape), torch.ones(2, shape[0], dtype=torch.bool), torch.ones(2).bool()
        )
        for name, shape in lengths.items()
    }
    ids = torch.randint(1, 40, (2, 39))
    nothing = torch.full((2,), torch.nan)
    batch = Batch(
        **everything,
        tokens=Tokens(ids, torch.ones(2, 39, dtype=torch.bool), torch.ones(2).bool()),
        clip_ids=["a", "b"],
        label=torch.zeros(2),
        label_text=nothing,
        label_audio=nothing,
        label_visual=nothing,
        labeled=torch.ones(2, dtype=torch.bool),
    )
    with torch.no_grad():
        output = method(batch)
    assert seen == {
        "X text": (2, 39, 1536),
        "MoE text": (2, 39, 256),
        "X audio": (2, 400, 256),
        "MoE audio": (2, 400, 256),
        "X visual": (2, 55, 256),
        "MoE visual": (2, 55, 256),
    }
    assert {value.shape for value in output.refined.values()} == {(2, 50)}
    assert method.fusion.out.in_features == 150
    assert output.mean is not None and output.mean.shape == (2, 128)
