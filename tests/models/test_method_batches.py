"""Every method on batches of all kinds: sizes, padding, order, missing modalities, classes, precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from made.tiny_batch import DIMS, fill_masked, pad_more, select
from made.tiny_methods import (
    FITTED,
    NAMES,
    batch_for,
    gradients,
    leaving_something,
    losses_of,
    objective,
    ready,
    terms_of,
    tiny,
    tiny_finetuned,
)

from models import METHODS
from models.core.method import Method, Task
from pipeline.core.errors import MsaError, ParamsError

Build = Callable[..., Method]
BUILDS = {"frozen": tiny, "finetuned": tiny_finetuned}
MISSING = {
    "complete": set(),
    "one clip without audio": {(1, "audio")},
    "no clip has both text and visual": {(0, "text"), (1, "text"), (2, "visual"), (3, "visual")},
    "no clip has audio": {(clip, "audio") for clip in range(4)},
}
INDISPENSABLE = {
    **dict.fromkeys(("text_only", "mird", "mag_bert", "wsa_bert", "ithp", "almt"), ("text",)),
    **dict.fromkeys(("slad", "mmml"), ("text", "audio")),
    "audio_only": ("audio",),
    "visual_only": ("visual",),
}

pytestmark = pytest.mark.parametrize("name", NAMES)
both = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that is the same wherever it is drawn."""
    monkeypatch.setattr(torch, "randn_like", lambda like, **_: torch.full_like(like, 0.3))


def test_the_class_is_registered(name: str) -> None:
    method = tiny(name)
    assert type(method).__name__ == METHODS[name].class_name
    assert type(method).__module__ == METHODS[name].module
    assert tuple(type(method.config.weights).model_fields) == method.TERMS
    assert isinstance(method.config, method.Config)


# ------------------------------------------------------------------------------------------ size and order
@both
def test_evaluation_is_deterministic(name: str, build: Build) -> None:
    method = build(name).eval()
    batch = batch_for(method)
    with torch.no_grad():
        assert torch.equal(method(batch).prediction, method(batch).prediction)


@pytest.mark.parametrize("clips", [1, 2])
@both
def test_smallest_batches_train(name: str, build: Build, clips: int) -> None:
    method = build(name)
    batch = batch_for(method, clips)
    assert method(batch).prediction.shape == (clips,)
    losses = losses_of(method, batch)
    assert all(value.isfinite() and value.shape == () for value in losses.values())
    assert all(g is None or g.isfinite().all() for g in gradients(method, losses).values())
    assert method.eval()(batch).prediction.shape == (clips,)


@both
def test_padding_changes_nothing(name: str, build: Build, no_chance: None) -> None:
    method = build(name).double()
    batch = batch_for(method, dtype=torch.float64, absent={(1, "audio")})
    padded = pad_more(batch, 5)
    for term, value in losses_of(method, padded).items():
        assert value.item() == pytest.approx(losses_of(method, batch)[term].item(), abs=1e-5), term
    method.eval()
    torch.testing.assert_close(method(padded).prediction, method(batch).prediction, atol=1e-5, rtol=0)


@both
def test_the_order_of_clips_changes_nothing(name: str, build: Build, no_chance: None) -> None:
    method = build(name).double()
    batch = batch_for(method, dtype=torch.float64, absent=leaving_something(method, {(2, "text")}))
    order = [2, 0, 3, 1]
    moved = select(batch, order)
    for term, value in losses_of(method, moved).items():
        assert value.item() == pytest.approx(losses_of(method, batch)[term].item(), abs=1e-5), term
    method.eval()
    prediction = method(batch).prediction
    torch.testing.assert_close(method(moved).prediction, prediction[order], atol=1e-5, rtol=0)
    alone = torch.cat([method(select(batch, [clip])).prediction for clip in range(4)])
    torch.testing.assert_close(alone, prediction, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------- missing
@pytest.mark.parametrize("value", [1e6, math.nan])
@pytest.mark.parametrize("missing", MISSING)
@both
def test_nothing_depends_on_what_is_absent(name: str, build: Build, missing: str, value: float) -> None:
    results = []
    for fill in (False, True):
        method = build(name)
        batch = batch_for(method, absent=leaving_something(method, MISSING[missing]))
        if fill:
            batch = fill_masked(batch, value)
        torch.manual_seed(1)  # of the noise
        losses = losses_of(method, batch)
        assert all(loss.isfinite() for loss in losses.values())
        found = {key: g for key, g in gradients(method, losses).items() if g is not None}
        results.append({**losses, **found, "prediction": method.eval()(batch).prediction})
    before, after = results
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert tensor.isfinite().all(), key
        assert torch.equal(tensor, after[key]), key


def test_a_run_without_a_modality(name: str) -> None:
    """Every subset of the modalities that has the indispensable ones; without these a message."""
    names = tiny(name).dims
    for size in range(1, len(names)):
        for kept in combinations(names, size):
            dims = {key: DIMS[key] for key in kept}
            if lacking := [key for key in INDISPENSABLE.get(name, ()) if key not in kept]:
                with pytest.raises(ParamsError, match=lacking[0]):
                    tiny(name, dims=dims)
                continue
            method = tiny(name, dims=dims)
            assert tuple(method.dims) == kept
            batch = batch_for(method, 5)
            batch = replace(batch, **{key: None for key in DIMS if key not in kept})
            losses = losses_of(method, batch)
            assert all(value.isfinite() for value in losses.values())
            assert [key for key, g in gradients(method, losses).items() if g is None] == [], kept
            assert method.eval()(batch).prediction.isfinite().all()


@both
def test_a_clip_without_anything_is_refused(name: str, build: Build) -> None:
    method = build(name).eval()
    batch = batch_for(method, absent={(3, key) for key in DIMS})
    if method.SCORES_ABSENT:
        assert method(batch).prediction.isfinite().all()
        return
    with pytest.raises(MsaError, match="clip3: no text"):
        method(batch)


@both
def test_a_clip_without_anything_spoils_no_training(name: str, build: Build) -> None:
    """Training does not refuse it, for looking makes a GPU wait."""
    method = build(name)
    batch = batch_for(method, 5, absent={(3, key) for key in DIMS})
    losses = losses_of(method, batch)
    assert all(value.isfinite() for value in losses.values())
    assert all(g is None or g.isfinite().all() for g in gradients(method, losses).values())


# ------------------------------------------------------------------------------------------------ classes
@pytest.mark.parametrize("classes", [2, 7])
@both
def test_classifications_train(name: str, build: Build, classes: int) -> None:
    method = build(name, task=Task(classes))
    batch = batch_for(method, 9, absent={(1, "audio")})
    losses = losses_of(method, batch)
    assert all(value.isfinite() for value in losses.values())
    assert [key for key, g in gradients(method, losses).items() if g is None or not g.isfinite().all()] == []
    prediction = method.eval()(batch).prediction
    assert prediction.shape == ((9,) if classes == 2 else (9, classes))
    assert method.task.probabilities(prediction).sum(dim=-1).tolist() == pytest.approx([1] * 9, abs=1e-5)


# ---------------------------------------------------------------------------------------------- gradients
@both
def test_every_parameter_learns(name: str, build: Build) -> None:
    method = build(name)
    # odd numbers of clips with each modality: of an even one the signs of the errors may cancel in a bias
    batch = batch_for(method, 17, absent={(1, "audio"), (2, "audio"), (3, "text"), (4, "text")})
    found = gradients(method, losses_of(method, batch))
    assert [key for key, gradient in found.items() if gradient is None] == []
    assert all(gradient is None or gradient.isfinite().all() for gradient in found.values())
    still = [key for key, gradient in found.items() if gradient is not None and gradient.abs().max() == 0]
    assert still == []


@both
def test_groups_hold_every_parameter_once(name: str, build: Build) -> None:
    method = build(name)
    names = {id(p): key for key, p in method.named_parameters() if p.requires_grad}
    groups, apart = method.parameter_groups(), method.estimator_groups()
    held = [names[id(p)] for group in (*groups, *apart) for p in group["params"]]
    assert sorted(held) == sorted(names.values())
    assert bool(apart) == (method.estimator_steps() > 0)
    assert all((group["lr"] > 0) == (name not in FITTED) for group in (*groups, *apart))
    parts = {group["name"] for group in groups}
    assert parts >= ({"other_no_decay"} if name == "constant" else {"other", "other_no_decay"})
    assert ("backbone" in parts) == (method.backbone is not None)


def test_each_term_alone(name: str) -> None:
    for term in terms_of(tiny(name)):
        method = tiny(name)
        method.active_terms = frozenset({term})
        batch = batch_for(method, absent={(1, "audio")})
        losses = method.losses(batch, method(batch), [term])
        assert set(losses) == {term}
        assert losses[term].isfinite()
        assert all(value.shape == () for value in method.diagnostics(batch, method(batch)).values())


def test_curves_of_evaluation(name: str) -> None:
    method = tiny(name).eval()
    batch = batch_for(method)
    with torch.no_grad():
        curves = method.diagnostics(batch, method(batch))
    assert all(value.isfinite() and value.shape == () for value in curves.values())


def test_weights_travel(name: str) -> None:
    """A state_dict holds all that the predictions depend on."""
    method = tiny(name).eval()
    other = tiny(name, seed=5)
    other.load_state_dict(method.state_dict())
    batch = batch_for(method)
    assert torch.equal(other.eval()(batch).prediction, method(batch).prediction)


def test_construction_without_memory(name: str) -> None:
    with torch.device("meta"):
        method = tiny(name)
        finetuned = tiny_finetuned(name)
    assert all(p.device.type == "meta" for m in (method, finetuned) for p in m.parameters())


# ---------------------------------------------------------------------------------------------- precision
@both
def test_bf16_forward_gives_finite_float32_losses(name: str, build: Build, no_chance: None) -> None:
    method = ready(build(name))
    batch = batch_for(method, absent={(1, "audio")})
    exact = losses_of(method, batch)
    with torch.autocast("cpu", torch.bfloat16):
        output = method(batch)
    assert output.prediction.dtype == torch.float32
    assert (output.prediction != output.prediction.bfloat16()).all()  # the head is not computed in bf16
    losses = method.losses(batch, output, terms_of(method))
    if method.estimator_steps():
        losses["estimators"] = method.estimator_loss(batch, output)
    for term, value in losses.items():
        assert value.dtype == torch.float32, term
        assert value.item() == pytest.approx(exact[term].item(), rel=0.1, abs=1e-2), term
    assert objective(method, losses).isfinite()
    assert all(g is None or g.isfinite().all() for g in gradients(method, losses).values())
